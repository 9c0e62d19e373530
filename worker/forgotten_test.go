package worker_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/s3test"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

// The ledger forgets an id after its retention, or with Redis; the receipt does
// not. Another request under it gets neither the clips of the first nor its
// webhook. Over HTTP an Idempotency-Key is such an id.
func TestAnotherRequestUnderAnIDThatTheLedgerForgot(t *testing.T) {
	t.Parallel()
	first := tasks.Export{JobID: "order-17", ProjectID: "alices", Notify: &tasks.Notify{TaskType: "alices:end", Queue: "alices"}}
	another := tasks.Export{JobID: "order-17", ProjectID: "bobs", Resolution: "UHD_4K"}

	t.Run("the first is over", func(t *testing.T) {
		r := newRig(t)
		stop := r.work()
		r.enqueue(first)
		r.await("order-17", "closed", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptDone })
		stop()
		before := r.receipt("order-17")
		must(t, r.rdb.Del(t.Context(), ledger.Key("order-17")).Err()) // as after its retention
		r.work()
		r.enqueue(another)
		rec := r.awaitState("order-17", export.Failed)
		if rec.ProjectID != "bobs" || rec.ExportTaskID != "" || strings.Contains(string(rec.Notify), "alices") {
			t.Errorf("%+v", rec)
		}
		if !strings.Contains(view.Sentence(rec, view.CLI), "paid for as task task-1") || !strings.Contains(view.Sentence(rec, view.CLI), "another job_id") {
			t.Errorf("error: %s", view.Sentence(rec, view.CLI))
		}
		_, err := r.admin.Retry(t.Context(), "order-17", export.RetryOptions{})
		must(t, err)
		r.awaitState("order-17", export.Failed)
		if after := r.receipt("order-17"); after.Manifest != before.Manifest || after.State != storage.ReceiptDone {
			t.Errorf("its receipt was %+v and is %+v", before, after)
		}
		if r.provider.submits() != 1 {
			t.Errorf("paid %d times", r.provider.submits())
		}
	})

	t.Run("the first still runs", func(t *testing.T) {
		r := newRig(t)
		r.provider.readsFor = 1000
		stop := r.work()
		r.enqueue(first)
		r.await("order-17", "accepted", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptOpen })
		stop()
		must(t, r.rdb.FlushAll(context.Background()).Err())
		r.provider.rendersIn(1)
		r.work()
		r.enqueue(another)
		rec := r.awaitState("order-17", export.Archived)
		m, _, err := r.archive.ReadManifest(t.Context(), rec.Manifest)
		must(t, err)
		var asked tasks.Export
		must(t, json.Unmarshal(m.Request, &asked))
		if rec.ProjectID != "alices" || asked.ProjectID != "alices" || rec.ExportTaskID != "task-1" || r.provider.submits() != 1 {
			t.Errorf("paid %d times, archived as project %s with the request %s", r.provider.submits(), rec.ProjectID, m.Request)
		}
		if _, err := r.client.Enqueue(t.Context(), another); err == nil {
			t.Error("the newcomer is taken again")
		}
		if _, err := r.client.Enqueue(t.Context(), first); err != nil {
			t.Errorf("the first is refused: %v", err)
		}
		if n := r.rdb.ZCard(t.Context(), "asynq:{"+tasks.QueueSubmit+"}:archived").Val(); n != 1 {
			t.Errorf("%d dead letters, want the newcomer's task", n)
		}
	})

	t.Run("the first's answer comes when the newcomer was sent once", func(t *testing.T) {
		r := newRig(t)
		r.waitsForNothing()
		r.provider.submit = func(int, json.RawMessage) error {
			must(t, r.archive.SyncReceipt(context.Background(), storage.Receipt{
				ID: "order-17", ProjectID: "alices", ExportTaskID: "task-9", Request: first.Body(), State: storage.ReceiptOpen,
			}))
			return refusal(provider.NotSent, fault.Retry, "no connection")
		}
		r.work()
		r.enqueue(another)
		rec := r.awaitState("order-17", export.Failed)
		if rec.Problem.Reason != export.ReasonJobIDTaken || rec.Problem.Detail != "task-9" {
			t.Errorf("failed by %+v", rec.Problem)
		}
		if got := r.receipt("order-17"); got.ExportTaskID != "task-9" || got.State != storage.ReceiptOpen {
			t.Errorf("the receipt says %s of %s", got.State, got.ExportTaskID)
		}
	})
}

