package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// submit carries an export from its queue to the provider. It waits for its
// turn inside, so that the thousands behind it stay visible in their queue.
func (w *Worker) submit(ctx context.Context, t *asynq.Task) error {
	taskID, _ := asynq.GetTaskID(ctx)
	s, err := queue.Parse(taskID, t.Type(), t.Payload())
	if err != nil {
		return w.malformed(ctx, taskID, s.ID, err)
	}
	r, err := w.takeUp(ctx, taskID, s, t.Headers())
	if err != nil {
		return err
	}
	if !export.IsDue(r, s.Step) {
		return w.ensureAll(ctx, s.ID)
	}
	// One run at a time: whoever holds this lease knows that no other run has a
	// paid request under way.
	lease, err := w.o.Ledger.Lease(ctx, s.ID, "submit", leaseTime)
	if errors.Is(err, ledger.ErrLeased) {
		return errBusy
	}
	if err != nil {
		return err
	}
	defer w.release(ctx, lease)
	kept, stop := lease.Keep(ctx)
	defer stop()
	return w.submitAlone(kept, s, lease)
}

// takeUp returns the export's record, which the first submit gives birth to.
func (w *Worker) takeUp(ctx context.Context, taskID string, s queue.Step, headers map[string]string) (*export.Record, error) {
	r, err := w.o.Ledger.LoadHead(ctx, s.ID)
	if errors.Is(err, ledger.ErrUnknown) && s.RequestGiven {
		r = queue.NewRecord(s, headers, w.o.Ledger.Retention(), w.now())
		r.Trace = w.traceOf(ctx, headers)
		in, _ := asynq.GetQueueName(ctx)
		if own := queue.Of(r, s.Step); taskID != own.ID || in != own.Queue {
			// A bare producer left the TaskID to asynq, or used another queue than its
			// account's: go on under a task of ours, in the right one.
			r.Round = 1
		}
		if _, err = w.o.Ledger.Create(ctx, r); err == nil {
			r, err = w.o.Ledger.LoadHead(ctx, s.ID) // ours, or a rival's
		}
	}
	if err != nil {
		return nil, err
	}
	if s.RequestGiven && r.Digest != s.Request.Digest() {
		return nil, fmt.Errorf("job id %s stands for a different request already: %w", s.ID, asynq.SkipRetry)
	}
	return r, nil
}

func (w *Worker) release(ctx context.Context, lease *ledger.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := lease.Release(ctx); err != nil {
		w.log.Warn("a lease could not be given back; it ends by itself", logkey.Error, err)
	}
}

// submitAlone runs under the export's submit lease.
func (w *Worker) submitAlone(ctx context.Context, s queue.Step, lease *ledger.Lease) error {
	r, err := w.o.Ledger.LoadHead(ctx, s.ID)
	if err != nil {
		return err
	}
	if !export.IsDue(r, s.Step) {
		return w.ensureAll(ctx, s.ID)
	}
	adopted, err := w.adopt(ctx, r)
	if err != nil || adopted {
		return err
	}
	if r.State == export.Submitting {
		return w.settleDoubt(ctx, r, export.Problem{Reason: export.ReasonAnswerLost, Detail: "the worker that sent it died before it recorded the answer"})
	}
	account, err := w.account(r)
	if err != nil {
		return w.putBack(ctx, s.ID, "", retry.Backoff(r.Round, time.Minute, 10*time.Minute), export.Problem{Reason: export.ReasonAccountUnknown})
	}
	turn, err := w.waitForTurn(ctx, account, r)
	if err != nil {
		if w.Draining() || timeUp(ctx) {
			return w.putBack(ctx, s.ID, "", 0, export.Problem{})
		}
		return fmt.Errorf("wait for a turn to submit %s: %w", s.ID, err)
	}
	return w.intendAndSend(ctx, r, lease, account, turn)
}

// ignoreSettled lets a step leave that lost a race: the winner goes on.
func ignoreSettled(err error) error {
	if settled(err) {
		return nil
	}
	return err
}

// putBack returns the export to the queue, due after the wait; by is the token
// of the caller's own intent, empty if it recorded none.
func (w *Worker) putBack(ctx context.Context, id, by string, wait time.Duration, why export.Problem) error {
	ctx, cancel := w.toTheEnd(ctx)
	defer cancel()
	r, err := w.persist(ctx, id, func(r *export.Record) error {
		now := w.now()
		return r.PutBack(now, by, now.Add(wait), why)
	})
	if err != nil {
		return ignoreSettled(err)
	}
	return w.ensure(ctx, r)
}

