package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/breaker"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/recovery"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/storage"
)

// life is what S3 knows of an export that the ledger may have forgotten.
type life struct {
	receipt  storage.Receipt
	digest   string // of its request; empty where an old version kept none
	manifest storage.Manifest
	key      string // the manifest's
	archived bool   // it stands
}

// adopt looks for a receipt of the export: a request that was paid for, whose
// record was lost with Redis or never made it there. It runs before every paid
// request, and reports whether that is not to be sent now.
func (w *Worker) adopt(ctx context.Context, r *export.Record) (bool, error) {
	was, found, err := w.findLife(ctx, r)
	switch {
	case fault.ClassOf(err) == fault.Terminal:
		return true, w.unreadable(ctx, r, err)
	case errors.Is(err, breaker.ErrHere) && r.State == export.Submitting:
		return true, errElsewhere
	case errors.Is(err, breaker.ErrHere):
		return true, w.putBack(ctx, r.ID, "", elsewhere,
			export.Problem{Reason: export.ReasonStorageUnavailable, Detail: fault.SentenceOf(err)})
	case err != nil && r.State == export.Submitting:
		return true, errStopping // a doubt can't be put back, another worker settles it
	case err != nil:
		return true, w.putBack(ctx, r.ID, "", 0, export.Problem{})
	case !found, was.receipt.ID == r.ID && w.nothingNew(r, was.receipt),
		was.receipt.ID != r.ID && r.State == export.Submitting: // its own request is in doubt
		return false, nil
	case was.receipt.ID != r.ID:
		return true, w.refuse(ctx, r, export.Problem{Reason: export.ReasonJobIDAlike, Detail: was.receipt.ID})
	case was.digest != "" && was.digest != r.Digest:
		return w.meetAnother(ctx, r, was)
	case was.receipt.State == storage.ReceiptDoubt:
		return true, w.recall(ctx, r, was.receipt)
	}
	w.log.Warn("found the receipt of an export that the ledger did not know as paid for",
		logkey.Export, r.ID, logkey.ExportTaskID, was.receipt.ExportTaskID)
	r, err = w.persist(ctx, r.ID, func(r *export.Record) error {
		w.inherit(r, was.receipt)
		return recovery.Adopt(r, w.now(), was.receipt, was.key, was.manifest, was.archived)
	})
	if err != nil {
		return true, ignoreSettled(err)
	}
	return true, w.ensure(ctx, r)
}

// nothingNew reports whether a receipt keeps nobody from sending the export.
func (w *Worker) nothingNew(r *export.Record, receipt storage.Receipt) bool {
	switch receipt.State {
	case storage.ReceiptVoid:
		return true
	case storage.ReceiptDoubt:
		// A request of its own that is not settled is about to be, and one that is
		// has been left to a person, or to the policy.
		return r.State == export.Submitting || receipt.Intent == r.Settled
	default:
		return slices.Contains(r.Previous, receipt.ExportTaskID)
	}
}

// recall settles a paid request in doubt of which S3 alone knows, by policy.
func (w *Worker) recall(ctx context.Context, r *export.Record, receipt storage.Receipt) error {
	w.log.Error("found a paid request in doubt that the ledger did not know of", logkey.Export, r.ID, logkey.ProjectID, r.ProjectID,
		logkey.Policy, w.o.InDoubt, logkey.SentAt, receipt.Submitted)
	r, err := w.persist(ctx, r.ID, func(r *export.Record) error {
		w.inherit(r, receipt)
		return recovery.Recall(r, w.now(), receipt, w.o.InDoubt)
	})
	if err != nil {
		return ignoreSettled(err)
	}
	if w.o.InDoubt == export.Resubmit { // it is counted, and what follows is not written there
		if err := w.o.Archive.ClearDoubt(ctx, r.ID, receipt.Intent); err != nil {
			w.log.Warn("a doubt that is settled stays in S3", logkey.Export, r.ID, logkey.Error, fault.SentenceOf(err))
		}
	}
	return w.ensure(ctx, r)
}

