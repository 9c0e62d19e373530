package provider

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/retry"
)

// Kind says what a failure means for the export.
type Kind string

const (
	// NotSent means that the request provably never left: nothing happened.
	NotSent Kind = "not_sent"
	// InDoubt means that a submit was (or may have been) sent and its answer lost or
	// useless: an export may have been created and charged. Only Submit returns it.
	InDoubt Kind = "in_doubt"
	// RateLimited is a 429: too many requests or too many exports at once, the
	// provider doesn't say which.
	RateLimited Kind = "rate_limited"
	// Forbidden is a 401 or 403: the key, or the version header, is not accepted.
	Forbidden Kind = "forbidden"
	// NotFound is the API's 404 or 410 on a read: the task is unknown, or forgotten.
	NotFound Kind = "not_found"
	// Rejected is any other 4xx, or a submit answered with an error code: the
	// request itself is refused and will be again.
	Rejected Kind = "rejected"
	// Unavailable is a 5xx, a redirect, a "not found" that isn't the API's own, or a
	// read without an answer.
	Unavailable Kind = "unavailable"
	// Malformed is an answer to a read that can't be understood.
	Malformed Kind = "malformed"
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
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

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
		fault.InDoubt, "the submit was sent but its answer was lost",
		"the provider may have created and charged this export; look for it on the provider's site",
	},
	RateLimited: {
		fault.Retry, "the provider refused the request because a limit is reached",
		"it is tried again. If it goes on, another program uses the same key, or CLIPFERRY_API_REQUESTS_PER_MINUTE or CLIPFERRY_API_MAX_ACTIVE_EXPORTS is above what the contract allows",
	},
	Forbidden: {
		fault.Retry, "the provider doesn't accept the API key",
		"check CLIPFERRY_API_KEY and the account on the provider's site; it is tried again",
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
	Malformed: {
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
	detail := e.Message
	if detail == "" && e.Status >= 300 {
		detail = strings.TrimSpace(fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status)))
	}
	if detail != "" {
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
		e.Kind, e.Message = InDoubt, ""
	}
	return e
}

// refusal is the failure that a status other than 2xx means. The status decides,
// so that a body which is lost changes nothing; but a page of HTML that says "not
// found" is from a gateway (being reconfigured, or at a wrong address), not from
// the API, and must fail no export.
func (c *Client) refusal(op string, resp *http.Response, body []byte) *Error {
	e := &Error{
		Kind: kindOfStatus(op, resp.StatusCode), Op: op, Status: resp.StatusCode,
		Message: c.messageIn(body), RetryAfter: retry.After(resp.Header, time.Now(), maxRetryAfter),
	}
	if (e.Kind == Rejected || e.Kind == NotFound) && foreign(resp.StatusCode, body) {
		e.Kind = Unavailable
		e.Message = fmt.Sprintf("something that is not the API answers %d; if it lasts, check CLIPFERRY_API_BASE_URL", resp.StatusCode)
	}
	if resp.StatusCode < 400 {
		e.Message = "it answers with a redirect, which is not followed; set CLIPFERRY_API_BASE_URL to the address it now has"
		if u, err := resp.Location(); err == nil {
			e.Message += ", perhaps " + c.clean(u.Scheme+"://"+u.Host)
		}
	}
	return e
}

// foreign reports whether the answer that a path doesn't exist is not the API's own.
func foreign(status int, body []byte) bool {
	switch status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone:
		body = bytes.TrimSpace(body)
		return len(body) > 0 && body[0] != '{'
	}
	return false
}

// kindOfStatus classes a status other than 2xx. A gateway's 502 or 504 says that
// the answer behind it was lost, not that nothing happened; likewise the 52x
// statuses of a CDN. A 303 is what a server sends after it has acted.
func kindOfStatus(op string, status int) Kind {
	if op == opSubmit {
		switch status {
		case http.StatusSeeOther, http.StatusBadGateway, http.StatusGatewayTimeout, 499, 520, 522, 524, 598, 599:
			return InDoubt
		}
	}
	switch {
	case status == http.StatusTooManyRequests:
		return RateLimited
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return Forbidden
	case op == opRead && (status == http.StatusNotFound || status == http.StatusGone):
		return NotFound
	case status == http.StatusRequestTimeout || status == http.StatusTooEarly || status == 499:
		return Unavailable
	case status >= 400 && status < 500:
		return Rejected
	}
	return Unavailable
}
