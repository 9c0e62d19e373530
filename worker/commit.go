package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/recovery"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/storage"
)

// conclude ends a step: it commits the change, runs what is to come right after it,
// and follows up. If the record refuses the change, it has moved on without the
// step, whose place the current one takes.
func (w *Worker) conclude(ctx context.Context, id string, change func(*export.Record) error, then ...func(*export.Record)) error {
	return w.concludeBy(ctx, id, func() (*export.Record, error) { return w.update(ctx, id, change) }, then...)
}

// concludeClip is conclude for a change that needs of all clips only the one.
func (w *Worker) concludeClip(ctx context.Context, id string, idx int, change func(*export.Record) error, then ...func(*export.Record)) error {
	return w.concludeBy(ctx, id, func() (*export.Record, error) { return w.updateClip(ctx, id, idx, change) }, then...)
}

func (w *Worker) concludeBy(ctx context.Context, id string, update func() (*export.Record, error), then ...func(*export.Record)) error {
	r, err := w.retryUntilCommitted(ctx, id, update)
	switch {
	case errors.Is(err, ledger.ErrUnknown):
		return nil
	case refused(err):
		return w.leaveStale(ctx, id)
	case err != nil:
		return err
	}
	for _, f := range then {
		f(r)
	}
	return w.followUp(ctx, r)
}

// retryUntilCommitted tries an update that must not be lost, such as the provider's
// answer to a paid request, until the ledger has taken it or refused it for good, or
// ctx ends.
func (w *Worker) retryUntilCommitted(ctx context.Context, id string, update func() (*export.Record, error)) (*export.Record, error) {
	for n := 0; ; n++ {
		r, err := update()
		if err == nil || refused(err) || ctx.Err() != nil {
			return r, err
		}
		w.log.Error("the ledger does not take a change that must not be lost; trying on", logkey.Export, id, logkey.Try, n+1, logkey.Error, err)
		_ = retry.Wait(ctx, retry.Backoff(n, 200*time.Millisecond, 5*time.Second))
	}
}

// refused reports whether an update failed for good: the record says no.
func refused(err error) bool {
	return errors.Is(err, export.ErrNotNow) || errors.Is(err, export.ErrStale) || errors.Is(err, ledger.ErrUnknown)
}

// acceptOrRecreate updates a record with what must not be lost. One that Redis has
// lost meanwhile is stored anew from r. One that another request has got since is
// none of r's.
func (w *Worker) acceptOrRecreate(ctx context.Context, r *export.Record, change func(*export.Record) error) (*export.Record, error) {
	changed, err := w.update(ctx, r.ID, func(now *export.Record) error {
		if now.Digest != r.Digest {
			return fmt.Errorf("%s is another request's by now: %w", r.ID, export.ErrStale)
		}
		return change(now)
	})
	if !errors.Is(err, ledger.ErrUnknown) {
		return changed, err
	}
	anew := *r
	if err := change(&anew); err != nil {
		return nil, err
	}
	created, err := w.o.Ledger.Create(ctx, &anew)
	if err == nil && !created { // somebody else's, to be tried again
		err = errors.New("the record was lost and has come back")
	}
	return &anew, err
}

// ofTask limits a change to the task that its step was for. Steps are numbered
// anew in a record that was rebuilt after a loss of Redis, and its number alone
// may let a late one pass for another task's.
func ofTask(task string, change func(*export.Record) error) func(*export.Record) error {
	return func(r *export.Record) error {
		if r.ExportTaskID != task {
			return fmt.Errorf("a step of task %s, current is %q: %w", task, r.ExportTaskID, export.ErrStale)
		}
		return change(r)
	}
}

// followUp makes sure that whatever is due for the record gets done: its tasks
// exist, its receipt says what it must, who wants to know of its end is notified.
// It comes after each change and after every step that came late.
func (w *Worker) followUp(ctx context.Context, r *export.Record) error {
	if _, due := r.ReceiptDue(); due && r.State == export.Expired { // by a transfer, which did not ask S3 first
		if done, err := w.alreadyArchived(ctx, r); done {
			return err
		}
	}
	if err := w.queue.Schedule(ctx, r); err != nil {
		return err
	}
	err := w.notify(ctx, r)
	w.syncReceipt(ctx, r)
	return err
}

