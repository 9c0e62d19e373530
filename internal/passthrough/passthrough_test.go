package passthrough

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/observe"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/storage"
)

const talk = `{"video_url":"https://video.example/talk","project_name":"talk~clips=4"}`

// TestAnOrderIsSentOnce, with an Idempotency-Key.
func TestAnOrderIsSentOnce(t *testing.T) {
	r := newRig(t)
	first, _ := r.must("web", "POST", "clips", talk, "order 1")
	r.pass(time.Minute)
	again, _ := r.must("web", "POST", "clips", talk, "order 1")
	if string(again.Body) != string(first.Body) || !again.Again || again.Age != time.Minute {
		t.Errorf("%+v", again)
	}
	if f := r.refused("web", "POST", "clips", strings.Replace(talk, "talk", "walk", 1), "order 1"); f.Status != 422 {
		t.Errorf("%+v", f)
	}
	if f := r.refused("web", "POST", "summaries", talk, "order 1"); f.Status != 422 {
		t.Errorf("another path: %+v", f)
	}
	other, _ := r.must("batch", "POST", "clips", talk, "order 1") // the key of somebody else
	if string(other.Body) == string(first.Body) || len(r.emulator.State().Submits) != 2 {
		t.Errorf("%s, %d submits", other.Body, len(r.emulator.State().Submits))
	}
}

// TestAStopWaitsForWhatWasSent, and sends away who waits.
func TestAStopWaitsForWhatWasSent(t *testing.T) {
	r := newRig(t)
	arrived, release := make(chan struct{}, 3), make(chan struct{})
	r.answered = func() { arrived <- struct{}{}; <-release }
	var all sync.WaitGroup
	statuses := make([]int, 3)
	for i := range statuses { // for two slots
		all.Go(func() {
			var f *Refusal
			a, err := r.do("web", "POST", "clips", talk, string(rune('a'+i)))
			if errors.As(err, &f) {
				a.Status = f.Status
			}
			statuses[i] = a.Status
		})
	}
	<-arrived
	<-arrived
	stopped := make(chan struct{})
	go func() { defer close(stopped); r.Stop() }()
	select {
	case <-stopped:
		t.Error("it did not wait")
	case <-time.After(100 * time.Millisecond):
	}
	close(release)
	<-stopped
	all.Wait()
	if n := statuses[0] + statuses[1] + statuses[2]; n != 200+200+503 {
		t.Errorf("%v", statuses)
	}
	if f := r.refused("web", "POST", "clips", talk, "late"); f.Status != 503 || f.Reason != "stopping" {
		t.Errorf("%+v", f)
	}
}

// TestAClientThatLeavesLosesNoAnswer: a repeat while its order is under way, however
// long that takes, is not told that the answer was lost.
func TestAClientThatLeavesLosesNoAnswer(t *testing.T) {
	r := newRig(t)
	r.keyLease = 3 * time.Second
	arrived, release := make(chan struct{}), make(chan struct{})
	r.answered = sync.OnceFunc(func() { close(arrived); <-release })
	ctx, leave := context.WithCancel(t.Context())
	order := Request{
		Tenant: "web", Method: "POST", Path: "/api/v2/clips", Body: strings.NewReader(talk), Length: int64(len(talk)), Key: "one",
		Header: http.Header{"X-Wayinvideo-Api-Version": {"v2"}, "Content-Type": {"application/json"}},
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = r.Do(ctx, order)
	}()
	<-arrived
	leave()
	time.AfterFunc(r.keyLease+time.Second, func() { close(release) })
	time.Sleep(r.keyLease + 500*time.Millisecond)
	again, made := r.must("web", "POST", "clips", talk, "one")
	if again.Status != 200 || made.Data.ID == "" || len(r.emulator.State().Submits) != 1 {
		t.Errorf("%+v, %d orders", again, len(r.emulator.State().Submits))
	}
	<-gone
}

// TestACallOfOneClientHaltsNobody: its own refusal is no fault of the account.
func TestACallOfOneClientHaltsNobody(t *testing.T) {
	r := newRig(t)
	_, err := r.emulator.Inject(emulator.Fault{Kind: emulator.FaultStatus, Route: emulator.RouteCreate, Status: 403, Count: 1})
	must(t, err)
	if a, err := r.do("web", "POST", "summaries", talk); err != nil || a.Status != 403 {
		t.Fatalf("%d %v", a.Status, err)
	}
	if h, err := r.gate.Health(t.Context()); err != nil || h.Halted != "" {
		t.Errorf("%+v, %v", h, err)
	}
}

