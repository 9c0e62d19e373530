package passthrough

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/emulator"
)

// TestATaskIsReadToItsEndWithoutItsClient: it holds a slot that exports wait for.
func TestATaskIsReadToItsEndWithoutItsClient(t *testing.T) {
	r := newRig(t)
	_, made := r.must("web", "POST", "clips", talk)
	if r.slots() != 1 || len(r.accepted) != 1 || r.accepted[0].TaskID != made.Data.ID || r.accepted[0].Inline {
		t.Fatalf("%d slots, %+v", r.slots(), r.accepted)
	}
	if first, said := r.must("web", "GET", "clips/results/"+made.Data.ID, ""); said.Data.Status != "CREATED" || first.Again {
		t.Errorf("before the first read: %+v, %+v", first, said)
	}
	r.pass(50 * time.Second)
	if n := r.steps(); n != 1 {
		t.Fatalf("%d steps", n)
	}
	r.pass(10 * time.Second)
	on, said := r.must("web", "GET", "clips/results/"+made.Data.ID, "")
	if said.Data.Status != "ONGOING" || !on.Again || on.Age != 10*time.Second || r.slots() != 1 {
		t.Errorf("on its way: %+v, %+v, %d slots", on, said, r.slots())
	}
	r.pass(50 * time.Second)
	r.steps()
	if _, said := r.must("web", "GET", "clips/results/"+made.Data.ID, ""); said.Data.Status != "SUCCEEDED" || len(said.Data.Clips) != 4 || r.slots() != 0 {
		t.Errorf("at its end: %+v, %d slots", said, r.slots())
	}
	if n := r.steps(); n != 0 {
		t.Errorf("it is read on")
	}
	// From now on it is answered from memory, but not for longer than links live.
	before := r.sent(emulator.RouteResults)
	r.pass(19 * time.Hour)
	if a, _ := r.must("web", "GET", "clips/results/"+made.Data.ID, ""); a.Age != 19*time.Hour || r.sent(emulator.RouteResults) != before {
		t.Errorf("%v, %d requests", a.Age, r.sent(emulator.RouteResults)-before)
	}
	r.pass(2 * time.Hour)
	if a, _ := r.must("web", "GET", "clips/results/"+made.Data.ID, ""); a.Age != 0 || r.sent(emulator.RouteResults) != before+1 {
		t.Errorf("%v, %d requests", a.Age, r.sent(emulator.RouteResults)-before)
	}
}

// TestALostStepComesBack: its client asks for the task, and the last answer is old.
func TestALostStepComesBack(t *testing.T) {
	r := newRig(t)
	_, made := r.must("web", "POST", "summaries", talk)
	must(t, r.rdb.Del(t.Context(), "asynq:{clipferry-passed}:scheduled", "asynq:{clipferry-passed}:pending").Err())
	r.pass(3 * time.Minute)
	if _, said := r.must("web", "GET", "summaries/results/"+made.Data.ID, ""); said.Data.Status != "SUCCEEDED" || r.slots() != 0 {
		t.Errorf("%+v, %d slots", said, r.slots())
	}
}

// TestLateClipsAreAskedForAgain: SUCCEEDED is not the end of a task with
// enable_export.
func TestLateClipsAreAskedForAgain(t *testing.T) {
	r := newRig(t)
	_, made := r.must("web", "POST", "clips", strings.TrimSuffix(talk, "}")+`,"enable_export":true}`)
	if !r.accepted[0].Inline {
		t.Error("it is not seen that clips are rendered with it")
	}
	r.pass(100 * time.Second)
	r.steps()
	_, early := r.must("web", "GET", "clips/results/"+made.Data.ID, "")
	if early.Data.Status != "SUCCEEDED" || len(early.Data.Clips) == 4 || r.slots() != 0 {
		t.Fatalf("%+v, %d slots", early, r.slots())
	}
	r.pass(90 * time.Second)
	_, all := r.must("web", "GET", "clips/results/"+made.Data.ID, "")
	if len(all.Data.Clips) != 4 || all.Data.Clips[3].ExportLink == "" {
		t.Errorf("%+v", all)
	}
	before := r.sent(emulator.RouteResults)
	r.pass(20 * time.Minute)
	r.must("web", "GET", "clips/results/"+made.Data.ID, "") // nothing new in it
	r.pass(20 * time.Minute)
	r.must("web", "GET", "clips/results/"+made.Data.ID, "")
	if n := r.sent(emulator.RouteResults) - before; n > 1 {
		t.Errorf("%d more reads", n)
	}
	if log := r.log.String(); strings.Contains(log, "signature") || strings.Contains(log, ourKey) {
		t.Errorf("a link or our key in the log: %s", log)
	}
}

