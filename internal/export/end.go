package export

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Expire ends the reads of a task that the provider has let go. What is not linked by
// now never will be. Clips that are linked go on, since their links may live for longer
// than the task: the export ends when they are through, at once without any. What was
// saved stays and is named; if that is all, the export goes on to its seal. task is the
// one that the caller saw expire: it is [ErrStale] when the export goes on with another,
// when its deadline has moved, or when nothing more is needed of the provider.
func (r *Record) Expire(now time.Time, task string, why Problem) error {
	if err := r.mayTask(EvExpire, task); err != nil {
		return err
	}
	if !r.PastDeadline(now) {
		return fmt.Errorf("task %s has not expired: %w", task, ErrStale)
	}
	if r.Sealable() {
		return fmt.Errorf("all clips are archived: %w", ErrStale)
	}
	if r.State != Mirroring || !r.underWay() {
		return r.expire(now, why)
	}
	r.UpdatedAt = now
	r.Read = ReadNone
	for _, idx := range r.missing() {
		r.failClip(now, r.clip(idx), why)
	}
	for _, c := range r.Clips {
		if c.State == ClipStale {
			r.failClip(now, c, why)
		}
	}
	return nil
}

// underWay reports whether a clip's transfer is due.
func (r *Record) underWay() bool {
	for _, c := range r.Clips {
		if c.State == ClipReady {
			return true
		}
	}
	return false
}

// expire ends the export, whatever its clips wait for.
func (r *Record) expire(now time.Time, why Problem) error {
	r.UpdatedAt = now
	r.Read = ReadNone
	if r.State == Mirroring && r.complete() { // the read that was due is not needed
		r.Problem.clear()
		return nil
	}
	if r.accepted() && !r.over() {
		r.FinishedAt = now
	}
	if r.State == Canceled {
		return nil
	}
	r.State = Expired
	if why.None() {
		why = r.clipInTheWay()
	}
	r.Problem.note(now, because(ReasonDeadlinePassed, why))
	return nil
}

// clipInTheWay is what is wrong with the first clip that is not archived; none if no
// clip has a problem.
func (r *Record) clipInTheWay() Problem {
	for _, idx := range slices.Sorted(maps.Keys(r.Clips)) {
		if c := r.Clips[idx]; c.State != ClipArchived && !c.Problem.None() {
			return c.Problem.of(idx)
		}
	}
	return Problem{}
}

// Fail ends an export whose current step cannot go on. While a paid request
// may be under way it is held instead: nobody knows whether it was taken.
func (r *Record) Fail(now time.Time, why Problem) error {
	if err := r.may(EvFail); err != nil {
		return err
	}
	r.UpdatedAt = now
	switch r.State {
	case Canceled:
		r.Read = ReadNone
	case Submitting:
		r.doubt(now, Hold, why)
	default:
		r.State = Failed
		r.Read = ReadNone
		r.Problem.note(now, why)
	}
	return nil
}

// Yield gives the id back to the export that was paid for under it and that the
// ledger has forgotten. It is [ErrStale] for one that was itself sent already.
func (r *Record) Yield(now time.Time, to *Record) error {
	if err := r.may(EvYield); err != nil {
		return err
	}
	if r.Attempts > 0 || len(r.Previous) > 0 {
		return fmt.Errorf("%s was sent itself: %w", r.ID, ErrStale)
	}
	round := r.Round + 1
	*r = *to
	r.Round, r.Attempts, r.UpdatedAt = round, 0, now
	return nil
}

// Cancel stops an export. The provider has no cancel: an accepted one goes on
// rendering there, and is read until its end so that its slot is known to be free.
func (r *Record) Cancel(now time.Time) error {
	if err := r.may(EvCancel); err != nil {
		return err
	}
	r.State = Canceled
	r.Problem.clear()
	r.UpdatedAt = now
	if r.accepted() && !r.over() {
		if r.Read == ReadNone {
			r.wantRead(ReadDrain, now)
		}
		r.Read = ReadDrain
		return nil
	}
	r.Read = ReadNone
	return nil
}

// RetryOptions is what a person says when taking an export up again.
type RetryOptions struct {
	// SubmittedAs names the provider's task of a held export, found by hand.
	SubmittedAs string
	// PayAgain allows a new paid request where the old task can't be used any more,
	// or where a request was sent and nobody knows whether it was accepted.
	PayAgain bool
}

// ErrPaid is returned by Retry where going on needs a second paid request and
// the operator has not said so.
var ErrPaid = errors.New("it would be paid for again")

// ErrMayBePaid is an ErrPaid of an export whose paid request may have been accepted, as a
// task that nobody knows here.
var ErrMayBePaid = fmt.Errorf("so it may have been accepted: %w", ErrPaid)

