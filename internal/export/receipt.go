package export

import "time"

// What a receipt in S3 may say of its export; see [Record.ReceiptDue].
const (
	ReceiptOpen     = "open"     // paid for, and not all is archived: recover takes it up
	ReceiptDone     = "done"     // the manifest stands
	ReceiptFailed   = "failed"   // the provider could not render it
	ReceiptExpired  = "expired"  // the provider no longer has it
	ReceiptCanceled = "canceled" // a person stopped it
)

// ReceiptDue returns what the export's receipt in S3 must say, and whether that
// has not been recorded as written yet. Of an export that was not accepted it says
// nothing but that it came to nothing. A receipt is closed, never removed: it also keeps a job id that comes
// again after a loss of Redis from being paid for twice.
func (r *Record) ReceiptDue() (says string, due bool) {
	if !r.accepted() && (len(r.Settled) == 0 || r.unsettled() || r.State != Failed && r.State != Canceled) {
		return "", false
	}
	if r.Named { // S3 still says that the request is in doubt
		return "", false
	}
	says = ReceiptOpen
	switch r.State {
	case Archived:
		says = ReceiptDone
	case Expired:
		says = ReceiptExpired
	case Canceled:
		says = ReceiptCanceled
	case Failed:
		if r.Outcome == RenderFailed || !r.accepted() || r.Problem.Reason == ReasonTaskNotFound {
			says = ReceiptFailed
		}
	}
	return says, says != r.Receipt
}

// ReceiptWritten records what the receipt in S3 says, as it was read there.
func (r *Record) ReceiptWritten(says string) { r.Receipt = says }

// ReceiptPut records that the task's receipt was written, by somebody who had
// loaded the record when its Receipts were seen. If others have written it
// since, nobody knows whose word stands in S3; unless all said the same, it is
// due again.
func (r *Record) ReceiptPut(task string, seen int, says string) {
	same := r.ExportTaskID == task && (r.Receipts == seen || r.Receipt == says)
	if !same {
		says = ""
	}
	r.Receipt = says
	r.Receipts++
}

// EndedAs puts a record that was rebuilt from its receipt into the state in which that says
// that the export ended, at the time. Why it did is not known any more. An archive is for
// [Record.Restore].
func (r *Record) EndedAs(says string, at time.Time) {
	const lost = "Redis was lost since, and with it the reason"
	var why Problem
	switch {
	case says == ReceiptCanceled:
		r.State = Canceled
	case says == ReceiptExpired:
		r.State, why = Expired, because(ReasonDeadlinePassed, Problem{Reason: ReasonRecordLost})
	case says == ReceiptFailed && r.accepted():
		r.State, r.Outcome, why = Failed, RenderFailed, Problem{Reason: ReasonRenderFailed, Detail: lost}
	case says == ReceiptFailed:
		r.State, why = Failed, Problem{Reason: ReasonRequestRejected, Detail: lost}
	default:
		return
	}
	r.Receipt, r.Read, r.FinishedAt = says, ReadNone, at
	r.Problem.clear()
	if !why.None() {
		r.Problem.note(at, why)
	}
}

// NeedsCare reports whether something still has to be done for the export: it
// is not final, or it is read until its slot is free, or its receipt is due.
func (r *Record) NeedsCare() bool {
	_, receipt := r.ReceiptDue()
	return !r.State.Final() || r.Read != ReadNone || receipt
}

// PastDeadline reports whether the provider has promised to have forgotten the
// export by now; without an expire_at its usual three days count.
func (r *Record) PastDeadline(now time.Time) bool {
	if r.ExpireAt.IsZero() {
		return now.Sub(r.SubmittedAt) > 72*time.Hour
	}
	return now.After(r.ExpireAt)
}

// NewUnreadable returns what is shown of an export whose record can't be read.
func NewUnreadable(id, why string) *Record {
	return &Record{ID: id, State: Unreadable, Problem: Problem{Reason: ReasonRecordUnreadable, Detail: truncate(why, maxDetail)}}
}

// NewFailed returns the record of an export that could not even be taken up,
// so that it is visible where exports are listed.
func NewFailed(id string, why Problem, now time.Time) *Record {
	r := New(id, nil, "", "", now)
	r.State = Failed
	r.Problem.note(now, why)
	return r
}
