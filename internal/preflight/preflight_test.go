package preflight

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/redistest"
	"github.com/clipferry/clipferry/internal/units"
	"github.com/clipferry/clipferry/tasks"
)

// rig is a service on a real Redis, in front of the emulated provider.
type rig struct {
	*Service
	t        *testing.T
	rdb      *redis.Client
	emulator *emulator.Server
	api      string
	meter    *units.Meter
	gate     *budget.Gate
}

func newRig(t *testing.T, limits budget.Options) *rig {
	t.Helper()
	r := &rig{t: t, rdb: redistest.Start(t).Client()}
	var err error
	if r.emulator, err = emulator.New(emulator.Options{Speed: 1000, Render: emulator.Render{Fixed: 10 * time.Second}}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(r.emulator)
	t.Cleanup(server.Close)
	r.api = server.URL
	client, err := provider.New(provider.Options{BaseURL: server.URL, Key: "key"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	limits.Redis, limits.Account, limits.Logger = r.rdb, "default", slog.New(slog.DiscardHandler)
	if r.gate, err = budget.New(limits); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.gate.Close)
	r.meter = units.New(r.rdb, "default", 1000)
	r.Service = New(Options{
		Redis: r.rdb, Wait: 2 * time.Second,
		Account: func(name string) (Account, bool) {
			return Account{Name: "default", Provider: client, Gate: r.gate, Units: r.meter}, name == "" || name == "default"
		},
		Queued: func(context.Context, string) (int, error) { return 3, nil },
	})
	return r
}

// make has the provider make a project.
func (r *rig) make(call, body string) string {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodPost, r.api+"/api/v2/"+call, bytes.NewReader([]byte(body)))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer key")
	req.Header.Set("x-wayinvideo-api-version", "v2")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Data struct{ ID string } }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Data.ID == "" {
		r.t.Fatalf("%s: %v", resp.Status, err)
	}
	time.Sleep(30 * time.Millisecond) // at a thousandfold speed it is done by then
	return answer.Data.ID
}

