package recovery_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/index"
	"github.com/clipferry/clipferry/internal/notify"
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

// Whom to notify of a batch could not be read, as with a wrong secret: a later run can.
func TestWhomToNotifyOfABatchComesBackLater(t *testing.T) {
	d := newRig(t)
	to, err := notify.NewEnvelope([]string{webhookSecret})
	if err != nil {
		t.Fatal(err)
	}
	webhook := json.RawMessage(`{"webhook":"https://example.com/hook?token=hush"}`)
	b := storage.Batch{Batch: index.Batch{Name: "season-1", Count: 1, Created: time.Now(), Notify: to.ForReceipt("batch season-1", webhook)}, Members: []string{"a"}}
	other, err := notify.NewEnvelope([]string{"whsec_" + strings.Repeat("A", 32)})
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range []struct {
		with  recovery.Recipients
		knows string
	}{{other, ""}, {to, string(webhook)}, {other, string(webhook)}} {
		_, err := d.Recover(t.Context(), batched{nil, b}, run.with)
		if (err != nil) != (run.knows == "") {
			t.Error(err)
		}
		if got, err := index.LoadBatch(t.Context(), d.rdb, "season-1"); err != nil || string(got.Notify) != run.knows {
			t.Errorf("%s, %v; want %s", got.Notify, err, run.knows)
		}
		kept := &keeper{}
		if err := recovery.KeepBatch(t.Context(), d.rdb, kept, "season-1", to.ForReceipt); err != nil || run.knows == "" && kept.n > 0 {
			t.Errorf("what S3 knows is overwritten by what is not known: %d, %v", kept.n, err)
		}
	}
}

// keeper counts the batches that are kept.
type keeper struct{ n int }

func (k *keeper) KeepBatch(context.Context, storage.Batch) error {
	k.n++
	return nil
}
