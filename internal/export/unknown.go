package export

import "time"

// DoesNotKnow records that the provider did not know the task at poll step n:
// past its deadline that is the end. Before it, it may pass: after [MaxUnknown] answers
// in a row the export goes on by the links that it has, and ends if it has none.
func (r *Record) DoesNotKnow(now time.Time, n int, nextPoll time.Time) error {
	if err := r.mayStep(EvReadFault, n); err != nil {
		return err
	}
	if r.State == Archived {
		r.Read = ReadNone
		return nil
	}
	if r.PastDeadline(now) {
		return r.Expire(now, r.ExportTaskID, Problem{Reason: ReasonTaskForgotten})
	}
	r.UpdatedAt = now
	r.Unknown++
	if r.unseen() && r.Unknown >= r.maxUnknown() && r.State != Canceled {
		r.disown(now, ReasonTaskNotFound)
		return nil
	}
	if r.Unknown >= r.maxUnknown() && !r.goesOnByLinks(now) {
		return r.giveUp(now)
	}
	why := Problem{Reason: ReasonTaskUnknown}
	if r.unseen() { // the provider never said that it has it
		why.Reason = ReasonTaskNotFound
	}
	r.Problem.note(now, why)
	r.wantRead(r.Read, nextPoll)
	return nil
}

// goesOnByLinks reports whether clips of a task that the provider does not know can
// still be fetched: by links that were not refused, or that are tried again as they are.
func (r *Record) goesOnByLinks(now time.Time) bool {
	if r.State == Canceled {
		return false
	}
	for _, c := range r.Clips {
		if c.State == ClipStale {
			c.State = ClipReady
			c.Round++
			c.NotBefore = r.afterRefusal(now, c)
		}
	}
	return r.underWay()
}

// giveUp ends an export whose task the provider does not know and that has no link left
// to try. What is archived is sealed if that is all that was asked for.
func (r *Record) giveUp(now time.Time) error {
	missing := r.missing()
	known := r.Outcome == RenderSucceeded || len(r.Wanted) > 0 && r.Outcome != RenderFailed
	switch {
	case r.State == Canceled:
		r.FinishedAt, r.Read = now, ReadNone
		return nil
	case known && len(missing) == 0 && r.ArchivedCount == r.ClipCount:
		r.State, r.Outcome, r.Read = Mirroring, RenderSucceeded, ReadNone
		r.Problem.clear()
		if !r.over() {
			r.FinishedAt = now
		}
		return nil
	}
	why := Problem{Reason: ReasonTaskUnknown, Count: r.Unknown}
	if r.Imported() && r.Polls == 0 {
		why.Reason = ReasonTaskNotFound
	}
	for _, idx := range missing {
		r.failClip(now, r.clip(idx), why)
	}
	return r.Fail(now, why)
}
