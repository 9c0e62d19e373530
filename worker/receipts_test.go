package worker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// slowClose holds the first closing of a receipt back until it is told to go on, as a
// worker does that stands still.
type slowClose struct {
	worker.Archive
	calls               atomic.Int64
	reached, goOn, done chan struct{}
}

func newSlowClose(a worker.Archive) *slowClose {
	return &slowClose{Archive: a, reached: make(chan struct{}), goOn: make(chan struct{}), done: make(chan struct{})}
}

func (a *slowClose) SyncReceipt(ctx context.Context, r storage.Receipt) error {
	if !r.Ended() || a.calls.Add(1) > 1 {
		return a.Archive.SyncReceipt(ctx, r)
	}
	close(a.reached)
	<-a.goOn
	defer close(a.done)
	return a.Archive.SyncReceipt(context.WithoutCancel(ctx), r)
}

// A canceled export that is taken up again while a step still closes its receipt
// must not run on with a closed one that the ledger believes to be open.
func TestALateCloseOfAReceiptIsRepaired(t *testing.T) {
	r := newRig(t)
	r.provider.readsFor = 1000
	slow := newSlowClose(r.archive)
	r.options.Archive = slow
	stop := r.work()
	id := r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj"})
	r.await(id, "accepted", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptOpen })
	_, err := r.admin.Cancel(t.Context(), id)
	must(t, err)
	<-slow.reached
	r.await(id, "closed by a later step", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptCanceled })
	_, err = r.admin.Retry(t.Context(), id, export.RetryOptions{})
	must(t, err)
	r.await(id, "opened again", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptOpen })
	if s := r.receipt(id).State; s != storage.ReceiptOpen {
		t.Fatalf("receipt %s", s)
	}
	close(slow.goOn)
	<-slow.done
	r.await(id, "repaired", func(rec *export.Record) bool {
		return rec.Receipts >= 4 && rec.Receipt == export.ReceiptOpen && r.receipt(id).State == storage.ReceiptOpen
	})
	stop()
	r.recoversOpen(id)
}

// An export that failed and was paid for again while a step still closes the
// receipt of its first task must not have that of its second closed.
func TestALateCloseIsOfItsOwnTaskAlone(t *testing.T) {
	r := newRig(t)
	r.provider.readsFor = 1000
	r.provider.read = func(_ int, task *provider.Task) error {
		if task.ExportTaskID == "task-1" {
			task.Status = provider.StatusFailed
		}
		return nil
	}
	slow := newSlowClose(r.archive)
	r.options.Archive = slow
	stop := r.work()
	id := r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj"})
	r.awaitState(id, export.Failed)
	<-slow.reached
	_, err := r.admin.Retry(t.Context(), id, export.RetryOptions{PayAgain: true})
	must(t, err)
	r.await(id, "paid again", func(rec *export.Record) bool {
		return rec.ExportTaskID == "task-2" && rec.Receipt == export.ReceiptOpen
	})
	close(slow.goOn)
	<-slow.done
	time.Sleep(100 * time.Millisecond)
	r.await(id, "settled", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptOpen })
	stop()
	if got := r.receipt(id).ExportTaskID; got != "task-2" {
		t.Errorf("the receipt is of %s", got)
	}
	r.recoversOpen(id)
}

// recoversOpen asserts that the receipt of an export that runs is open, so that
// it comes back after a loss of Redis.
func (r *rig) recoversOpen(id string) {
	r.t.Helper()
	if s := r.receipt(id).State; s != storage.ReceiptOpen {
		r.t.Errorf("the receipt of a running, paid export is %s", s)
	}
	must(r.t, r.rdb.FlushAll(context.Background()).Err())
	done, err := r.recovery.Recover(r.t.Context(), r.archive, nil)
	must(r.t, err)
	if done.Rebuilt != 1 {
		r.t.Errorf("after a loss of Redis the paid export is lost: recover says %+v", done)
	}
}