// TestPausedOrders: the operator's pause is for whatever costs.
func TestPausedOrders(t *testing.T) {
	r := newRig(t)
	must(t, r.rdb.Set(t.Context(), queue.PausedKey("clipferry-submit"), 1, 0).Err())
	if f := r.refused("web", "POST", "clips", talk, "one"); f.Status != 503 || f.Reason != "queue_paused" || r.sent(emulator.RouteCreate) != 0 {
		t.Errorf("%+v, %d requests", f, r.sent(emulator.RouteCreate))
	}
	r.must("web", "POST", "upload/single-file", `{"name":"a.mp4"}`)
	must(t, r.rdb.Del(t.Context(), queue.PausedKey("clipferry-submit")).Err())
	r.must("web", "POST", "clips", talk, "one")
}

// TestATaskThatIsUnknownMayBeKnownLater: a refusal is no end.
func TestATaskThatIsUnknownMayBeKnownLater(t *testing.T) {
	r := newRig(t)
	_, err := r.emulator.Inject(emulator.Fault{Kind: emulator.FaultStatus, Route: emulator.RouteResults, Status: 404, Count: 1})
	must(t, err)
	id := elsewhere(r)
	for range 3 { // however often it is asked for
		if a, err := r.do("web", "GET", "clips/results/"+id, ""); err != nil || a.Status != 404 || r.sent(emulator.RouteResults) != 1 {
			t.Errorf("%d %v, %d requests", a.Status, err, r.sent(emulator.RouteResults))
		}
	}
	r.pass(soonest)
	r.must("web", "GET", "clips/results/"+id, "")
}

// TestARepeatMeanwhileGetsTheSameAnswer: it waits for the first one.
func TestARepeatMeanwhileGetsTheSameAnswer(t *testing.T) {
	r := newRig(t)
	_, err := r.emulator.Inject(emulator.Fault{Kind: emulator.FaultDelay, Route: emulator.RouteCreate, Delay: emulator.Duration(300 * time.Millisecond)})
	must(t, err)
	var all sync.WaitGroup
	bodies := make([]string, 4)
	for i := range bodies {
		all.Go(func() {
			a, err := r.do("web", "POST", "clips", talk, "one")
			if err != nil {
				t.Error(err)
			}
			bodies[i] = string(a.Body)
		})
	}
	all.Wait()
	if n := len(r.emulator.State().Submits); n != 1 || bodies[0] != bodies[3] || bodies[1] != bodies[2] {
		t.Errorf("%d submits, %v", n, bodies)
	}
}

// TestALostAnswerIsSaid, and counted, and nothing is sent again.
func TestALostAnswerIsSaid(t *testing.T) {
	var counted []budget.Result
	r := newRig(t, func(o *Options) {
		o.Requested = func(_ context.Context, q observe.Request) { counted = append(counted, q.Result) }
	})
	for name, fault := range map[string]emulator.Fault{
		"a reset":            {Kind: emulator.FaultLost, Count: 1},
		"a gateway's answer": {Kind: emulator.FaultStatus, Status: 502, Acted: true, Count: 1},
	} {
		fault.Route = emulator.RouteCreate
		_, err := r.emulator.Inject(fault)
		must(t, err)
		before := len(r.emulator.State().Submits)
		if f := r.refused("web", "POST", "clips", talk, name); f.Status != 502 || f.Reason != "answer_lost" {
			t.Errorf("%s: %+v", name, f)
		}
		for range 2 {
			if f := r.refused("web", "POST", "clips", talk, name); f.Status != 409 || f.Reason != "answer_lost" || !strings.Contains(f.Message, "is not sent again") {
				t.Errorf("%s: %+v", name, f)
			}
		}
		if n := len(r.emulator.State().Submits) - before; n != 1 {
			t.Errorf("%s: %d submits", name, n)
		}
	}
	if len(counted) != 2 || counted[0] != budget.InDoubt || counted[1] != budget.InDoubt || r.slots() != 2 {
		t.Errorf("counted %v, %d slots", counted, r.slots())
	}
}