// TestATaskThatAnExportTakesUpIsReadByItAlone, and holds one slot.
func TestATaskThatAnExportTakesUpIsReadByItAlone(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.TakeUp = func(_ context.Context, a Accepted) (string, error) { return "import-" + a.TaskID, nil }
	})
	_, made := r.must("web", "POST", "clips", talk)
	held, err := r.gate.Slots(t.Context())
	if id := "import-" + made.Data.ID; err != nil || len(held) != 1 || held[0] != id {
		t.Errorf("%v hold slots, %v", held, err)
	}
	if n := r.steps(); n != 0 {
		t.Errorf("%d steps", n)
	}
	r.pass(time.Hour)
	defer func() { // unless it doesn't
		a, err := r.Do(t.Context(), Request{
			Tenant: "web", Method: "GET", Path: "/api/v2/clips/results/" + made.Data.ID, Unread: true,
			Header: http.Header{"X-Wayinvideo-Api-Version": {"v2"}},
		})
		if err != nil || !strings.Contains(string(a.Body), "SUCCEEDED") || r.slots() != 0 {
			t.Errorf("%+v, %v, %d slots", a, err, r.slots())
		}
	}()
	if a, _ := r.must("web", "GET", "clips/results/"+made.Data.ID, ""); a.Export != "import-"+made.Data.ID || r.sent(emulator.RouteResults) != 0 {
		t.Errorf("%+v, %d reads", a, r.sent(emulator.RouteResults))
	}
}

// TestReadsOfOneTaskByManyAreOneRequest, of one that was made elsewhere.
func TestReadsOfOneTaskByManyAreOneRequest(t *testing.T) {
	r := newRig(t)
	id := elsewhere(r)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if a, err := r.do("any", "GET", "clips/results/"+id, ""); err != nil || a.Status != 200 {
				t.Errorf("%d %v", a.Status, err)
			}
		})
	}
	all.Wait()
	if n := r.sent(emulator.RouteResults); n != 1 {
		t.Errorf("%d requests", n)
	}
	if r.slots() != 0 {
		t.Error("reading takes a slot")
	}
}

// elsewhere makes a task with our key beside us.
func elsewhere(r *rig) string {
	r.t.Helper()
	q, _ := http.NewRequestWithContext(r.t.Context(), "POST", "/api/v2/clips", strings.NewReader(talk))
	q.Header.Set("Authorization", "Bearer "+ourKey)
	q.Header.Set("x-wayinvideo-api-version", "v2")
	r.emulator.ServeHTTP(&discard{header: http.Header{}}, q)
	submits := r.emulator.State().Submits
	return submits[len(submits)-1].TaskID
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

func TestATaskIsItsTenants(t *testing.T) {
	r := newRig(t)
	_, made := r.must("web", "POST", "clips", talk)
	if f := r.refused("batch", "GET", "clips/results/"+made.Data.ID, ""); f.Status != 404 || f.Message != "no such task" {
		t.Errorf("%+v", f)
	}
	for _, variant := range []string{"?x=1", ";x=1", "%2F", "%3Bx"} {
		if f := r.refused("batch", "GET", "clips/results/"+made.Data.ID+variant, ""); f.Status != 404 {
			t.Errorf("%s: %+v", variant, f)
		}
	}
	a, err := r.Do(t.Context(), Request{Tenant: "ops", All: true, Method: "GET", Path: "/open/v2/clips/results/" + made.Data.ID})
	if err != nil || a.Status != 200 {
		t.Errorf("who may see all: %d %v", a.Status, err)
	}
	id := elsewhere(r)
	r.must("batch", "GET", "clips/results/"+id, "")
	// What nobody knows is the provider's to say.
	if a, err := r.do("web", "GET", "clips/results/unknown", ""); err != nil || a.Status != 404 || !strings.Contains(string(a.Body), "/api/v2/clips/results/unknown") {
		t.Errorf("%d %s %v", a.Status, a.Body, err)
	}
}
