package control_test

import (
	"testing"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/tasks"
)

// Asynq's clients enter a queue into the list of queues once in their lives. What
// is enqueued after Redis has lost everything, the list included, is found too.
func TestWhatIsQueuedAfterAFlushIsFound(t *testing.T) {
	for _, account := range []string{"", "eu"} {
		t.Run("account "+account, func(t *testing.T) {
			d := newDesk(t)
			d.enqueue(t, tasks.Export{JobID: "before", ProjectID: "p", Account: account})
			if err := d.rdb.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			e := tasks.Export{JobID: "after", ProjectID: "p", Account: account}
			d.enqueue(t, e)
			if r, err := d.Get(t.Context(), "after"); err != nil || r.State != export.Queued {
				t.Errorf("status: %+v, %v", r, err)
			}
			d.enqueue(t, e)
			if r, err := d.Cancel(t.Context(), "after"); err != nil || r.State != export.Canceled {
				t.Errorf("cancel: %+v, %v", r, err)
			}
		})
	}
}
