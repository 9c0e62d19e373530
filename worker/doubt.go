package worker

import (
	"context"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// A paid request whose answer is lost may have been taken. The ledger records
// the intent ahead of it; but Redis may be lost as well, and where no doubt may
// ever be paid for twice (the policy hold), the intent is written to S3, too.

// doubtTimeout bounds the write ahead of a paid request, which a lease and a turn
// wait for.
const doubtTimeout = 15 * time.Second

// settleDoubt ends a paid request whose answer was lost, by policy.
func (w *Worker) settleDoubt(ctx context.Context, r *export.Record, why export.Problem) error {
	return w.settleDoubtBy(ctx, r, w.o.InDoubt, why)
}

func (w *Worker) settleDoubtBy(ctx context.Context, r *export.Record, policy export.Policy, why export.Problem) error {
	ctx, cancel := w.toTheEnd(ctx)
	defer cancel()
	w.log.Error("a paid request is in doubt", logkey.Export, r.ID, logkey.ProjectID, r.ProjectID,
		logkey.Policy, policy, logkey.SentAt, r.IntentAt, logkey.Why, why.Detail)
	if policy == export.Hold {
		if err := w.putDoubt(ctx, r); err != nil {
			w.log.Error("a paid request in doubt is not in S3; the ledger alone knows of it", logkey.Export, r.ID, logkey.Error, err)
		}
	}
	by, sent := r.IntentBy, r.IntentAt
	lose := func(r *export.Record) error {
		if r.State == export.Queued { // Redis has gone back to before the intent
			return r.Recall(w.now(), by, sent, policy, why)
		}
		return r.Lose(w.now(), by, policy, why)
	}
	id := r.ID
	lost, err := w.untilTaken(ctx, id, func() (*export.Record, error) {
		anew := *r
		return w.acceptOrRebear(ctx, &anew, lose)
	})
	if err != nil {
		return ignoreSettled(err)
	}
	return w.ensure(ctx, lost)
}

// putDoubt writes to S3 that the export's paid request may have been taken.
func (w *Worker) putDoubt(ctx context.Context, r *export.Record) error {
	ctx, cancel := context.WithTimeout(ctx, doubtTimeout)
	defer cancel()
	doubt := w.receiptOf(r)
	doubt.Intent, doubt.Submitted = r.IntentBy, r.IntentAt
	err := w.o.Archive.PutDoubt(ctx, doubt, r.Settled)
	w.bucketSaid(ctx, err)
	return err
}

// announce writes the intent to S3 as well, where the policy asks for that. It is
// an error if the lease, which was last renewed then, might end before the answer
// to the paid request: another run would take that for lost.
func (w *Worker) announce(ctx context.Context, r *export.Record, lease *ledger.Lease, renewed time.Time) error {
	if w.o.InDoubt == export.Hold {
		if err := w.putDoubt(ctx, r); err != nil {
			return err
		}
		renewed = w.now()
		if err := lease.Renew(ctx); err != nil {
			return err
		}
	}
	if w.now().Sub(renewed) >= leaseTime-postTimeout {
		return fault.New(fault.Retry, "Redis answered so slowly that the lease might end before the paid request", nil)
	}
	return nil
}

// clearDoubt notes in S3 that the paid request of the intent was not taken. A
// failure costs a person's look, should Redis be lost before the next request.
func (w *Worker) clearDoubt(ctx context.Context, id, by string) {
	if w.o.InDoubt != export.Hold {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, doubtTimeout)
	defer cancel()
	if err := w.o.Archive.ClearDoubt(ctx, id, by); err != nil {
		w.log.Warn("S3 still says that a paid request may have been taken, which was not", logkey.Export, id, logkey.Error, fault.SentenceOf(err))
	}
}
