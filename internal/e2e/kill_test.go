package e2e_test

import (
	"errors"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
)

// A worker is killed in the middle of a transfer, of a read and of a paid request, and
// while another export waits for its slot: each goes on in a worker that lives. The
// bounds leave a busy machine its time; docs/performance.md has what it takes.
func TestWhatAKilledWorkerHadGoesOnWithinSeconds(t *testing.T) {
	h := newHouse(t, "--requests-per-minute", "0", "--max-active", "3")
	delay := func(route, project string) emulator.Fault {
		return emulator.Fault{Kind: emulator.FaultDelay, Route: route, Project: project, Delay: emulator.Duration(40 * time.Second)}
	}
	h.order(
		delay(emulator.RouteSubmit, "order*"), delay(emulator.RouteRead, "read*"),
		emulator.Fault{Kind: emulator.FaultSlow, Route: emulator.RouteClip, Project: "large*", Rate: 1 << 18},
	)
	killed := h.worker("CLIPFERRY_API_MAX_ACTIVE_EXPORTS=3")
	records := ledger.New(ledger.Options{Redis: h.redis.Client()})
	load := func(id string) *export.Record {
		r, err := records.Load(t.Context(), id)
		if errors.Is(err, ledger.ErrUnknown) { // not taken up yet
			return &export.Record{}
		}
		must(t, err)
		return r
	}
	active := func(in string) int64 { return h.redis.Client().ZCard(t.Context(), queue.LeaseKey(in)).Val() }
	h.enqueue(`{"project_id":"large~clips=1~size=60MB~render=1s","job_id":"large"}`)
	h.eventually("the transfer is under way", time.Minute, func() bool { return h.books().Requests[emulator.RouteClip]["206"] > 0 })
	h.enqueue(`{"project_id":"read~clips=1~render=1s","job_id":"read"}`)
	h.eventually("the read is under way", time.Minute, func() bool { return load("read").State == export.Rendering && active(queue.Poll) > 0 })
	h.enqueue(`{"project_id":"order~clips=1~render=1s","job_id":"order"}`)
	h.eventually("the paid request is under way", time.Minute, func() bool { return h.state("order").State == "submitting" })

	h.worker("CLIPFERRY_API_MAX_ACTIVE_EXPORTS=3")
	must(t, killed.Process.Kill())
	_ = killed.Wait()
	began := time.Now()
	h.mend()
	for _, step := range []struct {
		what   string
		within time.Duration
		on     func() bool
	}{
		{"the read", 45 * time.Second, func() bool { return load("read").Polls > 0 }},
		{"the transfer", 45 * time.Second, func() bool { return load("large").ArchivedCount == 1 }},
		{"the order", 90 * time.Second, func() bool { return load("order").ExportTaskID != "" }},
	} {
		h.eventually(step.what+" goes on", 2*time.Minute, step.on)
		took := time.Since(began)
		t.Logf("%s went on after %s", step.what, took.Round(100*time.Millisecond))
		if took > step.within {
			t.Errorf("%s went on after %s, want %s", step.what, took, step.within)
		}
	}
	for _, s := range h.awaitAll([]string{"large", "read", "order"}, "archived", time.Minute) {
		h.compare(s)
	}
	if r := load("order"); r.Attempts != 2 || r.Doubts != 1 {
		t.Errorf("%d requests were sent, %d in doubt; want the second after one doubt", r.Attempts, r.Doubts)
	}
	if a, b := load("large"), load("read"); a.Attempts != 1 || b.Attempts != 1 {
		t.Errorf("others were sent %d and %d times", a.Attempts, b.Attempts)
	}
}
