package view

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/export"
)

// Reader is who reads what is shown: what there is to do is said in the terms that
// the reader has.
type Reader int

// The readers.
const (
	CLI  Reader = iota // a person at a terminal, who may run commands
	HTTP               // a client of the HTTP API or the receiver of an event, who may not
)

// Sentence says in one sentence what is wrong with the export and, where there
// is something to do, what; empty if nothing is wrong.
func Sentence(r *export.Record, to Reader) string {
	p, _ := problemOf(r)
	if p.None() {
		return ""
	}
	text := sentence(r, p)
	if ofClip[p.Reason] {
		text = fmt.Sprintf("clip %d: %s", p.Clip, text)
	}
	if p.Reason == export.ReasonRenderFailed && r.ArchivedCount > 0 {
		text += fmt.Sprintf("; it had finished some before: %d of %d clips are archived, without a manifest", r.ArchivedCount, r.ClipCount)
	}
	if hint := hintOf(r, p).to(to); hint != "" {
		text += "; " + fill(hint, r, p)
	}
	return text
}

// sentences say what each reason means. What is in braces is a fact of the
// record or the problem, see [fill].
var sentences = map[export.Reason]string{
	export.ReasonProviderUnreachable: "the provider could not be reached{(detail)}",
	export.ReasonProviderUnavailable: "the provider is not available{(detail)}",
	export.ReasonRateLimited:         "the provider refused the request because a limit is reached{(detail)}",
	export.ReasonKeyRefused:          "the provider does not accept the API key of account {account}{(detail)}",
	export.ReasonOutOfUnits:          "account {account} is out of units{(detail)}",
	export.ReasonNotUnderstood:       "the provider's answer could not be understood{(detail)}",
	export.ReasonTaskUnknown:         "the provider says that it does not know task {task}, which it accepted at {submitted}{missing}",
	export.ReasonAccountUnknown:      "the export is to be ordered with account {account}, which the worker does not have",
	export.ReasonStorageUnavailable:  "S3 is not available, without which nothing is ordered{(detail)}",
	export.ReasonManifestNotWritten:  "the manifest could not be written{(detail)}",
	export.ReasonWorkerDied:          "the worker that carried it out died {count} times in a row{(detail)}",

	export.ReasonAnswerLost:        "a paid request was sent at {intent} and its answer was lost{(detail)}",
	export.ReasonRequestRejected:   "the provider refused the request{(detail)}",
	export.ReasonRenderFailed:      "the provider could not render the export: {detail or: no reason given}",
	export.ReasonNoClips:           "the provider says SUCCEEDED but lists no clip in {count} reads",
	export.ReasonClipsUnidentified: "{nameless} clips could not be archived, the other {saved} are: the provider gave them no usable idx in {count} reads",
	export.ReasonClipsFailed:       "{failed} of {clips} clips could not be archived ({cause})",
	export.ReasonDeadlinePassed:    "expired: {cause}; {saved} of {clips} clips were saved",
	export.ReasonStepGivenUp:       "a step was tried too often and given up{(detail)}",
	export.ReasonQueueDeadline:     "the Deadline that its producer gave its task in Asynq passed before a worker took it up",
	export.ReasonTaskMalformed:     "a task in the queue could not be understood{(detail)}",
	export.ReasonJobIDTaken:        "the id stands for a different request, which was paid for as task {detail or: that is not known}",
	export.ReasonJobIDAlike:        "this S3 takes the id for the same as {detail or: another one}, which was paid for",
	export.ReasonTaskTaken:         "the provider named task {task} for it, which belongs to another export{(detail)}",
	export.ReasonReceiptUnreadable: "it is not known whether it was paid for already{(detail)}",
	export.ReasonRecordUnreadable:  "what Redis holds under its id is no record{(detail)}",
	export.ReasonTaskNotFound:      "the provider knows no task {task} of the kind {kind}",
	export.ReasonTaskForeign:       "task {task}, which was named for it, has clips that were not ordered",
	export.ReasonRecordLost:        "Redis has lost this export, which was paid for",

	export.ReasonLinkRefused:    "its link is refused{(detail)}",
	export.ReasonLinkSame:       "its link is dead and the provider gave the same one again in {count} reads",
	export.ReasonLinkMissing:    "the provider says SUCCEEDED but gave no export link for it in {count} reads",
	export.ReasonLinkUnusable:   "{detail or: its link can't be used}",
	export.ReasonContentWrong:   "{detail or: what came is not the clip}",
	export.ReasonTransferFailed: "{detail or: its transfer failed}",
	export.ReasonTaskForgotten:  "the provider no longer knows the export",
	export.ReasonResultsUnread:  "its results could not be read any more{(detail)}",
}

