package export

import (
	"strings"
	"time"
)

// Reason says to a machine what is wrong with an export or a clip. The codes
// are part of the outside contract: one is added, never renamed. The sentences
// for people are made where they are shown, see package view.
type Reason string

// What keeps an open export back. It is tried again, or the account waits.
const (
	ReasonProviderUnreachable Reason = "provider_unreachable" // nothing was sent
	ReasonProviderUnavailable Reason = "provider_unavailable" // it answers that it can't, or nothing
	ReasonRateLimited         Reason = "rate_limited"         // too many requests, or exports at once
	ReasonKeyRefused          Reason = "key_refused"          // the account's API key is not accepted
	ReasonOutOfUnits          Reason = "out_of_units"         // the account has nothing left to spend
	ReasonNotUnderstood       Reason = "not_understood"       // the provider's answer has an unknown form
	ReasonTaskUnknown         Reason = "task_unknown"         // the provider doesn't know the task that it accepted
	ReasonAccountUnknown      Reason = "account_unknown"      // the worker doesn't have the export's account
	ReasonStorageUnavailable  Reason = "storage_unavailable"  // S3 fails, without which nothing is ordered
	ReasonManifestNotWritten  Reason = "manifest_not_written"
	ReasonWorkerDied          Reason = "worker_died" // with the step, several times in a row
)

// What ended an export, or left it to a person.
const (
	ReasonAnswerLost        Reason = "answer_lost"        // a paid request was sent and its answer lost
	ReasonRequestRejected   Reason = "request_rejected"   // the provider will never take it
	ReasonRenderFailed      Reason = "render_failed"      // the provider could not render it
	ReasonNoClips           Reason = "no_clips"           // the provider says SUCCEEDED and lists no clip
	ReasonClipsUnidentified Reason = "clips_unidentified" // the provider gave some clips no usable idx
	ReasonClipsFailed       Reason = "clips_failed"       // some clips can't be archived; the cause is that of the last
	ReasonDeadlinePassed    Reason = "deadline_passed"    // the provider no longer keeps the clips
	ReasonStepGivenUp       Reason = "step_given_up"      // a task was tried too often
	ReasonQueueDeadline     Reason = "queue_deadline_passed"
	ReasonTaskMalformed     Reason = "task_malformed"     // a task in the queue can't be understood
	ReasonJobIDTaken        Reason = "job_id_taken"       // the id stands for another request, which was paid for
	ReasonJobIDAlike        Reason = "job_id_alike"       // S3 takes the id for the same as another one
	ReasonTaskTaken         Reason = "task_taken"         // the provider named a task that is another export's
	ReasonReceiptUnreadable Reason = "receipt_unreadable" // nobody can tell whether it was paid for already
	ReasonRecordUnreadable  Reason = "record_unreadable"  // Redis holds something else under its id
	ReasonTaskNotFound      Reason = "task_not_found"     // the provider knows no such task as was to be taken up
	ReasonTaskForeign       Reason = "task_foreign"       // the task that a person named has clips that were not ordered
	ReasonRecordLost        Reason = "record_lost"        // Redis has lost an export that was paid for
)

// What is wrong with a clip.
const (
	ReasonLinkRefused    Reason = "link_refused"     // the link's server refuses it; it is tried again, and asked about
	ReasonLinkSame       Reason = "link_same"        // of records of before 1.0: a refused link was given again too often
	ReasonLinkMissing    Reason = "link_missing"     // the provider says SUCCEEDED and gives no link
	ReasonLinkUnusable   Reason = "link_unusable"    // it leads where no clip may come from
	ReasonContentWrong   Reason = "content_wrong"    // what came is not the whole clip
	ReasonTransferFailed Reason = "transfer_failed"  // reading the link or writing to S3 failed
	ReasonTaskForgotten  Reason = "task_forgotten"   // the provider no longer knows the export
	ReasonResultsUnread  Reason = "results_not_read" // the results could not be read until the deadline
)

// Reasons lists every reason, for metrics: a series that appears with its first
// event hides that.
func Reasons() []Reason {
	return []Reason{
		ReasonProviderUnreachable, ReasonProviderUnavailable, ReasonRateLimited, ReasonKeyRefused, ReasonOutOfUnits,
		ReasonNotUnderstood, ReasonTaskUnknown, ReasonAccountUnknown, ReasonStorageUnavailable, ReasonManifestNotWritten, ReasonWorkerDied,
		ReasonAnswerLost, ReasonRequestRejected, ReasonRenderFailed, ReasonNoClips, ReasonClipsUnidentified,
		ReasonClipsFailed, ReasonDeadlinePassed, ReasonStepGivenUp, ReasonQueueDeadline, ReasonTaskMalformed,
		ReasonJobIDTaken, ReasonJobIDAlike, ReasonTaskTaken, ReasonReceiptUnreadable, ReasonRecordUnreadable, ReasonRecordLost, ReasonTaskNotFound, ReasonTaskForeign,
		ReasonLinkRefused, ReasonLinkSame, ReasonLinkMissing, ReasonLinkUnusable, ReasonContentWrong,
		ReasonTransferFailed, ReasonTaskForgotten, ReasonResultsUnread,
	}
}

// Problem is what is wrong with an export or a clip: a code and the facts that
// the record doesn't hold already. It never holds a secret, nor advice.
type Problem struct {
	Reason Reason `json:"reason"`
	// Detail is what the other side said, or what exactly failed.
	Detail string `json:"detail,omitempty"`
	// TraceID is what the provider's support asks for, where it gave one.
	TraceID string `json:"trace_id,omitempty"`
	// Count is how many reads led to it, where that says something.
	Count int `json:"count,omitempty"`
	// Clip is the index of the clip that the reason, or its cause, is about.
	Clip int `json:"clip,omitempty"`
	// Cause is what led to the reason, where that is a problem of its own.
	Cause *Problem `json:"cause,omitempty"`
	// Since is when it began; a problem that comes again and again keeps it.
	Since time.Time `json:"since,omitzero"`
}

// None reports whether nothing is wrong.
func (p Problem) None() bool { return p.Reason == "" }

// of returns the problem with the index of its clip.
func (p Problem) of(clip int) Problem {
	p.Clip = clip
	return p
}

// because returns a problem that has another for its cause.
func because(reason Reason, cause Problem) Problem {
	cause.Since = time.Time{}
	return Problem{Reason: reason, Cause: &cause}
}

// maxDetail bounds what a record keeps of others' words, in bytes: lists hold many.
const maxDetail = 1 << 10

// truncate cuts a text to at most n bytes, and marks that.
func truncate(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n-len("…")], "") + "…"
}

// note replaces a problem by the one that was met at the time. The same reason
// goes on since it began.
func (p *Problem) note(now time.Time, met Problem) {
	met.Since = now
	met.Detail = truncate(met.Detail, maxDetail)
	if p.Reason == met.Reason && !p.Since.IsZero() {
		met.Since = p.Since
	}
	*p = met
}

// clear says that nothing is wrong any more.
func (p *Problem) clear() { *p = Problem{} }