// leaveStale ends a step that came late, and so knows nothing but the export's id.
func (w *Worker) leaveStale(ctx context.Context, id string) error {
	r, err := w.o.Ledger.Load(ctx, id)
	if err != nil {
		return w.notLoaded(id, err)
	}
	return w.followUp(ctx, r)
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

// notify notifies whoever wants to know of the export's end, if it has ended and
// they were not notified yet.
func (w *Worker) notify(ctx context.Context, r *export.Record) error {
	if w.o.Notifier == nil || !r.State.Final() {
		return nil
	}
	if err := w.o.Notifier.Ended(ctx, r); err != nil {
		return fmt.Errorf("notify of the end of export %s: %w", r.ID, err)
	}
	return nil
}

// syncReceipt writes the export's receipt if what it must say has changed. A
// failure is logged and left to the next step or the sweeper: the export goes
// on without, and is open in the ledger until the receipt stands. A receipt says
// that an export is done only when the catalog has its clips: no crash and no loss
// of Redis leaves them out.
func (w *Worker) syncReceipt(ctx context.Context, r *export.Record) {
	says, due := r.ReceiptDue()
	if !due || w.o.Archive.Health().Open || says == export.ReceiptDone && w.catalogRests() {
		return
	}
	receipt := w.receiptOf(r)
	receipt.State, receipt.Manifest = storage.ReceiptState(says), r.Manifest
	var err error
	if says == export.ReceiptDone && w.o.Catalog != nil {
		err = w.o.Catalog.Add(ctx, r.Manifest)
	}
	if err == nil {
		err = w.o.Archive.SyncReceipt(ctx, receipt)
	}
	if err == nil {
		// With all its clips, so that the ledger can keep an archived one short.
		_, err = w.o.Ledger.Update(ctx, r.ID, func(now *export.Record) error {
			now.ReceiptPut(r.ExportTaskID, r.Receipts, says)
			return nil
		})
	}
	if err != nil {
		w.log.Error("the receipt or the catalog could not be written; trying again within a minute",
			logkey.Export, r.ID, logkey.ExportTaskID, r.ExportTaskID, logkey.Error, fault.SentenceOf(err))
	}
}

// catalogRests reports whether S3 has just failed a write of the catalog: it is asked
// again once a minute, and nothing but the receipts of archived exports waits for it.
func (w *Worker) catalogRests() bool {
	return w.o.Catalog != nil && time.Until(w.o.Catalog.Health().Next) > 0
}

// noClip is the index of no clip: UpdateClip with it changes the record alone.
const noClip = -1

// receiptOf returns the open receipt of an export; one that was not accepted yet
// has an intent in place of a task.
func (w *Worker) receiptOf(r *export.Record) storage.Receipt {
	receipt := storage.Receipt{
		ID: r.ID, ExportTaskID: r.ExportTaskID, ProjectID: r.ProjectID, Account: r.Account, Tenant: r.Tenant,
		Kind: r.Kind, ReadAs: r.ReadAs, Skip: r.Skip, Request: r.Request, Created: r.CreatedAt, Submitted: r.SubmittedAt, State: storage.ReceiptOpen,
		Priority: r.Priority, Labels: r.Labels, Batch: r.Batch, Trace: r.Trace, Earlier: r.Previous, Duplicates: r.Duplicates,
	}
	if r.ExportTaskID == "" {
		receipt.Settled = r.Settled
	}
	if w.o.Notifier != nil {
		receipt.Notify = w.o.Notifier.ForReceipt(r.ID, r.Notify)
	}
	return receipt
}

// alreadyArchived looks, before an export ends without an archive, whether it has
// one that Redis has forgotten, and reports whether it does not end now: it is
// archived, or S3 does not say whether it is.
func (w *Worker) alreadyArchived(ctx context.Context, r *export.Record) (bool, error) {
	restore, err := recovery.Archived(ctx, w.o.Archive, r, w.now())
	switch {
	case err != nil:
		w.log.Error("S3 does not say whether an export is archived; it is not given up before that",
			logkey.Export, r.ID, logkey.Error, fault.SentenceOf(err))
		return true, w.readLater(ctx, r, export.Problem{Reason: export.ReasonReceiptUnreadable, Detail: fault.SentenceOf(err)})
	case restore == nil:
		return false, nil
	}
	return true, w.conclude(ctx, r.ID, restore, func(r *export.Record) {
		w.log.Warn("found the manifest of an export that the ledger did not know as archived",
			logkey.Export, r.ID, logkey.ExportTaskID, r.ExportTaskID, logkey.Manifest, r.Manifest)
		w.releaseSlot(ctx, r)
	})
}
