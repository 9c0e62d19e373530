package worker

import (
	"context"
	"errors"
	"time"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

// recordSubmit records what came of a paid request: in the ledger first, then
// in the budget.
func (w *Worker) recordSubmit(ctx context.Context, r *export.Record, turn *budget.Turn, task provider.Task, err error) error {
	if err == nil {
		return w.accepted(ctx, r, turn, task)
	}
	w.watch.Faulted(ctx, export.StepSubmit, err)
	kind, by := kindOf(err), r.IntentBy
	why := providerProblem(err)
	outcome := outcomeOf(err)
	switch kind {
	case provider.InDoubt:
		w.endTurn(ctx, turn, outcome)
		return w.settleDoubt(ctx, r, why)
	case provider.AcceptedUnknown: // paid for: whatever the policy, it is not sent again
		w.endTurn(ctx, turn, outcome)
		return w.settleDoubtBy(ctx, r, export.Hold, why)
	case provider.Rejected:
		w.log.Error("the provider rejects an export", logkey.Export, r.ID, logkey.ProjectID, r.ProjectID, logkey.Why, why.Detail)
		r, err = w.persist(ctx, r.ID, func(r *export.Record) error { return r.Reject(w.now(), by, why) })
		w.endTurn(ctx, turn, outcome)
		if err != nil {
			return ignoreSettled(err)
		}
		return w.ensure(ctx, r)
	default:
		// A refusal or a stop of the whole account is waited out in the gate;
		// a failure of this one request by the export itself.
		var wait time.Duration
		if outcome.Result != budget.Refused && outcome.Result != budget.Forbidden {
			wait = retry.Backoff(r.Round, time.Second, time.Minute)
		}
		err := w.putBack(ctx, r.ID, by, wait, why)
		w.endTurn(ctx, turn, outcome)
		return err
	}
}

// accepted records a paid export twice, in Redis and in S3, each without
// waiting for the other: whichever survives tells the tale.
func (w *Worker) accepted(ctx context.Context, r *export.Record, turn *budget.Turn, task provider.Task) error {
	w.log.Info("export accepted", logkey.Export, r.ID, logkey.ProjectID, r.ProjectID, logkey.ExportTaskID, task.ExportTaskID)
	now, seen := w.now(), r.Receipts
	paid := w.receiptOf(r)
	paid.ExportTaskID, paid.Submitted = task.ExportTaskID, now

	inLedger := make(chan struct{})
	receipt := make(chan error, 1)
	go func() { receipt <- w.persistReceipt(ctx, paid, inLedger) }()
	accept := func(r *export.Record) error {
		return r.Accept(now, task.ExportTaskID, task.Name, string(task.Status))
	}
	accepted, err := w.untilTaken(ctx, r.ID, func() (*export.Record, error) { return w.acceptOrRebear(ctx, r, accept) })
	if err == nil {
		close(inLedger) // else the receipt is all there will be
	}
	w.endTurn(ctx, turn, budget.Outcome{Result: budget.Answered, Accepted: true})
	inS3 := <-receipt
	if err != nil {
		w.log.Error("a paid export is not in the ledger; its task is named here and, if it could be written, in its receipt",
			logkey.Export, r.ID, logkey.ExportTaskID, task.ExportTaskID, logkey.ReceiptError, inS3, logkey.Error, err)
		return err
	}
	if inS3 == nil {
		accepted, err = w.persist(ctx, r.ID, func(r *export.Record) error {
			r.ReceiptPut(task.ExportTaskID, seen, export.ReceiptOpen)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return w.ensure(ctx, accepted)
}

// acceptOrRebear records that the export is paid for. A record that Redis has
// lost meanwhile is stored anew.
func (w *Worker) acceptOrRebear(ctx context.Context, r *export.Record, accept func(*export.Record) error) (*export.Record, error) {
	accepted, err := w.update(ctx, r.ID, accept)
	if !errors.Is(err, ledger.ErrUnknown) {
		return accepted, err
	}
	if err := accept(r); err != nil {
		return nil, err
	}
	created, err := w.o.Ledger.Create(ctx, r)
	if err == nil && !created { // somebody else's, to be tried again
		err = errors.New("the record was lost and has come back")
	}
	return r, err
}

// persistReceipt writes the receipt of an export that was just paid for. While
// the ledger has not taken it, the receipt is all there is and is tried for
// ever; afterwards a few times, then it is the sweeper's.
func (w *Worker) persistReceipt(ctx context.Context, paid storage.Receipt, inLedger <-chan struct{}) error {
	for n := 0; ; n++ {
		err := w.o.Archive.PutReceipt(ctx, paid)
		w.bucketSaid(ctx, err)
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-inLedger:
			if n >= 2 {
				return err
			}
		default:
			w.log.Error("neither the ledger nor S3 has taken a paid export yet; trying on",
				logkey.Export, paid.ID, logkey.ExportTaskID, paid.ExportTaskID, logkey.Error, fault.SentenceOf(err))
		}
		_ = retry.Wait(ctx, retry.Backoff(n, 200*time.Millisecond, 5*time.Second))
	}
}

// endTurn tells the budget how a request ended. The turn ends by itself if
// that can't be told.
func (w *Worker) endTurn(ctx context.Context, turn *budget.Turn, o budget.Outcome) {
	if err := turn.Done(ctx, o); err != nil {
		w.log.Warn("the budget could not be told how a request ended; it waits for the turn's lease", logkey.Error, err)
	}
}

// kindOf returns how the provider failed; an error of unknown origin counts as
// in doubt, the kind that assumes the least.
func kindOf(err error) provider.Kind {
	var e *provider.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return provider.InDoubt
}

// outcomeOf returns what the budget counts of a request that failed.
func outcomeOf(err error) budget.Outcome {
	meaning, known := meanings[kindOf(err)]
	if !known {
		meaning.result = budget.Failed
	}
	return budget.Outcome{Result: meaning.result, RetryAfter: fault.RetryAfterOf(err)}
}

func priority(p string) budget.Priority {
	switch p {
	case tasks.PriorityHigh:
		return budget.High
	case tasks.PriorityLow:
		return budget.Low
	default:
		return budget.Normal
	}
}

// resolution returns the resolution that the export asks for.
func resolution(r *export.Record) string {
	e, err := tasks.ParseExport(r.Request)
	if err != nil {
		return ""
	}
	return e.Resolution
}