func (r *rig) check(exports ...tasks.Export) Report {
	r.t.Helper()
	report, err := r.Check(r.t.Context(), "", exports, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}

func (r *rig) reads() int {
	n := 0
	for route, by := range r.emulator.State().Requests {
		if route == emulator.RouteResults {
			for _, k := range by {
				n += k
			}
		}
	}
	return n
}

func TestAProjectIsReadOnceAndSaysWhatItsExportComesTo(t *testing.T) {
	r := newRig(t, budget.Options{MaxActive: 2})
	id := r.make("clips", `{"video_url":"https://x/v.mp4","project_name":"talk~clips=4"}`)
	e := tasks.Export{ProjectID: id, ClipIndices: []int{1, 3}, Resolution: "HD_720", TargetLang: "klingon"}
	before := r.check(e)
	x := before.Exports[0]
	if x.Exists == nil || !*x.Exists || x.Kind != "clips" || x.ExpiresAt == nil || len(x.Clips) != 2 || x.Clips[1].Idx != 3 || x.Clips[0].Title == "" {
		t.Fatalf("%+v", x)
	}
	if want := x.Clips[0].Seconds + x.Clips[1].Seconds; x.Seconds != want || want < 20 {
		t.Errorf("%g seconds of %+v", x.Seconds, x.Clips)
	}
	if x.Expected.Known || before.Total.Expected.Known {
		t.Errorf("a price is known before anything was charged: %+v", x.Expected)
	}
	if len(x.Warnings) != 1 || !strings.Contains(x.Warnings[0], "target_lang") || x.Place != 3 || x.StartsAt == nil || x.Impossible != nil {
		t.Errorf("%+v", x)
	}
	for n, rate := range []float64{1, 2, 3} {
		if err := r.meter.Learn(t.Context(), string(rune('a'+n)), "HD_720", time.Now(), 100, 100*rate); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.meter.Add(t.Context(), "task", time.Now(), 400); err != nil {
		t.Fatal(err)
	}
	after := r.check(e, e)
	x = after.Exports[1]
	if want := (Cost{Known: true, Median: 2 * x.Seconds, Low: x.Seconds, High: 3 * x.Seconds, Samples: 3}); x.Expected != want || x.Place != 4 {
		t.Errorf("%+v at %d, want %+v", x.Expected, x.Place, want)
	}
	if d := after.Total.Days[0]; *d.Left != 600 || after.Total.Seconds != 2*x.Seconds || !after.Total.Expected.Known {
		t.Errorf("%+v", after.Total)
	}
	if n := r.reads(); n != 1 {
		t.Errorf("read %d times", n)
	}
	if slots, err := r.gate.Slots(t.Context()); err != nil || len(slots) != 0 {
		t.Errorf("slots %v, %v", slots, err)
	}
}

func TestWhatIsImpossibleIsSaid(t *testing.T) {
	r := newRig(t, budget.Options{MaxActive: 2})
	moments := r.make("clips/find-moments", `{"video_url":"https://x/v.mp4","query":"q","project_name":"talk~clips=2"}`)
	failed := r.make("clips", `{"video_url":"https://x/v.mp4","project_name":"talk~fail=boom"}`)
	report := r.check(
		tasks.Export{ProjectID: "nope"}, tasks.Export{ProjectID: moments, ClipIndices: []int{0, 7}}, tasks.Export{ProjectID: failed},
		tasks.Export{ProjectID: moments}, tasks.Export{ProjectID: "p", Account: "eu"},
	)
	for i, want := range []string{"knows no clipping or Find Moments task", "no clip 7, but 2 from 0 to 1", "failed at the provider", "", ""} {
		text := strings.Join(report.Exports[i].Impossible, "; ")
		if (want == "") != (text == "") || !strings.Contains(text, want) {
			t.Errorf("%d: %q, want %q", i, text, want)
		}
	}
	if x := report.Exports[3]; x.Kind != "moments" || len(x.Clips) != 2 || x.Place != 3 {
		t.Errorf("%+v", x)
	}
	if x := report.Exports[4]; x.Exists != nil || !strings.Contains(x.Unread, "account eu") {
		t.Errorf("%+v", x)
	}
	if report.Total.Impossible != 3 || report.Total.Unread != 1 || !report.Impossible() {
		t.Errorf("%+v", report.Total)
	}
}

// TestAHiddenProjectIsAsNone: what is said of it, and of what comes after it, for as many
// reads, remembered no longer.
func TestAHiddenProjectIsAsNone(t *testing.T) {
	r := newRig(t, budget.Options{MaxActive: 2})
	now := time.Now()
	r.now = func() time.Time { return now }
	hidden := r.make("clips", `{"video_url":"https://x/v.mp4","project_name":"talk~clips=2"}`)
	other := r.make("clips", `{"video_url":"https://x/v.mp4","project_name":"talk~clips=2"}`)
	r.check(tasks.Export{ProjectID: hidden}, tasks.Export{ProjectID: other}) // its owner has asked
	if err := r.meter.Learn(t.Context(), "t", "SD_480", now, 100, 100); err != nil {
		t.Fatal(err)
	}
	of := func(id string) (string, int) {
		before := r.reads()
		e := tasks.Export{ProjectID: id, TargetLang: "klingon"}
		report, err := r.Check(t.Context(), "", []tasks.Export{e, {ProjectID: other}}, map[string]bool{hidden: true})
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(report)
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(text), id, "ID"), r.reads() - before
	}
	none := strings.Repeat("x", len(hidden))
	for range 2 { // read, and remembered
		got, reads := of(hidden)
		want, unknown := of(none)
		if got != want || reads != unknown {
			t.Errorf("%d reads: %s\nof none, %d reads: %s", reads, got, unknown, want)
		}
	}
	lives := func(id string) time.Duration {
		return r.rdb.PTTL(t.Context(), keyOf("default", id)).Val().Round(10 * time.Second)
	}
	if a, b := lives("hidden\x00"+hidden), lives(none); a != b {
		t.Errorf("remembered for %s, and none for %s", a, b)
	}
}

// TestABacklogIsNotReadWhole: a check must not eat the budget of those who work.
func TestABacklogIsNotReadWhole(t *testing.T) {
	r := newRig(t, budget.Options{MaxActive: 2})
	r.o.MaxReads = 2
	report := r.check(tasks.Export{ProjectID: "a"}, tasks.Export{ProjectID: "b"}, tasks.Export{ProjectID: "c"}, tasks.Export{ProjectID: "a"})
	if report.Total.Unread != 1 || report.Exports[2].Unread == "" || r.reads() != 4 { // as both kinds
		t.Errorf("%+v after %d reads", report, r.reads())
	}
	// What was read is remembered: the rest comes with the next check.
	if again := r.check(tasks.Export{ProjectID: "a"}, tasks.Export{ProjectID: "b"}, tasks.Export{ProjectID: "c"}); again.Total.Unread != 0 {
		t.Errorf("%+v", again)
	}
}

// TestAChecksReadWaitsAmongItsTenants: they are read by turns with what the tenants pass
// through, and in the tenant's places.
func TestAChecksReadWaitsAmongItsTenants(t *testing.T) {
	r := newRig(t, budget.Options{MaxActive: 2})
	id := r.make("clips", `{"video_url":"https://x/v.mp4","project_name":"talk~clips=1"}`)
	for _, ok := r.gate.Enter("web"); ok; {
		_, ok = r.gate.Enter("web")
	}
	for _, tenant := range []string{"web", "batch"} {
		report, err := r.Check(t.Context(), tenant, []tasks.Export{{ProjectID: id}}, map[string]bool{})
		if x := report.Exports[0]; err != nil || (x.Unread == "") != (tenant == "batch") {
			t.Errorf("%s: %+v, %v", tenant, x, err)
		}
	}
}