// ofClip are the reasons that are one clip's.
var ofClip = map[export.Reason]bool{
	export.ReasonLinkRefused: true, export.ReasonLinkSame: true, export.ReasonLinkMissing: true,
	export.ReasonLinkUnusable: true, export.ReasonContentWrong: true, export.ReasonTransferFailed: true,
}

// hint says what to do, to each reader in other terms.
type hint struct{ cli, http string }

func (h hint) to(r Reader) string {
	if r == HTTP {
		return h.http
	}
	return h.cli
}

// same is a hint that names no command.
func same(text string) hint { return hint{text, text} }

// The hints that follow from the export's state.
var (
	hintHeld = hint{
		"look for an export of project {project} of {intent} on the provider's site, then run " +
			"`clipferry retry --submitted-as TASK_ID -- {id}` if it is there, or `clipferry retry --pay-again -- {id}` if it is not",
		"look for an export of project {project} of {intent} on the provider's site, then retry it " +
			"with {\"submitted_as\": \"TASK_ID\"} if it is there, or with {\"pay_again\": true} if it is not",
	}
	hintPayAgain = hint{
		"only a new paid export brings the rest: `clipferry retry --pay-again -- {id}`",
		"only a new paid export brings the rest: retry it with {\"pay_again\": true}",
	}
	hintFree = hint{
		"`clipferry retry -- {id}` submits it again",
		"it cost nothing: a retry submits it again",
	}
	hintCharged = hint{
		"it charged {units} units, so a new try must be asked for with `clipferry retry --pay-again -- {id}`",
		"it charged {units} units, so a new try must be asked for: retry it with {\"pay_again\": true}",
	}
	hintUnknownCharge = hint{
		"it did not say what it charged, so a new try must be asked for with `clipferry retry --pay-again -- {id}`",
		"it did not say what it charged, so a new try must be asked for: retry it with {\"pay_again\": true}",
	}
	hintImportOver = same("the task was made elsewhere, and what was not saved of it can be had there only")
	hintRetry      = hint{
		"`clipferry retry -- {id}` takes it up again where it stopped",
		"a retry takes it up again where it stopped",
	}
)

// hints say what to do about a failed export, and what helps against a reason that
// keeps an open one back. Of the others there is nothing to do, or only what
// follows from the state.
var hints = map[export.Reason]struct{ failed, open hint }{
	export.ReasonProviderUnreachable: {open: same("nothing was sent or charged, and it is tried again; if it lasts, check CLIPFERRY_API_BASE_URL, DNS and the network's way out")},
	export.ReasonProviderUnavailable: {open: same("it is tried again; if it lasts, look at the provider's status")},
	export.ReasonRateLimited: {open: same("it is tried again; if it goes on, another program uses the same key, or CLIPFERRY_API_REQUESTS_PER_MINUTE or " +
		"CLIPFERRY_API_MAX_ACTIVE_EXPORTS is above what the contract allows")},
	export.ReasonKeyRefused:         {open: same("nothing is spent until it does; check CLIPFERRY_API_KEY and the account on the provider's site")},
	export.ReasonOutOfUnits:         {open: same("its exports wait until it has some; buy units, or wait for the next period, on the provider's site")},
	export.ReasonNotUnderstood:      {open: same("it is tried again; if it lasts, the API has changed or CLIPFERRY_API_BASE_URL names something else")},
	export.ReasonAccountUnknown:     {open: same("see CLIPFERRY_API_KEYS")},
	export.ReasonTaskUnknown:        {open: same("it is read again")},
	export.ReasonStorageUnavailable: {open: same("it is tried again")},
	export.ReasonManifestNotWritten: {open: same("it is tried again")},
	export.ReasonWorkerDied:         {open: same("it is tried ever more seldom; see why in the workers' platform (memory?)")},
	export.ReasonLinkRefused:        {open: same("it is tried again, and the provider is asked for another one, until the deadline")},

	export.ReasonTaskNotFound: {failed: hint{
		"check its id, its kind (--kind) and whose key made it (--account), then import it again; a task is kept for some days only",
		"check its id, its kind and whose key made it (account), then import it again; a task is kept for some days only",
	}},
	export.ReasonRequestRejected: {failed: same("correct the request and enqueue it again, under another job_id if it has one")},
	export.ReasonNoClips: {failed: hint{
		"check the project on the provider's site, then run `clipferry retry -- {id}` to read it again",
		"check the project on the provider's site, then a retry reads it again",
	}},
	export.ReasonClipsUnidentified: {failed: hint{
		"fetch them on the provider's site, or `clipferry retry -- {id}` reads them again{until}",
		"fetch them on the provider's site, or a retry reads them again{until}",
	}},
	export.ReasonClipsFailed: {failed: hint{
		"`clipferry retry -- {id}` takes them up again{until}",
		"a retry takes them up again{until}",
	}},
	export.ReasonTaskMalformed: {failed: same("correct the producer and enqueue it again under another id")},
	export.ReasonJobIDAlike:    {failed: same("use a job_id that differs in more than upper and lower case")},
	export.ReasonJobIDTaken:    {failed: same("use another job_id")},
	export.ReasonReceiptUnreadable: {failed: hint{
		"see to the receipt, then `clipferry retry -- {id}`",
		"the receipt must be seen to first, then a retry goes on",
	}},
	export.ReasonRecordUnreadable: {open: hint{
		"something else writes to this Redis: see what is at its key with `redis-cli`, and remove it; `clipferry recover` brings back what was paid for",
		"the operator must see to it",
	}},
	export.ReasonRecordLost: {open: hint{
		"`clipferry recover` takes it up again",
		"it goes on once the operator has had it recovered; do not order it again",
	}},
}

