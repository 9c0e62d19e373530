package recovery_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/index"
	"github.com/clipferry/clipferry/internal/recovery"
	"github.com/clipferry/clipferry/storage"
)

// batched is an archive with a batch.
type batched struct {
	receipts
	batch storage.Batch
}

func (b batched) Batches(context.Context) iter.Seq2[storage.Batch, error] {
	return func(yield func(storage.Batch, error) bool) { yield(b.batch, nil) }
}

// S3 fails for some receipts in the first run: what ended of their batch comes back with
// the next.
func TestABatchIsRebuiltInTwoRuns(t *testing.T) {
	d := newRig(t)
	created := time.Now().Add(-time.Hour).UTC()
	ended := func(id string) storage.Receipt {
		return storage.Receipt{
			ID: id, ExportTaskID: "task-" + id, ProjectID: "p", Request: json.RawMessage(`{"project_id":"p"}`), Batch: "season-1",
			State: storage.ReceiptExpired, Created: created, Submitted: created, Closed: &created,
		}
	}
	b := storage.Batch{Batch: index.Batch{Name: "season-1", Count: 3, Created: created}, Members: []string{"a", "b", "c"}}
	fault := errors.New("503 Slow Down")

	done, err := d.Recover(t.Context(), batched{receipts{ended("a"), fault}, b}, nil)
	if !errors.Is(err, fault) || !slices.Equal(done.Batches, []recovery.RecoveredBatch{{Name: "season-1", Missing: 2}}) {
		t.Errorf("%+v, %v", done, err)
	}
	done, err = d.Recover(t.Context(), batched{receipts{ended("a"), ended("b")}, b}, nil)
	if err != nil || len(done.Batches) != 0 {
		t.Errorf("%+v, %v", done, err)
	}
	for _, id := range []string{"a", "b"} {
		if r, err := d.ledger.Load(t.Context(), id); err != nil || r.State != export.Expired {
			t.Errorf("%s: %+v, %v", id, r, err)
		}
	}
	in, missing, err := index.CountMembers(t.Context(), d.rdb, "season-1", export.States())
	if err != nil || in[export.Expired] != 2 || missing != 1 {
		t.Errorf("%v, %d missing, %v", in, missing, err)
	}
}