// What a receipt says of its export is kept when it comes back by it.
func TestAnExportThatComesBackByItsReceiptKeepsItsPast(t *testing.T) {
	r := newRig(t)
	r.provider.readsFor = 1000
	submitted := time.Now().Add(-30 * time.Hour).UTC().Truncate(time.Second)
	e := tasks.Export{JobID: "a", ProjectID: "proj"}
	must(t, r.archive.SyncReceipt(t.Context(), storage.Receipt{
		State: storage.ReceiptOpen,
		ID:    "a", ExportTaskID: "task-3", ProjectID: "proj", Request: e.Body(), Submitted: submitted,
		Earlier: []string{"task-1"}, Duplicates: []string{"task-2"},
	}))
	r.work()
	r.enqueue(e)
	rec := r.await("a", "taken up", func(rec *export.Record) bool { return rec.ExportTaskID == "task-3" })
	if !rec.SubmittedAt.Equal(submitted) || strings.Join(rec.Previous, " ") != "task-1" || strings.Join(rec.Duplicates, " ") != "task-2" {
		t.Errorf("submitted at %s, before it %v, besides it %v", rec.SubmittedAt, rec.Previous, rec.Duplicates)
	}
	if r.provider.submits() != 0 {
		t.Errorf("paid %d times", r.provider.submits())
	}
}

// One object that somebody broke must not stop all exports of an account.
func TestABrokenReceiptBlocksNobodyElse(t *testing.T) {
	r := newRig(t)
	broken := []string{"broken-1", "broken-2"} // as many as submits wait in a worker
	for _, id := range broken {
		r.putReceipt(id, "{")
		r.enqueue(tasks.Export{JobID: id, ProjectID: "proj"})
	}
	r.work()
	r.patience = 20 * time.Second
	r.awaitState(r.enqueue(tasks.Export{JobID: "good", ProjectID: "proj"}), export.Archived)
	for _, id := range broken {
		rec := r.awaitState(id, export.Failed)
		if !strings.Contains(view.Sentence(rec, view.CLI), "clipferry retry -- "+id) || !strings.Contains(view.Sentence(rec, view.CLI), id+".json") {
			t.Errorf("error: %s", view.Sentence(rec, view.CLI))
		}
	}
	must(t, os.Remove(filepath.Join(r.s3.Dir, s3test.Bucket, "exports", "_receipts", "broken-1.json")))
	_, err := r.admin.Retry(t.Context(), "broken-1", export.RetryOptions{})
	must(t, err)
	r.awaitState("broken-1", export.Archived)
	if r.provider.submits() != 2 {
		t.Errorf("paid %d times", r.provider.submits())
	}
}

// A store that takes two ids for one, as file systems may, gives one export the
// other's receipt.
func TestAReceiptOfAnotherIDIsNobodysOwn(t *testing.T) {
	r := newRig(t)
	request := tasks.Export{ProjectID: "proj"}
	text, err := json.Marshal(storage.Receipt{
		ID: "Order-1", ExportTaskID: "task-9", ProjectID: "proj", Request: request.Body(), State: storage.ReceiptOpen, Submitted: time.Now(),
	})
	must(t, err)
	r.putReceipt("order-1", string(text))
	r.work()
	request.JobID = "order-1"
	rec := r.awaitState(r.enqueue(request), export.Failed)
	if !strings.Contains(view.Sentence(rec, view.CLI), "Order-1") || r.provider.submits() != 0 {
		t.Errorf("paid %d times, error: %s", r.provider.submits(), view.Sentence(rec, view.CLI))
	}
	got, err := os.ReadFile(filepath.Join(r.s3.Dir, s3test.Bucket, "exports", "_receipts", "order-1.json"))
	must(t, err)
	if string(got) != string(text) {
		t.Errorf("the other's receipt was changed: %s", got)
	}
}
