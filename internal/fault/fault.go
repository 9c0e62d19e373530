// Package fault gives an error what a machine and an operator each need of it:
// a class that says what may be done next, and a sentence that says what to do.
//
// The packages that talk to the outside (the provider, a link, S3) return their
// failures as a [Fault]. Whoever knows more goes by more: what a failed request to
// the provider means is its kind, see package provider; that a link answered with
// the wrong bytes is an error in the chain. The class is for all others. A bug of
// ours is a plain error.
package fault

import (
	"errors"
	"time"
)

// Class says what may be done after a failure.
type Class string

const (
	// Retry means that the same action may succeed later, unchanged.
	Retry Class = "retry"
	// Terminal means that repeating the action cannot help, or may do harm; somebody
	// has to act.
	Terminal Class = "terminal"
	// LinkExpired means that the export link is dead and a fresh one must be asked for.
	LinkExpired Class = "link_expired"
)

// Fault is a failure with its class. Message is one sentence for the operator
// saying what went wrong; Hint, where there is something to do, says what.
// Neither ever holds a secret (an export link's query, a key).
type Fault struct {
	Class   Class
	Message string
	Hint    string
	// RetryAfter is what the other side asked us to wait, zero when it did not say.
	RetryAfter time.Duration
	// Err is the cause, for errors.Is and errors.As.
	Err error
}

// New returns a Fault of the class that wraps err, which may be nil.
func New(class Class, message string, err error) *Fault {
	return &Fault{Class: class, Message: message, Err: err}
}

// WithHint returns a copy of f that says what to do about it.
func (f *Fault) WithHint(hint string) *Fault {
	c := *f
	c.Hint = hint
	return &c
}

// Error is the whole chain, for logs.
func (f *Fault) Error() string {
	if f.Err == nil {
		return f.Message
	}
	return f.Message + ": " + f.Err.Error()
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// Sentence is the message and the hint, as an operator reads them.
func (f *Fault) Sentence() string {
	if f.Hint == "" {
		return f.Message
	}
	return f.Message + "; " + f.Hint
}

// ClassOf returns the class of err's first Fault. An error without one is
// Retry: what we don't understand must not end an export that was paid for.
func ClassOf(err error) Class {
	var f *Fault
	if errors.As(err, &f) {
		return f.Class
	}
	return Retry
}

// SentenceOf returns what an operator should read about err.
func SentenceOf(err error) string {
	if err == nil {
		return ""
	}
	var f *Fault
	if errors.As(err, &f) {
		return f.Sentence()
	}
	return err.Error()
}

// RetryAfterOf returns the wait that the other side asked for, or zero.
func RetryAfterOf(err error) time.Duration {
	var f *Fault
	if errors.As(err, &f) {
		return f.RetryAfter
	}
	return 0
}
