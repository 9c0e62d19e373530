package export

import (
	"fmt"
	"slices"
	"time"
)

// Policy says what to do with a paid request whose answer was lost.
type Policy string

// The policies of CLIPFERRY_SUBMIT_IN_DOUBT.
const (
	Resubmit Policy = "resubmit"
	Hold     Policy = "hold"
)

// Intend records that the paid request is about to be sent, by whom: a run that
// could not learn whether its intent was recorded finds itself by that.
func (r *Record) Intend(now time.Time, by string) error {
	if err := r.may(EvIntend); err != nil {
		return err
	}
	r.State = Submitting
	r.Attempts++
	r.IntentAt, r.IntentBy = now, by
	r.Error = ""
	r.UpdatedAt = now
	return nil
}

// Accept records the provider's task. It is never refused: late, in a state
// that gave the request up, or for a second time, it stands for money spent.
// A second task of the same export is kept in Duplicates.
func (r *Record) Accept(now time.Time, taskID, name, status string) error {
	if err := r.may(EvAccept); err != nil {
		return err
	}
	r.UpdatedAt = now
	if r.accepted() {
		if r.ExportTaskID != taskID && !slices.Contains(r.Duplicates, taskID) {
			r.Duplicates = append(r.Duplicates, taskID)
		}
		return nil
	}
	r.ExportTaskID, r.Name, r.ProviderStatus = taskID, name, status
	r.SubmittedAt = now
	r.Receipt = ""
	switch r.State {
	case Canceled:
		r.wantRead(ReadDrain, now)
	case Expired, Archived:
	default:
		r.State = Rendering
		r.Error = ""
		r.wantRead(ReadRender, now)
	}
	return nil
}

// PutBack returns an export that was not sent, or was refused in a way that
// passes, to the queue: its next submit task is due at notBefore. why may be
// empty (a worker that stops).
func (r *Record) PutBack(now, notBefore time.Time, why string) error {
	if err := r.may(EvPutBack); err != nil {
		return err
	}
	r.UpdatedAt = now
	if r.State == Canceled {
		return nil
	}
	r.State = Queued
	r.Round++
	r.NotBefore = notBefore
	if why != "" {
		r.Error = why
	}
	return nil
}

// Reject ends an export that the provider will never take.
func (r *Record) Reject(now time.Time, why string) error {
	if err := r.may(EvReject); err != nil {
		return err
	}
	r.UpdatedAt = now
	if r.State != Canceled {
		r.State = Failed
		r.Error = why
	}
	return nil
}

// Lose settles a paid request that was sent and whose answer was lost.
func (r *Record) Lose(now time.Time, policy Policy, why string) error {
	if err := r.may(EvLose); err != nil {
		return err
	}
	r.UpdatedAt = now
	r.Doubts++
	if r.State == Canceled {
		return nil
	}
	if policy == Hold {
		r.hold(why)
		return nil
	}
	r.State = Queued
	r.Round++
	r.NotBefore = now
	r.Error = why
	return nil
}

func (r *Record) hold(why string) {
	r.State = Held
	r.Error = fmt.Sprintf("%s; look for an export of project %q of %s on the provider's site, then run "+
		"`clipferry retry --submitted-as TASK_ID %s` if it is there, or `clipferry retry %s` if it is not",
		why, r.ProjectID, r.IntentAt.UTC().Format(time.RFC3339), r.ID, r.ID)
}

// wantRead makes a status read due at the time: a new poll step.
func (r *Record) wantRead(why Reason, at time.Time) {
	r.Read = why
	r.Step++
	r.PollAt = at
}
