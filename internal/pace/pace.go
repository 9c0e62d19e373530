// Package pace decides how the provider's scarce requests are spent: whether a
// request may go now, whose turn it is, and which of the exports being rendered
// is worth asking about next.
//
// It is pure. A [State] is a value; every decision is a function of the state
// and of a moment that the caller names. There are no goroutines, no clock, no
// randomness and no Redis in here: package budget keeps the state for a fleet
// and drives it, and the benchmark drives the very same code through virtual
// hours.
//
// # The order of the gate
//
// When a request may be sent, it goes to the first of these that waits:
//
//  1. an export that waits for its submit, if a slot is free (and if it has
//     something to prepare, once it has had a slot and has prepared);
//  2. a fresh link, once half of the time left to its deadline has passed;
//  3. the export that was not read for the longest time, beyond [Gap];
//  4. the read with the largest index (see index.go), if it is worth a request.
//
// Which export that is, where several tenants' wait: see shares.go.
// Beside exports goes what clients of the HTTP API pass through: see passed.go.
//
// While exports wait, a read leaves one request in reserve: the read that sees
// a render end frees its slot, and the submit that refills it goes out at once.
//
// Where slots are more than enough for what the requests can start, it is requests
// that are scarce, and nobody waits for a slot: then submits come last, and an end is
// seen soon.
//
// # What halts the account
//
// Some failures are the account's and end no export: halt.go says after which
// answers spending stops, of everything or of exports alone, and how it is found
// out that it may go on.
//
// # What is never exceeded
//
// The credit (credit.go) is counted so that no provider that limits by calendar
// minute, by sliding minute, or by a bucket of two and more sees one request
// too many, whatever the latency of the network: a request counts from before
// it is sent, and its minute begins when it was answered.
package pace

import (
	"math"
	"time"
)

// Instant is a moment in microseconds since the Unix epoch, on the clock of
// whoever keeps the state (Redis's own, for a fleet). Zero means "not set".
type Instant int64

// Never is later than every moment: only an event can end the wait, not time.
const Never Instant = math.MaxInt64

// At converts t.
func At(t time.Time) Instant {
	if t.IsZero() {
		return 0
	}
	return Instant(t.UnixMicro())
}

// Time converts i; an unset moment is the zero time.
func (i Instant) Time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(i))
}

// Add returns the moment d after i.
func (i Instant) Add(d time.Duration) Instant {
	if i == Never {
		return Never
	}
	return i + Instant(d.Microseconds())
}

// Sub returns the time from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i-j) * time.Microsecond }

// Kind is what a request is for.
type Kind int

// The kinds of requests. They share one limit.
const (
	Submit  Kind = iota // start an export; takes a slot
	Read                // ask how a render is doing
	Refresh             // ask for fresh links of an export
	Other               // what a client passes through and takes no slot
)

// Kinds are all kinds, in their order.
var Kinds = [...]Kind{Submit, Read, Refresh, Other}

// String names the kind as metrics and status do.
func (k Kind) String() string {
	switch k {
	case Submit:
		return "submit"
	case Read:
		return "read"
	case Refresh:
		return "refresh"
	case Other:
		return "other"
	}
	return "unknown"
}

// Priority is the producer's wish about the order in which exports start.
type Priority int

// The priorities. They shift an export's place in line by a fixed time (see
// [Priority.Shift]), so that nothing waits for ever behind what is urgent.
const (
	Low    Priority = -1
	Normal Priority = 0
	High   Priority = 1
)

// Shift is by how much the export's arrival counts as later than it was.
func (p Priority) Shift() time.Duration {
	switch {
	case p > Normal:
		return -30 * time.Minute
	case p < Normal:
		return 2 * time.Hour
	}
	return 0
}

// Result is how a request ended.
type Result int

// The results of a request.
const (
	Answered      Result = iota // the provider answered it
	Refused                     // 429
	Forbidden                   // 401 or 403: the key itself is refused
	OutOfUnits                  // a submit was refused because the account has no units left
	NotUnderstood               // answered, perhaps accepted, but not in a way that is understood
	Failed                      // 5xx, or the answer to a read was lost
	NotSent                     // nothing left this machine; the credit is returned
	InDoubt                     // a submit was sent and its outcome is unknown
)

// Outcome is what a request brought.
type Outcome struct {
	Result Result
	// Neutral says that the answer is about this one call, and says nothing of the account
	// nor of the provider: it neither halts spending nor ends a halt.
	Neutral bool
	// RetryAfter is what a refusal asked us to wait, zero if it did not say.
	RetryAfter time.Duration
	// Accepted, of a submit: the provider took it, the slot stays.
	Accepted bool
	// Unspecific, of a submit that is answered and not accepted, or out of units: the
	// refusal may be the account's fault.
	Unspecific Refusal
	// Ended, of a read: the render is over, the slot is free. Succeeded says how.
	Ended, Succeeded bool
	// Odd, of a read: its answer has a form that nobody knows, and would have for
	// every further export. Status is the status, where it is that.
	Odd    bool
	Status string
	// Imported, of a read: the task was made elsewhere, so its form says nothing of what
	// orders lead to.
	Imported bool
	// Clips and ClipsReady count the clips of an answer, Seconds and
	// SecondsReady their lengths in seconds of video; zero where unknown.
	Clips, ClipsReady     int
	Seconds, SecondsReady float64
}