// TestTheProvidersOwn500IsItsAnswer: it is passed on, holds no slot, and says nothing of
// the account's other orders.
func TestTheProvidersOwn500IsItsAnswer(t *testing.T) {
	r := newRig(t)
	_, err := r.emulator.Inject(emulator.Fault{Kind: emulator.FaultStatus, Route: emulator.RouteCreate, Status: 500, Message: "out of order"})
	must(t, err)
	for range 6 { // more than halt an account that gets no answers
		if a, err := r.do("web", "POST", "clips", talk); err != nil || a.Status != 500 || !strings.Contains(string(a.Body), "out of order") {
			t.Fatalf("%d %s %v", a.Status, a.Body, err)
		}
	}
	if st, err := r.gate.Status(t.Context()); err != nil || st.Halted != "" || r.slots() != 0 {
		t.Errorf("halted: %q, %d slots (%v)", st.Halted, r.slots(), err)
	}
}

// TestRefusalsArePassedOn as they are, and cost no slot.
func TestRefusalsArePassedOn(t *testing.T) {
	r := newRig(t)
	a, err := r.do("web", "POST", "clips", `{}`, "bad")
	if err != nil || a.Status != 400 || !strings.Contains(string(a.Body), "trace_id") || r.slots() != 0 {
		t.Errorf("%d %s %v, %d slots", a.Status, a.Body, err, r.slots())
	}
	if again, err := r.do("web", "POST", "clips", `{}`, "bad"); err != nil || string(again.Body) != string(a.Body) || r.sent(emulator.RouteCreate) != 1 {
		t.Errorf("%s %v, %d requests", again.Body, err, r.sent(emulator.RouteCreate))
	}
	if log := r.log.String(); !strings.Contains(log, "trace_id=") || !strings.Contains(log, "video_url: required") {
		t.Errorf("the log: %s", log)
	}
	// A call that nobody here knows may cost, and is over when it names no task.
	if a, err := r.do("web", "POST", "translations", `{}`); err != nil || a.Status != 404 || r.slots() != 0 {
		t.Errorf("%d %v, %d slots", a.Status, err, r.slots())
	}
	h, err := r.gate.Health(t.Context())
	if err != nil || h.Halted != "" {
		t.Errorf("halted: %q %v", h.Halted, err)
	}
}

// TestAPassingRefusalIsNotRemembered: it is the account's, or will pass, and nothing was
// done for it.
func TestAPassingRefusalIsNotRemembered(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]struct {
		fault  emulator.Fault
		status int
	}{
		"403":              {emulator.Fault{Kind: emulator.FaultStatus, Status: 403}, 403},
		"402":              {emulator.Fault{Kind: emulator.FaultStatus, Status: 402}, 402},
		"429":              {emulator.Fault{Kind: emulator.FaultStatus, Status: 429}, 429},
		"a code of units":  {emulator.Fault{Kind: emulator.FaultCode, Code: "402", Message: "no more of them"}, 200},
		"a code of limits": {emulator.Fault{Kind: emulator.FaultCode, Code: "429", Message: "slow down"}, 429},
	} {
		c.fault.Route, c.fault.Count = emulator.RouteCreate, 1
		_, err := r.emulator.Inject(c.fault)
		must(t, err)
		a, err := r.do("web", "POST", "clips", talk, name)
		var f *Refusal
		if errors.As(err, &f) {
			a.Status = f.Status
		}
		if a.Status != c.status {
			t.Errorf("%s: %d %s %v", name, a.Status, a.Body, err)
		}
		key := "key:" + hash("web", name)
		known, err := r.store.get(t.Context(), key, &attempt{})
		must(t, err)
		receipt, found, err := r.archive.Receipt(t.Context(), receiptID("default", key))
		if err != nil || known || !found || receipt.State != storage.ReceiptFailed || r.slots() != 0 {
			t.Errorf("%s: remembered: %v, as %q in S3, %v; %d slots", name, known, receipt.State, err, r.slots())
		}
		r.forget() // what the budget waits for after a 429
	}
}