// findLife asks S3 until it answers or the worker stops: without S3 nobody
// knows whether the export was paid for already, and it could not be archived.
// What S3 has and nobody can read is a terminal fault.
func (w *Worker) findLife(ctx context.Context, r *export.Record) (life, bool, error) {
	ctx, cancel := w.untilStop(ctx)
	defer cancel()
	for n := 0; ; n++ {
		if _, err := w.waitForBucket(ctx); errors.Is(err, breaker.ErrHere) {
			return life{}, false, fault.New(fault.Retry, "S3 does not answer the worker that took it up", err)
		}
		was, found, err := w.lookUp(ctx, r)
		w.bucketSaid(ctx, err)
		if err == nil || ctx.Err() != nil || fault.ClassOf(err) == fault.Terminal {
			return was, found, err
		}
		w.log.Error("S3 does not say whether an export was paid for already; no paid request goes out until it does",
			logkey.Export, r.ID, logkey.Error, fault.SentenceOf(err))
		_ = retry.Wait(ctx, retry.Backoff(n, time.Second, 30*time.Second))
	}
}

func (w *Worker) lookUp(ctx context.Context, r *export.Record) (life, bool, error) {
	receipt, found, err := w.o.Archive.Receipt(ctx, r.ID)
	was := life{receipt: receipt}
	if err != nil || !found || receipt.ID != r.ID || w.nothingNew(r, receipt) {
		return was, found, err
	}
	if len(receipt.Request) > 0 {
		e, err := recovery.RequestIn(receipt)
		if err != nil {
			return was, true, err
		}
		was.digest = e.Digest()
	}
	if receipt.State == storage.ReceiptDoubt {
		return was, true, nil
	}
	was.manifest, was.key, was.archived, err = recovery.ManifestOf(ctx, w.o.Archive, receipt)
	return was, true, err
}

// unreadable ends an export of which S3 holds something that nobody can read: it
// may have been paid for, so it is not sent, and others go on.
func (w *Worker) unreadable(ctx context.Context, r *export.Record, cause error) error {
	why := export.Problem{Reason: export.ReasonReceiptUnreadable, Detail: fault.SentenceOf(cause)}
	if r.State == export.Submitting {
		return w.settleDoubtBy(ctx, r, export.Hold, why)
	}
	return w.refuse(ctx, r, why)
}

// refuse ends an export that can't be sent under its id.
func (w *Worker) refuse(ctx context.Context, r *export.Record, why export.Problem) error {
	w.log.Error("an export can't be sent under its id", logkey.Export, r.ID, logkey.ProjectID, r.ProjectID,
		logkey.Reason, why.Reason, logkey.Why, why.Detail)
	r, err := w.persist(ctx, r.ID, func(r *export.Record) error { return r.Refuse(w.now(), why) })
	if err != nil {
		return ignoreSettled(err)
	}
	return w.ensure(ctx, r)
}

// meetAnother settles that the id stands for another request, which was paid for
// in a life that the ledger has forgotten. The newcomer must not get its clips,
// nor its webhook. If the other one is over, the newcomer fails; if not, the
// other one comes back in its place, and the newcomer's task ends as a dead
// letter, as it does where the ledger knows the id.
func (w *Worker) meetAnother(ctx context.Context, r *export.Record, was life) (bool, error) {
	if r.State == export.Submitting {
		return false, nil // the newcomer's own request is in doubt
	}
	task := was.receipt.ExportTaskID
	switch was.receipt.State {
	case storage.ReceiptDoubt:
		if w.o.InDoubt == export.Resubmit {
			return false, nil // nobody waits for the other one
		}
	case storage.ReceiptOpen:
	default:
		return true, w.refuse(ctx, r, export.Problem{Reason: export.ReasonJobIDTaken, Detail: task})
	}
	w.log.Error("an export was enqueued under the id of another one, which was paid for and which the ledger had forgotten; "+
		"that one comes back, and the new one is refused: it needs another job_id",
		logkey.Export, r.ID, logkey.ExportTaskID, task, logkey.ProjectID, r.ProjectID)
	newcomer := r.Digest
	r, err := w.persist(ctx, r.ID, func(r *export.Record) error {
		if r.Digest != newcomer {
			return fmt.Errorf("the other one is back: %w", export.ErrStale)
		}
		to, err := recovery.Rebuilt(ctx, w.o.Archive, was.receipt, w.now())
		if err != nil {
			return err
		}
		w.inherit(to, was.receipt)
		return r.Yield(w.now(), to)
	})
	if err != nil {
		return true, ignoreSettled(err)
	}
	if err := w.ensure(ctx, r); err != nil {
		return true, err
	}
	return true, fmt.Errorf("job id %s stands for a different request already: %w", r.ID, asynq.SkipRetry)
}
