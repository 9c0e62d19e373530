package worker_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
)

// refuses has the links' server answer 404 to its first n requests.
func (s *script) refuses(n int) {
	s.serve = func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		n--
		if n < 0 {
			return false
		}
		http.NotFound(w, r)
		return true
	}
}

// The provider gives the same link each time, as its own page shows: one that is
// refused for a while is not dead.
func TestALinkThatIsRefusedForAWhileIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ refusals, reads int }{
		"once": {1, 0}, "for longer": {3, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.provider.clips, r.provider.readsFor = 1, 1
			r.provider.refuses(c.refusals)
			r.work()
			rec := r.awaitState(r.enqueue(tasks.Export{ProjectID: "proj"}), export.Archived)
			if rec.Polls > 1+c.reads {
				t.Errorf("%d reads, want at most %d", rec.Polls, 1+c.reads)
			}
			r.archived(rec.Clips[0], r.provider.file("task-1", 0))
		})
	}
}

func TestALinkThatIsRefusedToTheEndExpires(t *testing.T) {
	r := newRig(t)
	r.provider.clips, r.provider.readsFor = 2, 1
	r.provider.dead = map[string]bool{"/task-1/1.mp4?signature=secret-0": true}
	deadline := time.Now().Add(8 * time.Second)
	r.provider.read = func(_ int, task *provider.Task) error {
		task.ExpireAt = deadline
		return nil
	}
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	rec := r.await(id, "over", func(rec *export.Record) bool { return rec.State.Final() })
	if rec.State != export.Expired || rec.UpdatedAt.Before(deadline) || rec.ArchivedCount != 1 || rec.Polls > 3 {
		t.Errorf("%s at %s of %s, %d clips, %d reads", rec.State, rec.UpdatedAt, deadline, rec.ArchivedCount, rec.Polls)
	}
	if said := view.Sentence(rec, view.CLI); !strings.Contains(said, "clip 1: its link is refused (the export link answered 403 Forbidden)") {
		t.Error(said)
	}
}

// forgets has every read but the first answered with 404.
func (s *script) forgets(first func(*provider.Task)) {
	s.read = func(n int, task *provider.Task) error {
		if n > 1 {
			return refusal(provider.NotFound, fault.Retry, "no such task")
		}
		first(task)
		return nil
	}
}

// The provider says 404 to the read for fresh links, long before the deadline. A clip in
// transfer goes on, and a refused link is tried until it works again.
func TestClipsAreFetchedByTheLinksOfATaskThatIsUnknown(t *testing.T) {
	r := newRig(t)
	r.waitsForNothing()
	r.provider.clips, r.provider.readsFor = 2, 1
	r.provider.forgets(func(*provider.Task) {})
	unknown := make(chan struct{})
	r.provider.serve = func(w http.ResponseWriter, req *http.Request, _ []byte) bool {
		select {
		case <-unknown:
			return false
		default:
		}
		if strings.HasSuffix(req.URL.Path, "/0.mp4") {
			<-unknown
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	rec := r.await(id, "unknown", func(rec *export.Record) bool { return rec.Unknown > export.MaxUnknown || rec.State.Final() })
	close(unknown)
	if rec.State.Final() {
		t.Fatalf("%s after %d reads: %s", rec.State, rec.Unknown, view.Sentence(rec, view.CLI))
	}
	rec = r.awaitState(id, export.Archived)
	for idx, c := range rec.Clips {
		r.archived(c, r.provider.file("task-1", idx))
	}
}

func TestATaskThatIsUnknownEndsWithTheClipsThatItLacks(t *testing.T) {
	r := newRig(t)
	r.waitsForNothing()
	r.provider.clips, r.provider.readsFor = 3, 1
	r.provider.forgets(func(task *provider.Task) { task.Clips[1].ExportLink = "" })
	r.work()
	rec := r.awaitState(r.enqueue(tasks.Export{ProjectID: "proj"}), export.Failed)
	said := view.Sentence(rec, view.CLI)
	if rec.ArchivedCount != 2 || rec.Clips[1].State != export.ClipFailed || !strings.Contains(said, "1 of 3 clips were not saved: 1") {
		t.Errorf("%d archived: %s", rec.ArchivedCount, said)
	}
}

// The lease ends between a clip and its thumbnail, such as with Redis: whoever goes on
// fetches it too.
func TestAThumbnailOutlivesTheLeaseOfItsClip(t *testing.T) {
	r := newRig(t)
	r.provider.clips, r.provider.readsFor = 1, 1
	r.provider.files["/0.png"] = []byte("\x89PNG\r\n\x1a\n a picture")
	r.provider.read = func(_ int, task *provider.Task) error {
		task.Clips[0].Thumbnail = r.provider.cdn.URL + "/0.png"
		return nil
	}
	var lost atomic.Bool
	r.provider.serve = func(_ http.ResponseWriter, req *http.Request, _ []byte) bool {
		if req.URL.Path != "/0.png" || lost.Swap(true) {
			return false
		}
		for _, key := range r.rdb.Keys(context.Background(), "*:lease:mirror:*").Val() {
			r.rdb.Del(context.Background(), key)
		}
		<-req.Context().Done()
		return true
	}
	r.work()
	rec := r.awaitState(r.enqueue(tasks.Export{ProjectID: "proj"}), export.Archived)
	m, _, err := r.archive.ReadManifest(t.Context(), rec.Manifest)
	must(t, err)
	if c := m.Clips[0]; c.Thumbnail == nil || !lost.Load() {
		t.Errorf("it is archived without its thumbnail: %q", c.Warning)
	}
}

// lives has each link refused so long after it was given, gives another one at each
// read, and serves slowly.
func (s *script) lives(life, transfer time.Duration) {
	s.read = func(n int, task *provider.Task) error {
		for i := range task.Clips {
			task.Clips[i].ExportLink = fmt.Sprintf("%s&until=%d", strings.Split(task.Clips[i].ExportLink, "&")[0], time.Now().Add(life).UnixMilli())
		}
		return nil
	}
	s.serve = func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		if until, _ := strconv.ParseInt(r.URL.Query().Get("until"), 10, 64); time.Now().UnixMilli() > until {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		time.Sleep(transfer)
		return false
	}
}

// Links that die before their clips' turn are refreshed all at once, and their clips
// fetched next: an export gets through whose links live for a fraction of its transfers.
func TestLinksThatDieInLineAreRefreshedTogether(t *testing.T) {
	r := newRig(t)
	r.provider.clips, r.provider.readsFor, r.options.MirrorConcurrency = 24, 1, 1
	r.provider.lives(2500*time.Millisecond, 300*time.Millisecond)
	r.work()
	began := time.Now()
	rec := r.awaitState(r.enqueue(tasks.Export{ProjectID: "proj"}), export.Archived)
	t.Logf("%d reads, %s", rec.Polls, time.Since(began).Round(100*time.Millisecond))
	if took := time.Since(began); took > 30*time.Second || rec.Polls > 12 {
		t.Errorf("%d reads, %s", rec.Polls, took)
	}
}
