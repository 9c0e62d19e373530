package provider

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/fault"
)

// Kind says what a failure means. It is the only classification of the provider's
// failures: what the budget counts, what a step does next and what a person reads
// follow from it, by one table each.
//
//	kind              submits reads  what happened                          charged  at fault
//	NotSent           x       x      nothing left this machine              no       the network
//	InDoubt           x              sent; what came of it is unknown       maybe    -
//	AcceptedUnknown   x              accepted; the answer names no task     yes      the API, or its change
//	RateLimited       x       x      429, from whomever                     no       the account, for now
//	Forbidden         x       x      the API's own 401 or 403               no       the account
//	OutOfUnits        x       x      402, or a refusal in words of units    no       the account
//	Rejected          x       x      any other refusal of the API's own     no       the request, if Specific
//	NotFound                  x      the API's own 404 or 410               -        the task
//	Unavailable               x      no answer, 5xx, a page of a gateway    -        the provider
//	NotUnderstood             x      an answer of another shape             -        the API, or its change
//
// An answer is the API's own if it has one of the API's shapes, see isOwn. To a
// submit, anything else but a 429 is [InDoubt], whatever its status: a gateway's
// error says that the answer behind it was lost, not that nothing happened, and a
// 5xx of the API's own may follow the charge, as may a 409, a 423, or a code in an
// answer with a good status that does not clearly refuse. A whole answer with a status
// of 2xx that can't be read, a page or nothing included, is [AcceptedUnknown].
type Kind string

const (
	// NotSent means that the request provably never left: nothing happened.
	NotSent Kind = "not_sent"
	// InDoubt means that a submit was, or may have been, sent and its outcome is
	// unknown: an export may have been created and charged.
	InDoubt Kind = "in_doubt"
	// AcceptedUnknown means that a submit was answered with a success that can't be
	// read: an export was created and charged, and nobody knows its id.
	// [Error].Answer has the answer. Every further submit would be paid for likewise.
	AcceptedUnknown Kind = "accepted_unknown"
	// RateLimited is a 429: too many requests or too many exports at once, the
	// provider doesn't say which.
	RateLimited Kind = "rate_limited"
	// Forbidden means that the key, or the version header, is not accepted.
	Forbidden Kind = "forbidden"
	// OutOfUnits means that the account has nothing left to pay with.
	OutOfUnits Kind = "out_of_units"
	// NotFound means that the task is unknown, or forgotten.
	NotFound Kind = "not_found"
	// Rejected means that the request is refused. Only where [Error].Specific is
	// set does the refusal say that it is about this request.
	Rejected Kind = "rejected"
	// Unavailable means that a read had no answer, or none from the API.
	Unavailable Kind = "unavailable"
	// NotUnderstood means that the answer to a read is not of the shape that the API
	// page gives: nothing can be said of the task, and nothing about it is over.
	NotUnderstood Kind = "not_understood"
)

const (
	opSubmit = "submit"
	opRead   = "read"
)

// Error is a failed call to the provider. It never holds the key.
type Error struct {
	Kind Kind
	// Op is "submit" or "read".
	Op string
	// Status is the HTTP status, zero if there was no answer.
	Status int
	// Code is the envelope's code where that was the error, else empty.
	Code string
	// Message is what the provider said, or what is wrong with its answer: one
	// line, bounded, without control characters.
	Message string
	// TraceID is what the provider's support asks for, empty if it gave none.
	TraceID string
	// Specific is set where a refused submit names a field, a value or the project
	// of the request, so that it is the request's own fault. Any other refusal may
	// be the account's, in words that nobody here knows.
	Specific bool
	// Unsure is set where one word alone says that the account is out of units, which
	// may be about the request as well.
	Unsure bool
	// Foreign is set where something answers that is not the API.
	Foreign bool
	// Answer is what an answer that is not understood says: one line of a few KB,
	// without our key; empty for the other kinds.
	Answer string
	// RetryAfter is what the provider asked us to wait, at most 10 minutes.
	RetryAfter time.Duration
	// Err is the cause where there is one.
	Err error
}