// TestAWaitThatWouldOutlastTheClient is a 429 with Retry-After; the order keeps its
// place in line.
func TestAWaitThatWouldOutlastTheClient(t *testing.T) {
	r := newRig(t)
	r.must("web", "POST", "clips", talk)
	r.must("web", "POST", "clips", talk)
	usual := r.o.Wait
	r.o.Wait = 300 * time.Millisecond // of those for which there is no slot
	for range 2 {
		if f := r.refused("web", "POST", "clips", talk, "third"); f.Status != 429 || f.Reason != "busy" || f.RetryAfter < 5*time.Second {
			t.Errorf("%+v", f)
		}
	}
	if n := r.sent(emulator.RouteCreate); n != 2 {
		t.Errorf("%d requests", n)
	}
	r.o.Wait = usual
	r.pass(100 * time.Second)
	r.steps()
	r.must("web", "POST", "clips", talk, "third") // nothing was sent before, and nothing is remembered
}

// TestNobodyWaitsInThePlaceOfAnother: a tenant that asks for more than it gets is sent
// away, with the last answer where there is one; others are served.
func TestNobodyWaitsInThePlaceOfAnother(t *testing.T) {
	r := newRig(t)
	id := elsewhere(r)
	r.must("web", "GET", "clips/results/"+id, "")
	for _, ok := r.gate.Enter("web"); ok; {
		_, ok = r.gate.Enter("web")
	}
	r.pass(time.Minute)
	if a, _ := r.must("web", "GET", "clips/results/"+id, ""); a.Age != time.Minute {
		t.Errorf("the last answer is given again: %+v", a)
	}
	for _, path := range []string{"clips/results/another", "upload/limits"} {
		if f := r.refused("web", "GET", path, ""); f.Status != 503 || f.Reason != "busy" || f.RetryAfter == 0 {
			t.Errorf("%s: %+v", path, f)
		}
	}
	if f := r.refused("web", "POST", "clips", talk); f.Status != 429 || f.Reason != "busy" || f.RetryAfter == 0 {
		t.Errorf("%+v", f)
	}
	r.must("batch", "POST", "clips", talk)
	r.must("batch", "POST", "upload/single-file", `{"name":"a.mp4"}`)
	if a, _ := r.must("batch", "GET", "clips/results/"+id, ""); a.Age != 0 {
		t.Errorf("%+v", a)
	}
}

// TestTheRequestIsPassedOnAsItIs, but for the key.
func TestTheRequestIsPassedOnAsItIs(t *testing.T) {
	r := newRig(t)
	a, _ := r.must("web", "POST", "upload/single-file", `{"name":"talk.mp4"}`)
	if !strings.Contains(string(a.Body), "upload_url") || r.slots() != 0 {
		t.Errorf("%s, %d slots", a.Body, r.slots())
	}
	if got := r.saw; got.Get("Authorization") != "Bearer "+ourKey || got.Get("X-Wayinvideo-Api-Version") != "v2" || got.Get("Content-Type") != "application/json" {
		t.Errorf("%v", got)
	}
	for _, path := range []string{"clips/../export", "clips/results/%2e%2e", "clips/results/a%00"} {
		if f := r.refused("web", "GET", path, ""); f.Status != 404 {
			t.Errorf("%s: %+v", path, f)
		}
	}
	if f := r.refused("web", "POST", "clips", strings.Repeat("x", maxOrder+1)); f.Status != 413 {
		t.Errorf("%+v", f)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Do(ctx, Request{Method: "GET", Path: "/api/v2/clips/results/x"}); !errors.Is(err, context.Canceled) {
		var f *Refusal
		if !errors.As(err, &f) || f.Status != 503 {
			t.Errorf("a client that has left: %v", err)
		}
	}
}

// TestWhoHasLostTheKeyTouchesNothing of whoever has it now.
func TestWhoHasLostTheKeyTouchesNothing(t *testing.T) {
	r := newRig(t)
	lease, err := r.o.Ledger.FleetLease(t.Context(), "passed:key:x", keyLease)
	must(t, err)
	o := &ordered{s: r.Service, key: "key:x", digest: "d", slot: "pass/x", lease: lease}
	must(t, o.writeAhead(t.Context()))
	must(t, lease.Release(t.Context()))
	o.takeBack(t.Context())
	var kept attempt
	if known, err := r.store.get(t.Context(), "key:x", &kept); err != nil || !known {
		t.Errorf("the next one's order is forgotten: %v", err)
	}
	if err := o.writeAhead(t.Context()); err == nil {
		t.Error("it goes on to send")
	}
}
