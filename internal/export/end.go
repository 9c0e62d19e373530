package export

import (
	"errors"
	"fmt"
	"time"
)

// Expire ends an export whose results the provider no longer has. What was
// saved stays and is named.
func (r *Record) Expire(now time.Time, why string) error {
	if err := r.may(EvExpire); err != nil {
		return err
	}
	r.UpdatedAt = now
	r.Read = ReadNone
	if !r.over() {
		r.FinishedAt = now
	}
	if r.State == Canceled {
		return nil
	}
	r.State = Expired
	r.Error = fmt.Sprintf("expired: %s; %d of %d clips were saved; only a new paid export brings the rest: "+
		"`clipferry retry --pay-again %s`", why, r.ArchivedCount, r.ClipCount, r.ID)
	return nil
}

// Fail ends an export whose current step cannot go on. While a paid request
// may be under way it is held instead: nobody knows whether it was taken.
func (r *Record) Fail(now time.Time, why string) error {
	if err := r.may(EvFail); err != nil {
		return err
	}
	r.UpdatedAt = now
	switch r.State {
	case Canceled:
		r.Read = ReadNone
	case Submitting:
		r.Doubts++
		r.hold(why)
	default:
		r.State = Failed
		r.Read = ReadNone
		r.Error = fmt.Sprintf("%s; `clipferry retry %s` takes it up again where it stopped", why, r.ID)
	}
	return nil
}

// Cancel stops an export. The provider has no cancel: an accepted one goes on
// rendering there, and is read until its end so that its slot is known to be free.
func (r *Record) Cancel(now time.Time) error {
	if err := r.may(EvCancel); err != nil {
		return err
	}
	r.State = Canceled
	r.Error = ""
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
	// PayAgain allows a new paid request where the old task can't be used any more.
	PayAgain bool
}

// ErrPaid is returned by Retry where going on needs a second paid request and
// the operator has not said so.
var ErrPaid = errors.New("already paid for")

// Retry takes a final export up again where it stopped.
func (r *Record) Retry(now time.Time, o RetryOptions) error {
	if err := r.may(EvRetry); err != nil {
		return err
	}
	if o.SubmittedAs != "" && r.accepted() && o.SubmittedAs != r.ExportTaskID {
		return fmt.Errorf("%s was accepted as task %s, not %s: %w", r.ID, r.ExportTaskID, o.SubmittedAs, ErrNotNow)
	}
	if o.SubmittedAs != "" && !r.accepted() {
		r.State, r.Error = Rendering, ""
		r.ExportTaskID, r.SubmittedAt, r.UpdatedAt, r.Receipt = o.SubmittedAs, now, now, ""
		r.wantRead(ReadRender, now)
		return nil
	}
	switch {
	case !r.accepted():
		r.resubmit(now)
	case r.renderFailed() && r.CostUsage == 0, o.PayAgain && (r.renderFailed() || r.PastDeadline(now)):
		r.forget()
		r.resubmit(now)
	case r.renderFailed():
		return fmt.Errorf("the provider charged %g units for task %s and could not render it; use --pay-again for a new paid export: %w",
			r.CostUsage, r.ExportTaskID, ErrPaid)
	case r.PastDeadline(now):
		return fmt.Errorf("task %s expired at %s; use --pay-again for a new paid export: %w",
			r.ExportTaskID, r.ExpireAt.UTC().Format(time.RFC3339), ErrPaid)
	default:
		r.resume(now)
	}
	r.Error = ""
	r.UpdatedAt = now
	return nil
}

func (r *Record) renderFailed() bool { return r.ProviderStatus == "FAILED" }

func (r *Record) resubmit(now time.Time) {
	r.State = Queued
	r.Round++
	r.NotBefore = now
}

// forget gives the provider's task up: what follows is a new paid export.
func (r *Record) forget() {
	r.Previous = append(r.Previous, r.ExportTaskID)
	r.ExportTaskID, r.Name, r.ProviderStatus = "", "", ""
	r.SubmittedAt, r.FinishedAt, r.ExpireAt = time.Time{}, time.Time{}, time.Time{}
	r.CostUsage, r.Receipt = 0, ""
	r.Read = ReadNone
	r.ReadFaults, r.Unknown, r.Misses, r.StaleReads = 0, 0, 0, 0
	r.ClipCount, r.ArchivedCount, r.FailedCount, r.ArchivedBytes = 0, 0, 0, 0
	r.Clips = map[int]*Clip{}
}

// resume goes on with the provider's task: every clip that is not archived gets
// a fresh link and a fresh count.
func (r *Record) resume(now time.Time) {
	r.State = Rendering
	reason := ReadRender
	if r.over() {
		r.State, reason = Mirroring, ReadRefresh
	}
	r.ReadFaults, r.Unknown, r.Misses, r.StaleReads = 0, 0, 0, 0
	r.FailedCount = 0
	open := 0
	for _, c := range r.Clips {
		if c.State == ClipArchived {
			continue
		}
		open++
		c.State, c.Link, c.Error, c.Faults, c.BadBodies = ClipWaiting, "", "", 0, 0
	}
	if r.over() && open == 0 && r.ClipCount > 0 && len(r.missing()) == 0 { // only the seal is missing
		r.Read = ReadNone
		r.SealRound++
		r.SealAt = now
		return
	}
	r.wantRead(reason, now)
}
