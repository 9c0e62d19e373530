package worker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/tasks"
)

// poll reads a running export once, when it is worth a request, and schedules
// the next step.
func (w *Worker) poll(ctx context.Context, t *asynq.Task) error {
	taskID, _ := asynq.GetTaskID(ctx)
	p, err := queue.Parse(taskID, t.Type(), t.Payload())
	if err != nil {
		return w.malformed(ctx, taskID, "", err)
	}
	r, err := w.o.Ledger.LoadHead(ctx, p.ID)
	if err != nil {
		return w.notLoaded(p.ID, err)
	}
	if !export.IsDue(r, p.Step) {
		return w.leaveStale(ctx, p.ID)
	}
	account, err := w.account(r)
	if err != nil {
		return w.readFailed(ctx, r, p.N, export.Problem{Reason: export.ReasonAccountUnknown}, time.Minute)
	}
	if r.Polls == 0 || r.Named {
		if taken, err := w.taskTaken(ctx, r); taken || err != nil {
			return err
		}
		leave, done, err := w.beginImport(ctx, r)
		if done || err != nil {
			return err
		}
		defer leave()
	}
	turn, err := w.waitToRead(ctx, account.Gate, r)
	if err != nil {
		if w.Draining() {
			return errStopping
		}
		return fmt.Errorf("wait for a turn to read %s: %w", p.ID, err)
	}
	// The wait may have been long: another run, a cancel or a deadline may have
	// made this read worthless.
	r, err = w.o.Ledger.LoadHead(ctx, p.ID)
	if err != nil {
		w.endTurn(ctx, turn, budget.Outcome{Result: budget.NotSent})
		return w.notLoaded(p.ID, err)
	}
	if !export.IsDue(r, p.Step) {
		w.endTurn(ctx, turn, budget.Outcome{Result: budget.NotSent})
		return w.leaveStale(ctx, p.ID)
	}
	return w.read(ctx, r, p.N, account, turn)
}

// taskTaken ends an export whose task is another one's, and reports whether it is:
// one of them was not ordered, and its clips are not the other's.
func (w *Worker) taskTaken(ctx context.Context, r *export.Record) (bool, error) {
	owner, err := w.o.Ledger.ClaimTask(ctx, w.accountName(r), r.ExportTaskID, r.ID)
	if err != nil || owner == r.ID {
		return false, err
	}
	w.log.Error("the provider named one task for two exports", logkey.Export, r.ID, logkey.ExportTaskID, r.ExportTaskID, logkey.Why, owner)
	why := export.Problem{Reason: export.ReasonTaskTaken, Detail: owner}
	return true, w.conclude(ctx, r.ID, ofTask(r.ExportTaskID, func(r *export.Record) error { return r.Fail(w.now(), why) }),
		func(r *export.Record) { w.releaseSlot(ctx, r) })
}

func (w *Worker) waitToRead(ctx context.Context, gate Gate, r *export.Record) (*budget.Turn, error) {
	ctx, cancel := w.untilStop(ctx)
	defer cancel()
	request := budget.Request{
		Export: r.ID, Kind: kindOfRead(r), Since: r.SubmittedAt, Resolution: resolution(r), Clips: len(r.Wanted),
	}
	switch request.Kind {
	case budget.Other:
		request.Tenant = r.TenantName() + "/imports"
	case budget.Refresh:
		// A clip that is rendered and can't be fetched waits for nothing else:
		// it is read within refreshWithin even while the budget is short.
		request.Deadline = w.now().Add(2 * refreshWithin)
		if !r.ExpireAt.IsZero() && r.ExpireAt.Before(request.Deadline) {
			request.Deadline = r.ExpireAt
		}
	}
	return gate.Wait(ctx, request)
}

// kindOfRead returns what the budget takes the current read for. One of an export
// that renders has a slot. Of a task that was made elsewhere nothing is known before it
// was read: there may be no such task, and nobody's link waits for it.
func kindOfRead(r *export.Record) budget.Kind {
	switch {
	case r.Imported() && !r.HoldsSlot() && r.Polls == 0:
		return budget.Other
	case r.Read == export.ReadRefresh, r.Read == export.ReadMissing, r.Imported() && !r.HoldsSlot():
		return budget.Refresh
	default:
		return budget.Read
	}
}

