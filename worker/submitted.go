package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/recovery"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/storage"
)

// notAccepted records a paid request that failed.
func (w *Worker) notAccepted(ctx context.Context, r *export.Record, turn *budget.Turn, a *attempt, err error) error {
	w.watch.Faulted(ctx, export.StepSubmit, err)
	why, outcome := providerProblem(err), budget.OutcomeOf(err)
	a.endTurn = func() { w.endTurn(ctx, turn, outcome) }
	defer a.endTurn() // the ledger first
	switch kindOf(err) {
	case provider.InDoubt:
		return w.lose(ctx, r, w.o.InDoubt, why)
	case provider.AcceptedUnknown: // paid for: whatever the policy, it is not sent again
		w.keepAnswer(ctx, r, a, why.Detail)
		return w.lose(ctx, r, export.Hold, why)
	case provider.Rejected, provider.OutOfUnits:
		return w.rejected(ctx, r, turn, a, err, why)
	case provider.RateLimited, provider.Forbidden: // waited out in the gate
		return w.putBack(ctx, r, a, 0, why)
	default: // a failure of this one request, by the export itself
		return w.putBack(ctx, r, a, retry.Backoff(r.Round, time.Second, time.Minute), why)
	}
}

// askedAgain is how long an export that is refused for no reason of its own lets
// others go first, before it waits for its turn.
const askedAgain = 15 * time.Second

// rejected ends an export that the provider refuses. A refusal that names nothing of
// the request, or speaks of units, may be the account's: then it ends nothing the first
// time, see [budget.Turn.Refused].
func (w *Worker) rejected(ctx context.Context, r *export.Record, turn *budget.Turn, a *attempt, err error, why export.Problem) error {
	var e *provider.Error
	if errors.As(err, &e) && !e.Specific {
		outcome := budget.OutcomeOf(err)
		outcome.Unspecific = budget.Refusal{Project: r.ProjectID, Words: wordsOf(e)}
		w.endTurn(ctx, turn, outcome)
		var final bool
		a.refusedAt, final = turn.Refused()
		switch units := e.Kind == provider.OutOfUnits; {
		case units && !final: // waited out in the gate
			return w.putBack(ctx, r, a, 0, why)
		case units && !e.Unsure: // it costs more than is left
			return w.putBack(ctx, r, a, retry.Backoff(r.Round, askedAgain, 10*time.Minute), why)
		case !final:
			w.log.Warn("the provider refuses an export and does not say what of it; it is asked again", logkey.Export, r.ID, logkey.Why, why.Detail, logkey.TraceID, why.TraceID)
			return w.putBack(ctx, r, a, askedAgain, why)
		}
		why.Reason = export.ReasonRequestRejected
	}
	w.log.Error("the provider rejects an export", logkey.Export, r.ID, logkey.ProjectID, r.ProjectID, logkey.Why, why.Detail, logkey.TraceID, why.TraceID)
	return w.concludeAttempt(ctx, r, a, storage.ReceiptFailed, func(r *export.Record) error { return r.Reject(w.now(), a.token, why) })
}

// wordsOf is the same for all refusals in the same words: numbers and ids apart.
func wordsOf(e *provider.Error) string {
	words := slices.DeleteFunc(strings.Fields(e.Message), func(s string) bool { return strings.ContainsAny(s, "0123456789") })
	sum := sha256.Sum256([]byte(fmt.Sprint(e.Status, e.Code, strings.ToLower(strings.Join(words, " ")))))
	return hex.EncodeToString(sum[:8])
}

// keepAnswer puts an acceptance that nobody can read into the receipt: with it a
// person finds what was paid for, also after a loss of Redis.
func (w *Worker) keepAnswer(ctx context.Context, r *export.Record, a *attempt, answer string) {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	was, found, err := w.o.Archive.Receipt(ctx, r.ID)
	if err == nil && found && was.Intent == a.token {
		is := was
		is.Answer = answer
		_, err = w.o.Archive.WriteReceipt(ctx, is, was)
	}
	if err != nil {
		w.log.Error("the answer to a paid request is not in its receipt, only in the ledger", logkey.Export, r.ID, logkey.Error, fault.SentenceOf(err))
	}
}

// accepted records a paid export twice, in Redis and in S3, each without
// waiting for the other: whichever survives knows of it.
func (w *Worker) accepted(ctx context.Context, r *export.Record, turn *budget.Turn, task provider.Task) error {
	w.log.Info("export accepted", logkey.Export, r.ID, logkey.ProjectID, r.ProjectID, logkey.ExportTaskID, task.ExportTaskID)
	w.warn(r, task)
	now, seen := w.now(), r.Receipts
	paid := w.receiptOf(r)
	paid.ExportTaskID, paid.Submitted, paid.Intent = task.ExportTaskID, now, ""

	inLedger := make(chan struct{})
	receipt := make(chan error, 1)
	go func() { receipt <- w.writeAccepted(ctx, paid, inLedger) }()
	// So that nobody who sees the task in the ledger can take it up as one made
	// elsewhere. Its first read does the same, if Redis fails just now.
	_, _ = w.o.Ledger.ClaimTask(ctx, w.accountName(r), task.ExportTaskID, r.ID)
	accepted, err := w.retryUntilCommitted(ctx, r.ID, func() (*export.Record, error) {
		return w.acceptOrRecreate(ctx, r, func(r *export.Record) error {
			return r.Accept(now, task.ExportTaskID, task.Name, string(task.Status))
		})
	})
	if err == nil {
		close(inLedger) // else the receipt is all there will be
	}
	w.endTurn(ctx, turn, budget.Outcome{Result: budget.Answered, Accepted: true})
	inS3 := <-receipt
	switch {
	case err != nil:
		w.log.Error("a paid export is not in the ledger; its task is named here and, if it could be written, in its receipt",
			logkey.Export, r.ID, logkey.ExportTaskID, task.ExportTaskID, logkey.ReceiptError, inS3, logkey.Error, err)
		return err
	case inS3 != nil:
		return w.followUp(ctx, accepted)
	}
	return w.conclude(ctx, r.ID, func(r *export.Record) error {
		r.ReceiptPut(task.ExportTaskID, seen, export.ReceiptOpen)
		return nil
	})
}

