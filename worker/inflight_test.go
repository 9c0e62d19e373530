package worker_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
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