// refreshWithin is how long a read for a fresh link may give way to others.
const refreshWithin = 2 * time.Minute

// read spends the turn. Its context outlives a stop: the request is short, and
// an answer that was paid for with budget should be recorded.
func (w *Worker) read(ctx context.Context, r *export.Record, n int, account Account, turn *budget.Turn) error {
	ctx, cancel := w.detached(ctx)
	defer cancel()
	request, cancelRequest := context.WithTimeout(ctx, postTimeout)
	began := w.now()
	task, err := account.Provider.Read(request, string(r.Kind), r.ReadTask())
	cancelRequest()
	w.requested(ctx, r, kindOfRead(r), turn, began, err)
	if err != nil {
		w.endTurn(ctx, turn, budget.OutcomeOf(err))
		return w.readRefused(ctx, r, n, err)
	}
	w.unknown.forget(account.Name)
	task.Odd = task.OddFor(r.Wanted)
	w.endTurn(ctx, turn, progress(task, r.Imported()))
	if !r.Imported() {
		w.lastRead.Store(account.Name, r.ExportTaskID)
	} else if !r.HoldsSlot() && !task.Status.Ended() { // it renders: one of the key's slots is taken
		w.holdSlot(ctx, account.Gate, r)
	}
	next := w.nextRead(ctx, account.Gate, r, task)
	reading := w.readingOf(task)
	if task.Odd != "" && r.Problem.Reason != export.ReasonNotUnderstood {
		w.log.Error("an answer of the provider has a form that is not understood; it is read on, and nothing is given up", logkey.Export, r.ID, logkey.Why, task.Odd)
	}
	w.warn(r, task)
	of := r.ExportTaskID
	return w.conclude(ctx, r.ID, func(r *export.Record) error { return r.Answer(w.now(), of, n, reading, next) }, func(r *export.Record) {
		w.charge(ctx, r)
		w.learnCharge(ctx, account, r, task)
		if r.State == export.Held { // the task was named wrong
			w.releaseSlot(ctx, r)
		}
		w.takeUpLate(ctx, r)
		w.log.Debug("export read", logkey.Export, r.ID, logkey.State, r.State, logkey.ProviderStatus, r.ProviderStatus,
			logkey.Clips, r.ClipCount, logkey.Archived, r.ArchivedCount)
	})
}

// nextRead asks the budget when a further read may be worth a request. Reads
// for what should be there already come soon, then ever later.
func (w *Worker) nextRead(ctx context.Context, gate Gate, r *export.Record, task provider.Task) time.Time {
	if r.Inline() && task.Status == provider.StatusSucceeded && r.Misses+r.StaleReads == 0 {
		return w.now().Add(w.settleInterval(task))
	}
	if task.Odd == "" && (task.Status.Ended() || r.State == export.Mirroring) {
		return w.now().Add(retry.Backoff(r.Misses+r.StaleReads, 4*time.Second, 15*time.Minute))
	}
	at, err := gate.NextRead(ctx, r.ID)
	if err != nil {
		w.log.Warn("the budget does not say when to read next", logkey.Export, r.ID, logkey.Error, err)
		at = w.now().Add(30 * time.Second)
	}
	if task.Odd == "" {
		return at
	}
	odd := w.now().Add(retry.Backoff(r.ReadFaults, 4*time.Second, 5*time.Minute))
	if task.Status.Ended() || odd.After(at) {
		return odd
	}
	return at
}