// Error is for logs; operators read the fault around it.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.Op, e.Kind)
	if e.Status != 0 {
		fmt.Fprintf(&b, ": status %d", e.Status)
	}
	if e.Code != "" {
		fmt.Fprintf(&b, ": code %s", e.Code)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.TraceID != "" {
		b.WriteString(": trace_id " + e.TraceID)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Detail is what there is to say beside the kind: the provider's words or what is
// wrong with its answer, else the status, and the trace_id. Empty if there is nothing.
func (e *Error) Detail() string {
	var parts []string
	switch {
	case e.Message != "":
		parts = append(parts, e.Message)
	case e.Status >= 300:
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))))
	}
	if e.TraceID != "" {
		parts = append(parts, "trace_id "+e.TraceID)
	}
	return strings.Join(parts, ", ")
}

// KindOf returns the kind of err's first *Error, or the empty one.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

// verdict is what a kind means to the worker and to the operator.
type verdict struct {
	class    fault.Class
	sentence string
	hint     string
}

var verdicts = map[Kind]verdict{
	NotSent: {
		fault.Retry, "the provider could not be reached",
		"nothing was sent or charged; it is tried again. If it lasts, check CLIPFERRY_API_BASE_URL, DNS and the network's way out",
	},
	InDoubt: {
		fault.Terminal, "the submit was sent and its outcome is unknown",
		"the provider may have created and charged this export; look for it on the provider's site",
	},
	AcceptedUnknown: {
		fault.Terminal, "the provider accepted the submit, but its answer names no export task",
		"the export is charged: find its task on the provider's site, the answer is kept with the export",
	},
	RateLimited: {
		fault.Retry, "the provider refused the request because a limit is reached",
		"it is tried again. If it goes on, another program uses the same key, or CLIPFERRY_API_REQUESTS_PER_MINUTE or CLIPFERRY_API_MAX_ACTIVE_EXPORTS is above what the contract allows",
	},
	Forbidden: {
		fault.Retry, "the provider doesn't accept the API key",
		"check CLIPFERRY_API_KEY and the account on the provider's site; it is tried again",
	},
	OutOfUnits: {
		fault.Retry, "the provider refused the request because the account has no units left",
		"buy API units or change the plan on the provider's site; it is tried again",
	},
	NotFound: {
		fault.Retry, "the provider doesn't know this export task",
		"it has expired, or it belongs to another key",
	},
	Rejected: {
		fault.Terminal, "the provider refused the request",
		"correct the request and enqueue it again, under another job_id if it has one",
	},
	Unavailable: {
		fault.Retry, "the provider is not available",
		"it is tried again; if it lasts, look at the provider's status",
	},
	NotUnderstood: {
		fault.Retry, "the provider's answer could not be understood",
		"it is tried again; if it lasts, the API has changed or CLIPFERRY_API_BASE_URL names something else",
	},
}

// refusedRead is the hint where it is not an export that is refused but a read of
// one that is paid for: to enqueue it again would be to pay again.
const refusedRead = "the export is paid for and read again until its deadline; if it lasts, look at it on the provider's site"

// faultOf puts e into the fault that the worker and the operator get.
func faultOf(e *Error) *fault.Fault {
	v := verdicts[e.Kind]
	message := v.sentence
	if detail := e.Detail(); detail != "" {
		message += " (" + detail + ")"
	}
	hint := v.hint
	if e.Kind == Rejected && e.Op == opRead {
		hint = refusedRead
	}
	f := fault.New(v.class, message, e).WithHint(hint)
	f.RetryAfter = e.RetryAfter
	return f
}

// lostAnswer is the failure of a request without any answer.
func (c *Client) lostAnswer(op string, err error, unsent bool) *Error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the address says nothing new, and may be long
	}
	e := &Error{Kind: Unavailable, Op: op, Message: "no answer", Err: c.redact(err)}
	switch {
	case unsent:
		e.Kind, e.Message = NotSent, ""
	case op == opSubmit:
		e.Kind = InDoubt
	}
	return e
}
