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
	r.IntentAt, r.IntentBy, r.Receipt = now, by, ""
	r.Problem.clear()
	r.UpdatedAt = now
	return nil
}

// Accept records the provider's task. It is never refused: late, in a state
// that gave the request up, or for a second time, it stands for money spent.
// A second task of the same export is kept in Duplicates. Only a task that was
// given up for a new paid export says nothing new: [ErrStale].
func (r *Record) Accept(now time.Time, taskID, name, status string) error {
	if err := r.may(EvAccept); err != nil {
		return err
	}
	if taskID == "" {
		return fmt.Errorf("export %s: accepted without a task", r.ID)
	}
	if slices.Contains(r.Previous, taskID) {
		return fmt.Errorf("task %s was given up for a new paid export: %w", taskID, ErrStale)
	}
	r.UpdatedAt = now
	switch {
	case r.ExportTaskID == taskID:
		r.Named = false
	case r.unseen(): // the provider knows better
		r.dropNamed()
	}
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
		r.Problem.clear()
		r.wantRead(ReadRender, now)
	}
	return nil
}

// PutBack has the submit step done again, by a new task due at notBefore. by is
// the token under which the caller recorded an intent that came to nothing (not
// sent, or refused in a way that passes), empty if it recorded none. A request
// that another run may have sent stays in doubt: only [Record.Lose] settles it.
// why may be none (a worker that stops).
func (r *Record) PutBack(now time.Time, by string, notBefore time.Time, why Problem) error {
	if err := r.may(EvPutBack); err != nil {
		return err
	}
	r.UpdatedAt = now
	own := r.settleIntent(by)
	if r.State == Canceled {
		return nil
	}
	if own || r.State != Submitting {
		r.State = Queued
	}
	r.Round++
	r.NotBefore = notBefore
	if !why.None() {
		r.Problem.note(now, why)
	}
	return nil
}

// Reject ends an export that the provider will never take; by is the token of the
// intent whose request was rejected. With none it ends one that can't be sent under
// its id.
func (r *Record) Reject(now time.Time, by string, why Problem) error {
	if err := r.may(EvReject); err != nil {
		return err
	}
	if !r.settleIntent(by) && (by != "" || r.State != Queued) {
		return r.otherIntent(by)
	}
	r.UpdatedAt = now
	if r.State != Canceled {
		r.State = Failed
		r.Problem.note(now, why)
	}
	return nil
}

// Lose settles a paid request whose answer was lost. by is the token of its
// intent, as the caller loaded it before it looked for a receipt. An export that is
// queued knows nothing of the request, which was sent, or perhaps sent, at the
// time: Redis was lost, or has gone back to before the intent, and only the worker
// that sent it, or S3, remembers. A canceled export stays in doubt until somebody
// takes it up again.
func (r *Record) Lose(now time.Time, by string, sent time.Time, policy Policy, why Problem) error {
	if err := r.may(EvLose); err != nil {
		return err
	}
	switch {
	case r.State == Queued && (by == "" || slices.Contains(r.Settled, by)):
		return fmt.Errorf("intent %q is settled: %w", by, ErrStale)
	case r.State == Queued:
		r.IntentAt, r.IntentBy = sent, by
	case by != r.IntentBy || !r.unsettled():
		return r.otherIntent(by)
	}
	r.UpdatedAt = now
	if r.State == Canceled {
		r.Problem.note(now, why)
		return nil
	}
	r.doubt(now, policy, why)
	return nil
}

// maxSettled bounds the tokens that are remembered of intents.
const maxSettled = 16

// Unsent notes the token of an intent that was written to S3, or may have been, and
// whose request was not sent, or not taken: it stands in nobody's way. It is no
// event: that holds whatever has become of the export meanwhile. One that was held for
// this intent alone, since nobody knew, waits in line again.
func (r *Record) Unsent(by string, written bool) {
	if by == "" {
		return
	}
	r.Receipt = ""
	if r.State == Held && r.Problem.Reason == ReasonAnswerLost && r.Doubts-r.DoubtsBefore == 1 && slices.Equal(r.Settled, []string{by}) {
		r.State, r.NotBefore = Queued, time.Time{}
		r.Doubts--
		r.Round++
		r.Problem.clear()
	}
	others := without(r.Settled, by)
	switch n := len(others); {
	case written && n > 0: // the last one may be newer: whoever wrote by may have been slow to say so
		r.Settled = []string{by, others[n-1]}
	case written:
		r.Settled = []string{by}
	case slices.Contains(r.Settled, by):
	case n == maxSettled:
		r.Settled = slices.Concat(others[:1], others[2:], []string{by}) // the first is the last that surely stood there
	default:
		r.Settled = slices.Concat(others, []string{by})
	}
}

// MaxDoubts is how many answers of an export's paid requests may be lost. Then a
// person decides, whatever the policy: each of the requests may have been charged.
const MaxDoubts = 3

func (r *Record) doubt(now time.Time, policy Policy, why Problem) {
	r.Doubts++
	r.settleIntent(r.IntentBy)
	r.Problem.note(now, why)
	open := r.Doubts - r.DoubtsBefore
	if policy == Hold || open >= MaxDoubts {
		r.State = Held
		return
	}
	r.State = Queued
	r.Round++
	r.NotBefore = now.Add(5 * time.Second << (2 * (open - 1))) // 5 s, 20 s
}

// Suspect reports whether an earlier paid request may have been charged, so that
// another one must not be sent into a provider that fails.
func (r *Record) Suspect() bool { return r.Doubts > r.DoubtsBefore && !r.accepted() }

// unsettled reports whether a paid request may be under way, or may have been
// taken without our knowing.
func (r *Record) unsettled() bool { return r.IntentBy != "" && !r.accepted() }

// settleIntent forgets the intent recorded by the token; it reports false if
// the current one is somebody else's.
func (r *Record) settleIntent(by string) bool {
	if by == "" || by != r.IntentBy {
		return false
	}
	r.IntentBy, r.Settled = "", []string{by}
	return true
}

func (r *Record) otherIntent(by string) error {
	return fmt.Errorf("intent %q, current is %q: %w", by, r.IntentBy, ErrStale)
}

// wantRead makes a status read due at the time: a new poll step.
func (r *Record) wantRead(why ReadReason, at time.Time) {
	r.Read = why
	r.Step++
	r.PollAt = at
}
