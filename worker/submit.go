package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/recovery"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/internal/units"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

// The time that a paid request may take. A lease covers it with a margin, so
// that no second run can believe the first one dead while it still waits.
const (
	postTimeout = 25 * time.Second
	leaseTime   = postTimeout + 10*time.Second
)

// submit carries an export from its queue to the provider:
//
//	record ─► lease ─► slot ─► intent in S3 ─► request ─► intent in the ledger ─► POST ─► answer in ledger and S3
//
// It waits for its turn inside, so that the thousands behind it stay visible in
// their queue.
func (w *Worker) submit(ctx context.Context, t *asynq.Task) error {
	in, _ := asynq.GetQueueName(ctx)
	defer w.waiting.begin(in)()
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
		return w.leaveStale(ctx, s.ID)
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
	ctx, stop := lease.Keep(ctx)
	defer stop()
	if r, err = w.o.Ledger.LoadHead(ctx, s.ID); err != nil {
		return err
	}
	switch {
	case !export.IsDue(r, s.Step):
		return w.leaveStale(ctx, s.ID)
	case r.State == export.Submitting:
		return w.settleOfDead(ctx, r)
	default:
		return w.order(ctx, r, lease)
	}
}

// takeUp returns the export's record, which the first submit creates.
func (w *Worker) takeUp(ctx context.Context, taskID string, s queue.Step, headers map[string]string) (*export.Record, error) {
	r, err := w.o.Ledger.LoadHead(ctx, s.ID)
	if errors.Is(err, ledger.ErrUnknown) && s.RequestGiven {
		s.Queue, _ = asynq.GetQueueName(ctx)
		r = queue.NewRecord(s, headers, w.o.Ledger.Retention(), w.now())
		r.Trace = w.traceOf(ctx, headers)
		if slices.Contains(w.ownQueues(), r.Tenant) {
			r.Lane = r.Tenant
		}
		if r.Unserved, err = w.unserved(ctx, r); err != nil {
			return nil, err
		}
		if own := queue.Of(r, s.Step); taskID != own.ID || s.Queue != own.Queue {
			// A bare producer left the TaskID to asynq, or used another queue than its
			// account's or tenant's: go on under a task of ours, in the right one.
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

// settleOfDead settles the paid request of a worker that died before it recorded the
// answer: its receipt may say more.
func (w *Worker) settleOfDead(ctx context.Context, r *export.Record) error {
	f, err := recovery.Find(ctx, w.o.Archive, r, "", w.o.InDoubt, w.now())
	if err != nil {
		w.log.Error("S3 does not say what became of a paid request", logkey.Export, r.ID, logkey.Error, fault.SentenceOf(err))
		return errElsewhere
	}
	return w.resolve(ctx, r, f)
}

// attempt is one try to order an export. Its token stands in the intent.
type attempt struct {
	token string
	tried bool // to write the intent to S3 …
	wrote bool // … and so it did
	found recovery.Finding
	// endTurn gives its turn back, if it has one.
	endTurn func()
	// refusedAt is when it was refused for no reason of its own, see export.Record.
	refusedAt time.Time
}

var (
	// errNotToSend means that the receipt keeps the export from being ordered.
	errNotToSend = errors.New("S3 knows more of this export than the ledger")
	// errNoWriteAhead means that S3 has not taken the intent.
	errNoWriteAhead = errors.New("the intent could not be written to S3")
)

// order waits for the export's turn, writing ahead to S3 on the way, and sends it.
func (w *Worker) order(ctx context.Context, r *export.Record, lease *ledger.Lease) error {
	a := &attempt{token: uuid.NewString()}
	account, err := w.account(r)
	if err != nil {
		return w.putBack(ctx, r, a, retry.Backoff(r.Round, time.Minute, 10*time.Minute), export.Problem{Reason: export.ReasonAccountUnknown})
	}
	if r.Suspect() {
		well, err := w.answersSince(ctx, account, r.IntentAt)
		if !well && !w.Draining() && !timeUp(ctx) {
			w.log.Warn("an export in doubt is not sent again before the provider answers reads", logkey.Export, r.ID, logkey.Error, err)
			return w.putBack(ctx, r, a, retry.Backoff(r.Round, 10*time.Second, 10*time.Minute), r.Problem)
		}
	}
	turn, err := w.waitForTurn(ctx, account, r, a)
	switch {
	case err == nil:
		return w.send(ctx, r, lease, account, turn, a)
	case errors.Is(err, errNotToSend):
		return w.resolve(ctx, r, a.found)
	case w.Draining(), timeUp(ctx):
		return w.putBack(ctx, r, a, 0, export.Problem{})
	case errors.Is(err, errNoWriteAhead):
		w.log.Error("nothing is ordered that S3 takes no receipt of", logkey.Export, r.ID, logkey.Error, fault.SentenceOf(err))
		return w.putBack(ctx, r, a, elsewhere, export.Problem{Reason: export.ReasonStorageUnavailable, Detail: fault.SentenceOf(err)})
	default:
		if a.tried {
			ctx, cancel := w.detached(ctx)
			defer cancel()
			_, lost := w.retryUntilCommitted(ctx, r.ID, func() (*export.Record, error) { // or it would be in doubt
				return w.update(ctx, r.ID, func(r *export.Record) error { r.Unsent(a.token, a.wrote); return nil })
			})
			if errors.Is(lost, ledger.ErrUnknown) {
				w.settleReceipt(ctx, r, a, storage.ReceiptUnsent)
			}
		}
		return fmt.Errorf("wait for a turn to submit %s: %w", r.ID, err)
	}
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

// waitForTurn waits until the export may be ordered: its account has units left to
// spend, a slot and a request. With the slot, and before the request, it writes
// ahead.
func (w *Worker) waitForTurn(ctx context.Context, account Account, r *export.Record, a *attempt) (*budget.Turn, error) {
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
			Export: r.ID, Project: r.ProjectID, Refused: r.RefusedAt,
			Kind: budget.Submit, Since: r.CreatedAt, Priority: priority(r.Priority),
			Tenant: w.sharesAs(r), Share: w.o.Tenants[w.sharesAs(r)],
			Resolution: resolution(r), Clips: len(r.Wanted),
			Prepare: func(ctx context.Context) error { return w.writeAhead(ctx, account, r, a) },
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

// waitForUnits waits until the account may spend units. It waits in the
// handler, as for a slot, so that the others stay in line behind.
func (w *Worker) waitForUnits(ctx context.Context, account Account, r *export.Record) error {
	for logged := false; ; logged = true {
		until, err := account.heldUntil(ctx, w.now())
		if err != nil || until.IsZero() {
			return err
		}
		if !logged {
			w.log.Warn("the account has spent its units of the day; its exports wait for the next one",
				logkey.Export, r.ID, logkey.Account, account.Name, logkey.Until, until)
		}
		if err := retry.Wait(ctx, min(units.Look, max(until.Sub(w.now()), time.Millisecond))); err != nil {
			return err
		}
	}
}

// writeAhead writes the intent to S3: whatever becomes of Redis and of this worker,
// the request that follows is known of.
func (w *Worker) writeAhead(ctx context.Context, account Account, r *export.Record, a *attempt) error {
	if err := w.o.Archive.MayOrder(r.ID); err != nil {
		return fmt.Errorf("%w: %w", errNoWriteAhead, err)
	}
	pinned := *r
	account.pin(&pinned)
	intent := w.receiptOf(&pinned)
	intent.Intent, intent.Submitted = a.token, w.now().UTC()
	if r.Batch != "" {
		if err := w.keepBatch(ctx, r.Batch); err != nil { // the receipts name it too
			w.log.Warn("a batch could not be kept in S3: after a loss of Redis only its exports that were ordered are known",
				logkey.Batch, r.Batch, logkey.Error, fault.SentenceOf(err))
		}
	}
	a.tried = true
	var err error
	a.found, err = recovery.WriteAhead(ctx, w.o.Archive, r, intent, w.o.InDoubt, w.now())
	if err != nil {
		return fmt.Errorf("%w: %w", errNoWriteAhead, err)
	}
	a.wrote = a.found.Action == recovery.Send
	if !a.wrote {
		return errNotToSend
	}
	return nil
}

// send records the intent in the ledger, sends the paid request, and records what
// came of it. From here on a stop or a lost asynq lease is waited out: an answer
// that nobody records is money lost.
func (w *Worker) send(ctx context.Context, r *export.Record, lease *ledger.Lease, account Account, turn *budget.Turn, a *attempt) error {
	ctx, cancel := w.detached(ctx)
	defer cancel()
	// The request's time begins with the lease's: a process that stalls in between, for
	// however long, does not send when another run may.
	post, cancelPost := context.WithTimeout(ctx, postTimeout)
	defer cancelPost()
	renewed, round := w.now(), r.Round
	err := lease.Renew(ctx)
	var sending *export.Record
	if err == nil {
		err = w.o.Archive.MayOrder(r.ID) // no more, perhaps, since it waited for its request
	}
	if err == nil {
		sending, err = w.o.Ledger.Update(ctx, r.ID, func(r *export.Record) error {
			if r.Round != round {
				return fmt.Errorf("submit round %d, current is %d: %w", round, r.Round, export.ErrStale)
			}
			account.pin(r)
			return r.Intend(w.now(), a.token)
		})
	}
	if err == nil && w.now().Sub(renewed) >= postTimeout/2 { // too little is left for an answer
		err = errors.New("the lease might end before the paid request: Redis answered too slowly")
	}
	if err != nil { // an intent that Redis may have taken all the same is taken back
		w.log.Warn("an export is not sent", logkey.Export, r.ID, logkey.Error, err)
		w.endTurn(ctx, turn, budget.Outcome{Result: budget.NotSent})
		return w.putBack(ctx, r, a, retry.Backoff(r.Round, time.Second, time.Minute), export.Problem{})
	}
	began := w.now()
	task, err := account.Provider.Submit(post, sending.Request)
	cancelPost()
	w.requested(ctx, sending, budget.Submit, turn, began, err)
	if err == nil {
		return w.accepted(ctx, sending, turn, task)
	}
	return w.notAccepted(ctx, sending, turn, a, err)
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

// resolution returns the resolution that the export asks for. A task that was made
// elsewhere is a class of its own: nothing is learned from it for orders, since
// nobody knows when it began.
func resolution(r *export.Record) string {
	switch {
	case r.Passed:
		return "passed:" + string(r.Kind)
	case r.Imported():
		return "imported"
	}
	e, err := tasks.ParseSent(r.Request)
	if err != nil {
		return ""
	}
	return e.Resolution
}
