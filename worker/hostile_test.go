package worker_test

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// memoryBound is what the heap may grow to, in bytes, whatever the provider
// sends: far below the smallest of the bodies here, and above what the rig needs.
const memoryBound = 256 << 20

// watchMemory samples the heap until stop is called, which asserts the bound.
// As in production, GOMEMLIMIT has the garbage collected before that.
func watchMemory(t *testing.T) (stop func()) {
	t.Helper()
	limit := debug.SetMemoryLimit(memoryBound * 3 / 4)
	t.Cleanup(func() { debug.SetMemoryLimit(limit) })
	done, most := make(chan struct{}), make(chan uint64)
	go func() {
		var peak uint64
		var m runtime.MemStats
		for {
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
			select {
			case <-done:
				most <- peak
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return func() {
		close(done)
		if peak := <-most; peak > memoryBound {
			t.Errorf("the heap grew to %d MB", peak>>20)
		}
	}
}

// emulated replaces the rig's provider by the emulated one.
func (r *rig) emulated(o emulator.Options) *emulator.Server {
	r.t.Helper()
	server, err := emulator.New(o)
	must(r.t, err)
	api := httptest.NewServer(server)
	r.t.Cleanup(api.Close)
	client, err := provider.New(provider.Options{BaseURL: api.URL, Key: providerAPIKey})
	must(r.t, err)
	gate, err := budget.New(budget.Options{Redis: r.rdb, Account: worker.DefaultAccount, Logger: quiet()})
	must(r.t, err)
	r.t.Cleanup(gate.Close)
	r.options.Accounts = map[string]worker.Account{worker.DefaultAccount: {Provider: client, Gate: gate}}
	return server
}

// inward redirects to where no export link may lead.
func inward(t *testing.T) string {
	s := httptest.NewServer(http.RedirectHandler("http://169.254.169.254/latest/meta-data/", http.StatusFound))
	t.Cleanup(s.Close)
	return s.URL
}

func TestHostileLinksEndClearlyAndSlowNobody(t *testing.T) {
	t.Parallel()
	for name, link := range map[string]string{
		"metadata":          "http://169.254.169.254/latest/meta-data/",
		"private":           "http://10.0.0.1/clip.mp4",
		"loopback in IPv6":  "http://[::1]/clip.mp4",
		"mapped":            "http://[::ffff:10.0.0.1]/clip.mp4",
		"unspecified":       "http://0.0.0.0/clip.mp4",
		"file":              "file:///etc/passwd",
		"other scheme":      "gopher://example.com/clip.mp4",
		"no host":           "http:///clip.mp4",
		"control character": "http://example.com/\x00clip.mp4",
		"redirect inward":   inward(t),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			server := r.emulated(emulator.Options{Render: emulator.Render{Fixed: time.Millisecond}})
			_, err := server.Inject(emulator.Fault{Kind: emulator.FaultLink, Project: "evil*", URL: link})
			must(t, err)
			r.work()
			evil := r.enqueue(tasks.Export{ProjectID: "evil~clips=2"})
			good := r.enqueue(tasks.Export{ProjectID: "good~clips=2~titles=hostile"})
			r.awaitState(good, export.Archived)
			rec := r.awaitState(evil, export.Failed)
			if view.Sentence(rec, view.CLI) == "" || strings.Contains(view.Sentence(rec, view.CLI), "latest/meta-data/?") {
				t.Errorf("error: %q", view.Sentence(rec, view.CLI))
			}
			t.Log(view.Sentence(rec, view.CLI))
		})
	}
}

func TestBodiesWithoutEndCostNoMemoryAndNoExport(t *testing.T) {
	r := newRigAlone(t)
	server := r.emulated(emulator.Options{Render: emulator.Render{Fixed: time.Millisecond}})
	for _, f := range []emulator.Fault{
		{Kind: emulator.FaultHuge, Route: emulator.RouteRead, Project: "huge*", Count: 1},
		{Kind: emulator.FaultBomb, Route: emulator.RouteRead, Project: "bomb*", Count: 1, Bytes: 64 << 20},
		{Kind: emulator.FaultBomb, Route: emulator.RouteClip, Project: "clip-bomb*", Count: 1, Bytes: 64 << 20},
		{Kind: emulator.FaultBomb, Route: emulator.RouteThumbnail, Project: "thumb-bomb*", Count: 1, Bytes: 64 << 20},
	} {
		_, err := server.Inject(f)
		must(t, err)
	}
	stop := watchMemory(t)
	r.waitsForNothing()
	r.work()
	projects := []string{"huge", "bomb", "clip-bomb", "thumb-bomb", "plain"}
	for _, project := range projects {
		r.enqueue(tasks.Export{JobID: project, ProjectID: project + "~clips=1"})
	}
	for _, project := range projects {
		rec := r.awaitState(project, export.Archived)
		content, err := server.Content(rec.ExportTaskID, 0)
		must(t, err)
		served, err := content.SHA256()
		must(t, err)
		if rec.Clips[0].Object.SHA256 != served {
			t.Errorf("%s: archived %s, served %s", project, rec.Clips[0].Object.SHA256, served)
		}
	}
	stop()
	if n := len(server.State().Submits); n != 5 {
		t.Errorf("paid %d times for 5 exports", n)
	}
}

func TestThousandsOfClipsAreArchivedInBoundedMemory(t *testing.T) {
	const clips = manyClips
	r := newRigAlone(t)
	r.provider.clips, r.provider.readsFor = clips, 1
	r.provider.size = 100
	r.options.MirrorConcurrency = 32
	stop := watchMemory(t)
	r.work()
	many := r.enqueue(tasks.Export{ProjectID: "many"})
	r.await(many, "under way", func(rec *export.Record) bool { return rec.ArchivedCount > 0 })
	// It holds nobody else up.
	r.provider.mu.Lock()
	r.provider.clips = 2
	r.provider.mu.Unlock()
	few := r.awaitState(r.enqueue(tasks.Export{ProjectID: "few"}), export.Archived)
	was, err := r.admin.Get(t.Context(), many)
	must(t, err)
	if clips >= 5000 && was.ArchivedCount > clips/2 { // fewer are through before the two have been asked for
		t.Errorf("an export of 2 clips waited for %d of another one's", was.ArchivedCount)
	}
	r.patience = 10 * time.Minute
	rec := r.awaitState(many, export.Archived)
	stop()
	if len(rec.Clips) != clips || rec.ArchivedCount != clips || len(few.Clips) != 2 {
		t.Errorf("%d clips of %d archived, %d of 2", rec.ArchivedCount, clips, len(few.Clips))
	}
	for _, idx := range []int{0, clips / 2, clips - 1} {
		r.archived(rec.Clips[idx], r.provider.file(rec.ExportTaskID, idx))
	}
	m, found, err := r.archive.ReadManifest(t.Context(), rec.Manifest)
	must(t, err)
	if !found || len(m.Clips) != clips {
		t.Errorf("manifest: %t, %d clips", found, len(m.Clips))
	}
}

// A clip that nobody asked for may be listed without a link, whatever else it has: its
// export is complete, and its account goes on.
func TestAClipThatNobodyAskedForIsNotOdd(t *testing.T) {
	r := newRig(t)
	r.provider.read = func(_ int, task *provider.Task) error {
		if task.Status.Ended() {
			task.Clips = append(task.Clips, provider.Clip{Idx: 7, Odd: `a clip has no export_link, but an address in "preview"`})
		}
		return nil
	}
	r.work()
	ids := []string{
		r.enqueue(tasks.Export{ProjectID: "a", ClipIndices: []int{0, 1}}), r.enqueue(tasks.Export{ProjectID: "b", ClipIndices: []int{0, 1}}),
	}
	for _, id := range ids {
		if rec := r.awaitState(id, export.Archived); rec.ArchivedCount != 2 || rec.Misses > 0 {
			t.Errorf("%d archived, %d misses", rec.ArchivedCount, rec.Misses)
		}
	}
	if h := r.halted(); h != "" {
		t.Errorf("halted: %s", h)
	}
}
