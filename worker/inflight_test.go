package worker_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

// lostInFlight has Redis lose everything while the first paid request is under way,
// and e enqueued before that is accepted.
func lostInFlight(r *rig, e tasks.Export) {
	r.provider.submit = func(n int, _ json.RawMessage) error {
		if n > 1 {
			return nil
		}
		must(r.t, r.rdb.FlushAll(context.Background()).Err())
		_, err := r.client.Enqueue(context.Background(), e)
		must(r.t, err)
		time.Sleep(3 * time.Second) // the provider takes its time
		return nil
	}
}

// Whoever meets the intent of a paid request that is still under way waits for its
// answer before the export is sent again.
func TestARequestUnderWayIsWaitedForAfterALossOfRedis(t *testing.T) {
	r := newRig(t)
	e := tasks.Export{JobID: "a", ProjectID: "proj"}
	lostInFlight(r, e)
	r.work()
	r.enqueue(e)
	rec := r.awaitState("a", export.Archived)
	if rec.ExportTaskID != "task-1" || len(rec.Duplicates) != 0 || r.provider.submits() != 1 {
		t.Errorf("archived as %s, also paid for %v; sent %d times", rec.ExportTaskID, rec.Duplicates, r.provider.submits())
	}
}

// The answer to one request is not another's that has its id since Redis was lost.
func TestAnAnswerIsOfItsOwnRequestAlone(t *testing.T) {
	r := newRig(t)
	other := tasks.Export{JobID: "a", ProjectID: "other"}
	lostInFlight(r, other)
	r.work()
	r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj"})
	rec := r.await("a", "the other's, accepted", func(rec *export.Record) bool {
		return rec.ProjectID == "other" && rec.ExportTaskID == "task-2" && rec.Receipt != ""
	})
	if len(rec.Duplicates) != 0 {
		t.Errorf("%v counts as paid for", rec.Duplicates)
	}
	r.await("a", "archived", func(rec *export.Record) bool { return rec.State == export.Archived })
	if got := r.receipt("a"); got.State != storage.ReceiptOpen && got.State != storage.ReceiptDone {
		t.Errorf("the receipt says %s", got.State)
	}
}