// readRefused records a read that failed. A limit that is reached is waited for in
// the gate; other failures wait here as well, ever longer: one that is this
// export's alone must not be tried in everybody else's place.
func (w *Worker) readRefused(ctx context.Context, r *export.Record, n int, err error) error {
	w.watch.Faulted(ctx, export.StepPoll, err)
	why := providerProblem(err)
	switch kindOf(err) {
	case provider.NotFound:
		none := w.knowsNone(r)
		if r.PastDeadline(w.now()) || r.Unknown+1 >= export.MaxUnknown { // it ends with that
			if done, err := w.alreadyArchived(ctx, r); done {
				return err
			}
		}
		wait := retry.Backoff(r.Unknown, 10*time.Second, time.Hour)
		if none && r.Unknown+1 >= export.MaxUnknown {
			w.log.Warn("the provider knows no task of the account; none is given up yet", logkey.Export, r.ID, logkey.Account, w.accountName(r))
			return w.readFailed(ctx, r, n, why, wait)
		}
		next := w.now().Add(beforeDeadline(wait, w.now(), r.ExpireAt))
		change := ofTask(r.ExportTaskID, func(r *export.Record) error { return r.DoesNotKnow(w.now(), n, next) })
		return w.conclude(ctx, r.ID, change, func(r *export.Record) {
			if !r.HoldsSlot() { // it is gone
				w.releaseSlot(ctx, r)
			}
		})
	case provider.RateLimited:
		return w.readFailed(ctx, r, n, why, 0)
	default:
		return w.readFailed(ctx, r, n, why, retry.Backoff(r.ReadFaults, 2*time.Second, 2*time.Minute))
	}
}

func (w *Worker) readFailed(ctx context.Context, r *export.Record, n int, why export.Problem, wait time.Duration) error {
	now := w.now()
	if lapsed(r, now) {
		return w.expire(ctx, r, export.Problem{Reason: export.ReasonResultsUnread, Detail: why.Detail})
	}
	next := now.Add(beforeDeadline(wait, now, r.ExpireAt))
	return w.conclude(ctx, r.ID, ofTask(r.ExportTaskID, func(r *export.Record) error { return r.ReadFault(w.now(), n, why, next) }))
}

// beforeDeadline shortens a wait so that at least eight more tries fit before
// the deadline, if there is one.
func beforeDeadline(d time.Duration, now, deadline time.Time) time.Duration {
	if deadline.IsZero() || deadline.Before(now) {
		return d
	}
	return min(d, max(deadline.Sub(now)/8, time.Second))
}

// readLater puts off the read that the export waits for, if it waits for one.
func (w *Worker) readLater(ctx context.Context, r *export.Record, why export.Problem) error {
	if r.Read == export.ReadNone {
		return nil
	}
	n, next := r.Step, w.now().Add(time.Minute)
	return w.conclude(ctx, r.ID, func(r *export.Record) error { return r.ReadFault(w.now(), n, why, next) })
}

// expiryGrace is how long after its deadline an export is still tried: clocks
// differ, and a result that is still there is worth more than punctuality.
const expiryGrace = 5 * time.Minute

// askedFor is for how long a task is asked for whose results nobody could read yet.
const askedFor = 30 * 24 * time.Hour

// lapsed reports whether nothing is hoped for any more of the provider's results. Until a
// read has said how long it keeps them, that may be for longer than usual, as a plan says.
func lapsed(r *export.Record, now time.Time) bool {
	unread := r.Polls == 0 && r.ExpireAt.IsZero() && now.Sub(r.SubmittedAt) < askedFor
	return !unread && r.PastDeadline(now.Add(-expiryGrace))
}

func (w *Worker) expire(ctx context.Context, r *export.Record, why export.Problem) error {
	id, task := r.ID, r.ExportTaskID
	if done, err := w.alreadyArchived(ctx, r); done {
		return err
	}
	return w.conclude(ctx, id, func(r *export.Record) error { return r.Expire(w.now(), task, why) }, func(r *export.Record) {
		if r.State != export.Mirroring { // else all is archived, or clips are under way
			w.log.Error("export expired", logkey.Export, id, logkey.ExportTaskID, task, logkey.Reason, why.Reason, logkey.Why, why.Detail)
		}
		w.releaseSlot(ctx, r)
	})
}

// learnCharge remembers what a render that has succeeded was charged, for the estimates
// of later ones.
func (w *Worker) learnCharge(ctx context.Context, account Account, r *export.Record, task provider.Task) {
	if account.Units == nil || r.Imported() || task.Status != provider.StatusSucceeded || r.State != export.Mirroring {
		return
	}
	seconds := 0.0
	for _, c := range task.Clips {
		if c.ExportLink != "" {
			seconds += float64(c.EndMS-c.BeginMS) / 1000
		}
	}
	if err := account.Units.Learn(ctx, r.ExportTaskID, cmp.Or(resolution(r), defaultResolution), w.now(), seconds, task.CostUsage); err != nil {
		w.log.Warn("what an export was charged is not remembered for estimates", logkey.Export, r.ID, logkey.Error, err)
	}
}