// Retry takes a final export up again where it stopped. One that renders can only have
// a task that a person named, and that no read has known, replaced by another.
func (r *Record) Retry(now time.Time, o RetryOptions) error {
	if err := r.may(EvRetry); err != nil {
		return err
	}
	if r.State == Rendering && (!r.unseen() || o.SubmittedAs == "" || o.SubmittedAs == r.ExportTaskID) {
		return fmt.Errorf("%s while %s: %w", EvRetry, r.State, ErrNotNow)
	}
	var err error
	switch {
	case o.SubmittedAs != "" && o.SubmittedAs != r.ExportTaskID:
		err = r.submittedAs(now, o.SubmittedAs)
	case r.Suspect() && !o.PayAgain && r.Problem.Reason == ReasonNotUnderstood:
		err = fmt.Errorf("a request was sent and its answer could not be understood, %w", ErrMayBePaid)
	case r.Suspect() && !o.PayAgain:
		err = fmt.Errorf("a request was sent and its answer was lost, %w", ErrMayBePaid)
	case !r.accepted():
		err = r.resubmit(now)
	case r.unseen() && o.PayAgain && len(r.Duplicates) == 0:
		if err = r.resubmit(now); err == nil {
			r.dropNamed()
		}
	case r.complete(), !r.lost(now):
		r.resume(now)
	case len(r.Duplicates) > 0: // paid for as well: better than paying again
		last := len(r.Duplicates) - 1
		task := r.Duplicates[last]
		r.Duplicates = r.Duplicates[:last]
		r.forget()
		r.adopt(now, task)
	case r.Imported() && (r.Outcome == RenderFailed || r.PastDeadline(now)):
		err = fmt.Errorf("task %s was made elsewhere and is over: %w", r.ExportTaskID, ErrNotNow)
	case r.Imported():
		r.resume(now)
	case o.PayAgain, r.Free:
		if err = r.resubmit(now); err == nil {
			r.forget()
		}
	case r.Outcome != RenderFailed && !r.PastDeadline(now): // unknown there lately, which may have passed
		r.resume(now)
	default:
		err = r.paid()
	}
	if err != nil {
		return err
	}
	if o.PayAgain {
		r.DoubtsBefore = r.Doubts
	}
	r.Problem.clear()
	r.UpdatedAt = now
	return nil
}

// lost reports whether the provider's task is of no more use.
func (r *Record) lost(now time.Time) bool {
	return r.Outcome == RenderFailed || r.Unknown >= MaxUnknown || r.PastDeadline(now)
}

// complete reports whether every clip is archived and only the seal is missing.
func (r *Record) complete() bool {
	return r.Outcome == RenderSucceeded && r.ClipCount > 0 && r.ArchivedCount == r.ClipCount && len(r.missing()) == 0
}

// paid says why going on would cost a second time.
func (r *Record) paid() error {
	switch {
	case r.Outcome == RenderFailed && r.CostUsage == 0: // an accepted export is charged, unless the provider says otherwise
		return fmt.Errorf("the provider could not render task %s and did not say what it charged: %w", r.ExportTaskID, ErrPaid)
	case r.Outcome == RenderFailed:
		return fmt.Errorf("the provider charged %g units for task %s and could not render it: %w",
			r.CostUsage, r.ExportTaskID, ErrPaid)
	case r.ExpireAt.IsZero():
		return fmt.Errorf("task %s was accepted at %s, longer ago than the provider keeps results: %w",
			r.ExportTaskID, r.SubmittedAt.UTC().Format(time.RFC3339), ErrPaid)
	default:
		return fmt.Errorf("task %s expired at %s: %w",
			r.ExportTaskID, r.ExpireAt.UTC().Format(time.RFC3339), ErrPaid)
	}
}

func (r *Record) adopt(now time.Time, task string) {
	r.State = Rendering
	r.ExportTaskID, r.SubmittedAt, r.Receipt = task, now, ""
	r.wantRead(ReadRender, now)
}

// resubmit has the export submitted (again). A request that may be under way
// is settled first, by the policy for requests in doubt.
func (r *Record) resubmit(now time.Time) error {
	if len(r.Request) == 0 {
		return fmt.Errorf("%s has no usable request; enqueue it anew under another id: %w", r.ID, ErrNotNow)
	}
	r.State = Queued
	if r.unsettled() {
		r.State = Submitting
	}
	r.Round++
	r.NotBefore, r.RefusedAt = now, time.Time{}
	return nil
}

// forget gives the provider's task up: what follows belongs to another paid export.
func (r *Record) forget() {
	for _, c := range r.Clips {
		r.RoundsBefore = max(r.RoundsBefore, c.Round)
	}
	r.Named = false
	r.SealRound++ // a seal that was due is of the task given up
	r.Previous = append(r.Previous, r.ExportTaskID)
	r.ExportTaskID, r.Name, r.ProviderStatus, r.Outcome = "", "", "", ""
	r.SubmittedAt, r.FinishedAt, r.ExpireAt = time.Time{}, time.Time{}, time.Time{}
	r.CostUsage, r.Free, r.Receipt, r.IntentBy = 0, false, "", ""
	r.Read = ReadNone
	r.ReadFaults, r.Unknown, r.Nameless, r.Misses, r.StaleReads, r.RefreshFrom = 0, 0, 0, 0, 0, 0
	r.ClipCount, r.ArchivedCount, r.FailedCount, r.ArchivedBytes = 0, 0, 0, 0
	r.ClipProblem.clear()
	r.Clips = map[int]*Clip{}
}

// resume goes on with the provider's task: every clip that is not archived gets
// a fresh link and a fresh count.
func (r *Record) resume(now time.Time) {
	r.ReadFaults, r.Unknown, r.Misses, r.StaleReads = 0, 0, 0, 0
	r.FailedCount = 0
	r.ClipProblem.clear()
	for _, c := range r.Clips {
		if c.State != ClipArchived {
			c.State, c.Link, c.Faults, c.BadBodies, c.Refusals = ClipWaiting, "", 0, 0, 0
			c.Problem.clear()
		}
	}
	if r.Outcome == "" { // it was given up before its end
		r.State, r.FinishedAt = Rendering, time.Time{}
		r.wantRead(ReadRender, now)
		return
	}
	r.State = Mirroring
	if r.complete() {
		r.Read = ReadNone
		r.SealRound++
		r.SealAt = now
		return
	}
	r.wantRead(ReadRefresh, now)
}