// timeToLeave is how long before the end of a task's Timeout its wait ends: what
// is sent then is answered in time. Ours have a day, but a bare producer's may be
// short, and asynq would count each end of it as a failure: the export goes on
// under a task of ours.
const timeToLeave = postTimeout + 10*time.Second

func timeUp(ctx context.Context) bool {
	limit, limited := ctx.Deadline()
	return limited && time.Until(limit) <= timeToLeave
}

// waitForTurn waits until the export may be submitted: its account has units
// left to spend, a slot and a request.
func (w *Worker) waitForTurn(ctx context.Context, account Account, r *export.Record) (*budget.Turn, error) {
	ctx, cancel := w.untilStop(ctx)
	defer cancel()
	if limit, limited := ctx.Deadline(); limited {
		var leave context.CancelFunc
		ctx, leave = context.WithDeadline(ctx, limit.Add(-timeToLeave))
		defer leave()
	}
	for {
		if err := w.waitForUnits(ctx, account, r); err != nil {
			return nil, err
		}
		turn, err := account.Gate.Wait(ctx, budget.Request{
			Export: r.ID, Kind: budget.Submit, Since: r.CreatedAt, Priority: priority(r.Priority),
			Resolution: resolution(r), Clips: len(r.Wanted),
		})
		if err != nil {
			return nil, err
		}
		// The wait may have been long, and what others cost is known by now.
		until, err := account.heldUntil(ctx, w.now())
		if err == nil && until.IsZero() {
			return turn, nil
		}
		w.endTurn(ctx, turn, budget.Outcome{Result: budget.NotSent})
		if err != nil {
			return nil, err
		}
	}
}

// intendAndSend writes the intent ahead of the paid request, sends it, and
// records what came of it.
func (w *Worker) intendAndSend(ctx context.Context, r *export.Record, lease *ledger.Lease, account Account, turn *budget.Turn) error {
	// From here on a stop or a lost asynq lease is waited out: an answer that
	// nobody records is money lost.
	ctx, cancel := w.toTheEnd(ctx)
	defer cancel()
	renewed := w.now()
	if err := lease.Renew(ctx); err != nil {
		return errors.Join(err, turn.Done(ctx, budget.Outcome{Result: budget.NotSent}))
	}
	by, round := uuid.NewString(), r.Round
	sending, err := w.o.Ledger.Update(ctx, r.ID, func(r *export.Record) error {
		if r.Round != round { // canceled and taken up again while it waited: another task's turn
			return fmt.Errorf("submit round %d, current is %d: %w", round, r.Round, export.ErrStale)
		}
		account.pin(r)
		return r.Intend(w.now(), by)
	})
	if err != nil {
		return w.intentFailed(ctx, r.ID, by, turn, err)
	}
	if err := w.announce(ctx, sending, lease, renewed); err != nil {
		w.endTurn(ctx, turn, budget.Outcome{Result: budget.NotSent})
		err = w.putBack(ctx, r.ID, by, retry.Backoff(r.Round, time.Second, time.Minute),
			export.Problem{Reason: export.ReasonStorageUnavailable, Detail: fault.SentenceOf(err)})
		w.clearDoubt(ctx, r.ID, by)
		return err
	}
	post, cancelPost := context.WithTimeout(ctx, postTimeout)
	began := w.now()
	task, err := account.Provider.Submit(post, sending.Request)
	cancelPost()
	w.requested(ctx, sending, budget.Submit, turn, began, err)
	recorded := w.recordSubmit(ctx, sending, turn, task, err)
	if err != nil && outcomeOf(err).Result != budget.InDoubt {
		w.clearDoubt(ctx, r.ID, by)
	}
	return recorded
}

// intentFailed leaves without having sent anything. An intent that Redis may
// have taken without our knowing is taken back, else it would look like a doubt.
func (w *Worker) intentFailed(ctx context.Context, id, by string, turn *budget.Turn, cause error) error {
	if err := turn.Done(ctx, budget.Outcome{Result: budget.NotSent}); err != nil {
		w.log.Warn("a turn could not be given back; it ends by itself", logkey.Export, id, logkey.Error, err)
	}
	if settled(cause) {
		return w.ensureAll(ctx, id)
	}
	r, err := w.persist(ctx, id, func(r *export.Record) error {
		now := w.now()
		return r.PutBack(now, by, now, export.Problem{})
	})
	if err != nil {
		return ignoreSettled(err)
	}
	return w.ensure(ctx, r)
}
