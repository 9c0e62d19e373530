package worker_test

import (
	"sync/atomic"
	"testing"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
)

// The provider answers 404 for whatever is read, as while a route is missing: its exports
// are not given up, and hold their slots. One that it does not know among others that it
// knows is.
func TestNothingIsGivenUpWhileNoTaskIsKnown(t *testing.T) {
	r := newRig(t)
	r.waitsForNothing()
	r.provider.rendersIn(1)
	var known atomic.Bool // all but the first
	asked := map[string]int{"task-1": 0, "task-2": 0}
	r.provider.read = func(_ int, task *provider.Task) error {
		id := task.ExportTaskID
		switch {
		case known.Load() && id != "task-1":
			return nil
		case !known.Load() && (asked[id] > asked["task-1"] || asked[id] > asked["task-2"]): // in turn
			return refusal(provider.Rejected, fault.Retry, "later")
		}
		asked[id]++
		return refusal(provider.NotFound, fault.Retry, "no such task")
	}
	r.work()
	first := r.enqueue(tasks.Export{ProjectID: "a"})
	r.await(first, "accepted", func(rec *export.Record) bool { return rec.ExportTaskID == "task-1" })
	second := r.enqueue(tasks.Export{ProjectID: "b"})
	for _, id := range []string{first, second} {
		rec := r.await(id, "asked often", func(rec *export.Record) bool {
			return rec.State.Final() || rec.ReadFaults > 5*export.MaxUnknown && rec.Problem.Reason == export.ReasonTaskUnknown
		})
		if rec.State != export.Rendering || rec.Problem.Reason != export.ReasonTaskUnknown || !rec.HoldsSlot() {
			t.Errorf("%s: %s", rec.State, view.Sentence(rec, view.CLI))
		}
	}
	known.Store(true)
	r.awaitState(second, export.Archived)
	if rec := r.awaitState(first, export.Failed); rec.Problem.Reason != export.ReasonTaskUnknown {
		t.Errorf("%+v", rec.Problem)
	}
}

// One that has all clips that were asked for needs nothing of the provider any more.
func TestWhatIsCompleteIsSealedThoughNoTaskIsKnown(t *testing.T) {
	r := newRig(t)
	r.waitsForNothing()
	r.provider.clips, r.provider.readsFor = 1, 1
	var fetched atomic.Int64
	r.provider.read = func(n int, task *provider.Task) error {
		if n == 1 {
			task.Status = provider.StatusOngoing
			return nil
		}
		if fetched.Load() < 2 {
			return refusal(provider.Rejected, fault.Retry, "later")
		}
		return refusal(provider.NotFound, fault.Retry, "no such task")
	}
	r.work()
	var ids []string
	for _, project := range []string{"a", "b"} {
		ids = append(ids, r.enqueue(tasks.Export{ProjectID: project, ClipIndices: []int{0}}))
	}
	for _, id := range ids {
		r.await(id, "fetched", func(rec *export.Record) bool { return rec.ArchivedCount == 1 })
		fetched.Add(1)
	}
	for _, id := range ids {
		r.awaitState(id, export.Archived)
	}
}
