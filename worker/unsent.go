package worker

import (
	"context"
	"errors"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/storage"
)

// putBack returns the export to the queue, due after the wait, without anything
// having been taken of this attempt.
func (w *Worker) putBack(ctx context.Context, r *export.Record, a *attempt, wait time.Duration, why export.Problem) error {
	ctx, cancel := w.detached(ctx)
	defer cancel()
	unserved, err := w.unserved(ctx, r)
	if err != nil {
		unserved = r.Unserved
	}
	round := r.Round
	return w.concludeAttempt(ctx, r, a, storage.ReceiptUnsent, func(r *export.Record) error {
		if a.tried {
			r.Unsent(a.token, a.wrote)
		}
		if r.Round != round && r.IntentBy != a.token { // another task's turn: canceled and taken up again, or taken over
			return nil
		}
		if !a.refusedAt.IsZero() {
			r.RefusedAt = a.refusedAt
		}
		r.Unserved = unserved
		now := w.now()
		return r.PutBack(now, a.token, now.Add(wait), why)
	})
}

// concludeAttempt ends an attempt whose request was not sent, or not taken: in the
// ledger, then for the account, whose turn waits for no S3, and in the receipt, which
// would be taken for a doubt after a loss of Redis. The next attempt is scheduled last:
// a PUT that comes late must not meet its intent.
func (w *Worker) concludeAttempt(ctx context.Context, r *export.Record, a *attempt, says storage.ReceiptState, change func(*export.Record) error) error {
	settle := func(written bool) {
		if a.endTurn != nil {
			a.endTurn()
		}
		if written {
			w.settleReceipt(ctx, r, a, says)
		}
	}
	return w.concludeBy(ctx, r.ID, func() (*export.Record, error) {
		changed, err := w.update(ctx, r.ID, change)
		if errors.Is(err, ledger.ErrUnknown) {
			settle(a.tried)
		}
		return changed, err
	}, func(*export.Record) { settle(a.wrote) })
}

// settleTimeout is how long an attempt's end waits for S3 at most.
const settleTimeout = 10 * time.Second

// settleReceipt notes in the receipt that the attempt's intent came to nothing.
func (w *Worker) settleReceipt(ctx context.Context, r *export.Record, a *attempt, says storage.ReceiptState) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	settled := w.receiptOf(r)
	settled.State, settled.Settled = says, []string{a.token}
	if err := w.o.Archive.SyncReceipt(ctx, settled); err != nil {
		w.log.Error("a receipt still says that a request may have been sent, which was not, or not taken", logkey.Export, r.ID, logkey.Error, fault.SentenceOf(err))
	}
}