// takeUpLate takes up the clips of an archived task that appeared since, as an export
// of their own.
func (w *Worker) takeUpLate(ctx context.Context, r *export.Record) {
	if len(r.Late) == 0 || r.State != export.Archived {
		return
	}
	next := r.Next(w.now())
	w.log.Warn("clips appeared after their archive was sealed; another export takes them up", logkey.Export, r.ID, logkey.Clips, r.Late, logkey.Next, next.ID)
	_, err := w.o.Ledger.Create(ctx, next)
	if err == nil {
		err = w.queue.Schedule(ctx, next)
	}
	if err != nil {
		w.log.Error("clips that appeared late are not taken up; import their task again", logkey.Export, r.ID, logkey.Error, err)
	}
}

// defaultResolution is what the provider renders where none is asked for.
var defaultResolution = tasks.Export{}.WithDefaults().Resolution

func (w *Worker) holdSlot(ctx context.Context, gate Gate, r *export.Record) {
	if err := gate.Hold(ctx, r.ID, r.SubmittedAt, resolution(r), len(r.Wanted)); err != nil {
		w.log.Warn("the slot of a task that was made elsewhere could not be noted; the sweeper does it", logkey.Export, r.ID, logkey.Error, err)
	}
}

// settleInterval is when a task that has succeeded is read again while further clips
// may come: sooner while some are listed that have no link yet.
func (w *Worker) settleInterval(task provider.Task) time.Duration {
	wait := max(w.o.ImportQuiet/8, time.Second)
	if slices.ContainsFunc(task.Clips, func(c provider.Clip) bool { return c.ExportLink == "" }) {
		return min(wait, 30*time.Second)
	}
	return wait
}

func (w *Worker) releaseSlot(ctx context.Context, r *export.Record) {
	account, err := w.account(r)
	if err == nil {
		err = account.Gate.Release(ctx, r.ID)
	}
	if err != nil {
		w.log.Warn("a slot could not be freed; the sweeper does it", logkey.Export, r.ID, logkey.Error, err)
	}
}

// progress is what a read showed, for the budget.
func progress(task provider.Task, imported bool) budget.Outcome {
	o := budget.Outcome{
		Result: budget.Answered, Ended: task.Status.Ended(), Succeeded: task.Status == provider.StatusSucceeded,
		Clips: len(task.Clips), Odd: task.Odd != "", Imported: imported,
	}
	if !task.Status.Known() {
		o.Status = strings.ToValidUTF8(string(task.Status[:min(len(task.Status), 64)]), "")
	}
	for _, c := range task.Clips {
		seconds := max(0, float64(c.EndMS-c.BeginMS)/1000)
		o.Seconds += seconds
		if c.ExportLink != "" {
			o.ClipsReady++
			o.SecondsReady += seconds
		}
	}
	return o
}

func (w *Worker) readingOf(task provider.Task) export.Reading {
	reading := export.Reading{
		Name: task.Name, Status: string(task.Status), Succeeded: task.Status == provider.StatusSucceeded,
		Failed: task.Status == provider.StatusFailed, Message: task.ErrorMessage,
		ExpireAt: task.ExpireAt, CostUsage: task.CostUsage, Free: task.Free, Odd: task.Odd, Raw: task.Raw,
		Clips: make([]export.Clip, 0, len(task.Clips)), Nameless: task.Nameless, Quiet: w.o.ImportQuiet,
	}
	for _, c := range task.Clips {
		reading.Clips = append(reading.Clips, export.Clip{
			Idx: c.Idx, Title: c.Title, Desc: c.Desc, Tags: c.Tags, Score: c.Score,
			BeginMS: c.BeginMS, EndMS: c.EndMS, Link: c.ExportLink, Thumbnail: c.Thumbnail,
		})
	}
	return reading
}

// endTurn reports to the budget how a request ended. The turn ends by itself if
// that fails.
func (w *Worker) endTurn(ctx context.Context, turn *budget.Turn, o budget.Outcome) {
	if err := turn.Done(ctx, o); err != nil {
		w.log.Warn("the budget could not be told how a request ended; it waits for the turn's lease", logkey.Error, err)
	}
}