// writeAccepted writes the receipt of an export that was just paid for. While
// the ledger has not taken it, the receipt is all there is and is tried for
// ever; afterwards a few times, then it is the sweeper's.
func (w *Worker) writeAccepted(ctx context.Context, paid storage.Receipt, inLedger <-chan struct{}) error {
	for n := 0; ; n++ {
		err := w.o.Archive.SyncReceipt(ctx, paid)
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

// lose settles a paid request whose answer was lost, by policy. A record that is lost
// as well is stored anew.
func (w *Worker) lose(ctx context.Context, r *export.Record, policy export.Policy, why export.Problem) error {
	ctx, cancel := w.detached(ctx)
	defer cancel()
	w.log.Error("a paid request is in doubt", logkey.Export, r.ID, logkey.ProjectID, r.ProjectID,
		logkey.Policy, policy, logkey.SentAt, r.IntentAt, logkey.Why, why.Detail, logkey.TraceID, why.TraceID)
	by, sent := r.IntentBy, r.IntentAt
	return w.concludeBy(ctx, r.ID, func() (*export.Record, error) {
		return w.acceptOrRecreate(ctx, r, func(r *export.Record) error { return r.Lose(w.now(), by, sent, policy, why) })
	})
}

// resolve carries out what follows from what S3 says of an export that can't simply
// be sent.
func (w *Worker) resolve(ctx context.Context, r *export.Record, f recovery.Finding) error {
	if f.Receipt.Answer != "" { // whoever got it may have died before the account knew, or Redis has lost the halt
		by := w.accountName(&export.Record{Account: f.Receipt.Account})
		if account, ok := w.o.Accounts[by]; ok {
			if err := account.Gate.RecallOdd(ctx, r.ID, f.Receipt.Submitted); err != nil {
				return err
			}
		}
	}
	switch f.Action {
	case recovery.Settle:
		return w.lose(ctx, r, w.o.InDoubt, export.Problem{
			Reason: export.ReasonAnswerLost, Detail: "the worker that sent it died before it recorded the answer",
		})
	case recovery.Hold:
		return w.lose(ctx, r, export.Hold, f.Problem)
	}
	w.log.Error("S3 knows more of an export than the ledger", logkey.Export, r.ID, logkey.ProjectID, r.ProjectID,
		logkey.Receipt, f.Says, logkey.Action, f.Action, logkey.Policy, w.o.InDoubt,
		logkey.ExportTaskID, f.Receipt.ExportTaskID, logkey.SentAt, f.Receipt.Submitted)
	ctx, cancel := w.detached(ctx)
	defer cancel()
	err := w.conclude(ctx, r.ID, func(r *export.Record) error {
		if err := f.Apply(r, w.now(), w.o.InDoubt); err != nil || f.Action == recovery.Refuse {
			return err
		}
		if f.Action == recovery.Recall && r.State == export.Queued {
			// Redis has lost the lease of whoever sends it, perhaps this moment: the
			// answer comes before the export is sent again, or never.
			r.NotBefore = w.now().Add(postTimeout + 5*time.Second)
		}
		w.inherit(r, f.Receipt)
		return nil
	})
	if err == nil && f.Action == recovery.Yield {
		err = fmt.Errorf("job id %s stands for a different request already: %w", r.ID, asynq.SkipRetry)
	}
	return err
}

// inherit takes over what the receipt of an earlier life of the export says:
// the account, since only the key that paid can read it, and whom to notify.
func (w *Worker) inherit(r *export.Record, receipt storage.Receipt) {
	r.Account = receipt.Account
	if w.o.Notifier == nil || receipt.Notify == nil {
		return
	}
	notify, err := w.o.Notifier.FromReceipt(r.ID, receipt.Notify)
	if err != nil { // then its new order counts
		w.log.Error("whom to notify of an export's end is lost", logkey.Export, r.ID, logkey.Error, err)
		return
	}
	r.Notify = notify
}

// warn logs what was odd in an answer that was understood all the same.
func (w *Worker) warn(r *export.Record, task provider.Task) {
	for _, warning := range task.Warnings {
		w.log.Warn("the provider's answer is odd", logkey.Export, r.ID, logkey.Warning, warning)
	}
}
