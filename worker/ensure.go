package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/storage"
)

// ensure makes sure that whatever is due for the record gets done: its tasks
// exist, its receipt says what it must, who wants to know of its end is told.
// It is called after each change and by every step that comes late.
func (w *Worker) ensure(ctx context.Context, r *export.Record) error {
	if _, due := r.ReceiptDue(); due && r.State == export.Expired { // by a transfer, which did not ask S3 first
		if over, err := w.restored(ctx, r); over {
			return err
		}
	}
	if err := w.queue.Schedule(ctx, r); err != nil {
		return err
	}
	w.keepReceipt(ctx, r)
	return w.tell(ctx, r)
}

// tell has whoever wants to know told of the export's end, if it has ended and
// they were not told yet.
func (w *Worker) tell(ctx context.Context, r *export.Record) error {
	if w.o.Notifier == nil || !r.State.Final() {
		return nil
	}
	if err := w.o.Notifier.Ended(ctx, r); err != nil {
		return fmt.Errorf("tell of the end of export %s: %w", r.ID, err)
	}
	return nil
}

// ensureAll loads the whole record first: for steps that came late and so know
// nothing but the export's id.
func (w *Worker) ensureAll(ctx context.Context, id string) error {
	r, err := w.o.Ledger.Load(ctx, id)
	if err != nil {
		return w.notLoaded(id, err)
	}
	return w.ensure(ctx, r)
}

// notLoaded ends a step that could not load its record. Where there is none,
// nothing is left to do. After any other failure the step may be the current one,
// which nobody adds again while its task exists: asynq has to run it once more.
func (w *Worker) notLoaded(id string, err error) error {
	if errors.Is(err, ledger.ErrUnknown) {
		w.log.Warn("a step of an export without a record; `clipferry recover` rebuilds what was paid for", logkey.Export, id)
		return nil
	}
	return err
}

// keepReceipt writes the export's receipt if what it must say has changed. A
// failure is logged and left to the next step or the sweeper: the export goes
// on without, and is open in the ledger until the receipt stands.
func (w *Worker) keepReceipt(ctx context.Context, r *export.Record) {
	says, due := r.ReceiptDue()
	if !due || w.bucketDown(ctx) {
		return
	}
	err := w.writeReceipt(ctx, r, says)
	w.bucketSaid(ctx, err)
	if err == nil {
		_, err = w.o.Ledger.UpdateClip(ctx, r.ID, noClip, func(now *export.Record) error {
			now.ReceiptPut(r.ExportTaskID, r.Receipts, says)
			return nil
		})
	}
	if err != nil {
		w.log.Error("the receipt could not be written; trying again within a minute",
			logkey.Export, r.ID, logkey.ExportTaskID, r.ExportTaskID, logkey.Error, fault.SentenceOf(err))
	}
}

// noClip is the index of no clip: UpdateClip with it changes the record alone.
const noClip = -1

// writeReceipt makes the receipt of the export's task say what it must. Where
// the record does not know what it says it may be missing, or closed by somebody
// who came late.
func (w *Worker) writeReceipt(ctx context.Context, r *export.Record, says string) error {
	if r.Receipt == "" {
		if err := w.o.Archive.PutReceipt(ctx, w.receiptOf(r)); err != nil {
			return err
		}
	}
	if says == export.ReceiptOpen {
		return w.o.Archive.ReopenReceipt(ctx, r.ID, r.ExportTaskID)
	}
	return w.o.Archive.CloseReceipt(ctx, r.ID, r.ExportTaskID, storage.ReceiptState(says), r.Manifest)
}

// receiptOf returns the open receipt of an export that was accepted.
func (w *Worker) receiptOf(r *export.Record) storage.Receipt {
	receipt := storage.Receipt{
		ID: r.ID, ExportTaskID: r.ExportTaskID, ProjectID: r.ProjectID, Account: r.Account,
		Request: r.Request, Created: r.CreatedAt, Submitted: r.SubmittedAt, State: storage.ReceiptOpen,
		Priority: r.Priority, Trace: r.Trace, Earlier: r.Previous, Duplicates: r.Duplicates,
	}
	if w.o.Notifier != nil {
		receipt.Notify = w.o.Notifier.ForReceipt(r.ID, r.Notify)
	}
	return receipt
}

// inherit takes over what the receipt of an earlier life of the export says:
// the account, since only the key that paid can read it, and whom to tell.
func (w *Worker) inherit(r *export.Record, receipt storage.Receipt) {
	r.Account = receipt.Account
	if w.o.Notifier == nil || receipt.Notify == nil {
		return
	}
	notify, err := w.o.Notifier.FromReceipt(r.ID, receipt.Notify)
	if err != nil { // then its new order counts
		w.log.Error("whom to tell of an export's end is lost", logkey.Export, r.ID, logkey.Error, err)
		return
	}
	r.Notify = notify
}

// persist carries out a change that must not be lost, such as the provider's
// answer to a paid request, until Redis has taken it or the process ends.
func (w *Worker) persist(ctx context.Context, id string, change func(*export.Record) error) (*export.Record, error) {
	return w.untilTaken(ctx, id, func() (*export.Record, error) { return w.update(ctx, id, change) })
}

// untilTaken tries an update until the ledger has taken it or refused it for
// good, or ctx ends.
func (w *Worker) untilTaken(ctx context.Context, id string, update func() (*export.Record, error)) (*export.Record, error) {
	for n := 0; ; n++ {
		r, err := update()
		if err == nil || settled(err) || ctx.Err() != nil {
			return r, err
		}
		w.log.Error("the ledger does not take a change that must not be lost; trying on", logkey.Export, id, logkey.Try, n+1, logkey.Error, err)
		_ = retry.Wait(ctx, retry.Backoff(n, 200*time.Millisecond, 5*time.Second))
	}
}

// settled reports whether an update failed for good: the record says no.
func settled(err error) bool {
	return errors.Is(err, export.ErrNotNow) || errors.Is(err, export.ErrStale) || errors.Is(err, ledger.ErrUnknown)
}