// hintOf returns what to do about the export's problem.
func hintOf(r *export.Record, p export.Problem) hint {
	special := hints[p.Reason]
	switch {
	case r.State == export.Held:
		return hintHeld
	case r.State != export.Failed && r.State != export.Expired:
		return special.open
	case r.Imported() && (r.State == export.Expired || p.Reason == export.ReasonRenderFailed):
		return hintImportOver
	case r.State == export.Expired:
		return hintPayAgain
	}
	switch {
	case special.failed != hint{}:
		return special.failed
	case p.Reason != export.ReasonRenderFailed:
		return hintRetry
	case r.Free:
		return hintFree
	case r.CostUsage > 0:
		return hintCharged
	default:
		return hintUnknownCharge
	}
}

// sentence says what the problem is, without what to do about it.
func sentence(r *export.Record, p export.Problem) string {
	if p.None() {
		return ""
	}
	text := sentences[p.Reason]
	if text == "" { // of a later version
		text = string(p.Reason) + "{(detail)}"
	}
	return fill(text, r, p)
}

// causeOf says what led to the problem.
func causeOf(r *export.Record, p export.Problem) string {
	if p.Cause == nil || p.Cause.None() {
		return "the provider's deadline has passed"
	}
	text := sentence(r, *p.Cause)
	if ofClip[p.Cause.Reason] {
		text = fmt.Sprintf("clip %d: %s", p.Cause.Clip, text)
	}
	return text
}

// fill puts the facts into a text.
func fill(text string, r *export.Record, p export.Problem) string {
	if before, rest, found := strings.Cut(text, "{detail or: "); found {
		none, after, _ := strings.Cut(rest, "}")
		if p.Detail != "" {
			none = p.Detail
		}
		return before + none + after // such a sentence has no other facts
	}
	detail, until := "", ""
	if p.Detail != "" {
		detail = " (" + p.Detail + ")"
	}
	if !r.ExpireAt.IsZero() {
		until = " until " + at(r.ExpireAt)
	}
	account := r.Account
	if account == "" {
		account = "default"
	}
	facts := []string{
		"{(detail)}", detail, "{until}", until, "{account}", account, "{task}", cmp.Or(r.ExportTaskID, p.Detail), "{id}", r.ID, "{kind}", cmp.Or(string(r.Kind), string(export.TaskExport)),
		"{project}", strconv.Quote(r.ProjectID), "{submitted}", at(r.SubmittedAt), "{intent}", at(r.IntentAt),
		"{count}", strconv.Itoa(p.Count), "{nameless}", strconv.Itoa(r.Nameless), "{saved}", strconv.Itoa(r.ArchivedCount),
		"{missing}", missing(r), "{failed}", strconv.Itoa(r.FailedCount), "{clips}", strconv.Itoa(r.ClipCount),
		"{units}", strconv.FormatFloat(r.CostUsage, 'g', -1, 64),
	}
	if strings.Contains(text, "{cause}") {
		facts = append(facts, "{cause}", causeOf(r, p))
	}
	return strings.NewReplacer(facts...).Replace(text)
}

// missing names the clips that an export ended without, where they are loaded.
func missing(r *export.Record) string {
	var idx []string
	for _, i := range slices.Sorted(maps.Keys(r.Clips)) {
		if r.State.Final() && r.Clips[i].State != export.ClipArchived {
			idx = append(idx, strconv.Itoa(i))
		}
	}
	switch n := len(idx); {
	case n == 0:
		return ""
	case n > missingShown:
		idx = append(idx[:missingShown], "…")
	}
	return fmt.Sprintf(", and %d of %d clips were not saved: %s", r.ClipCount-r.ArchivedCount, r.ClipCount, strings.Join(idx, ", "))
}

// missingShown bounds how many clips a sentence names.
const missingShown = 20

func at(t time.Time) string { return t.UTC().Format(time.RFC3339) }
