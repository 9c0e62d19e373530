// Package observe says what a worker reports of its work: the facts that metrics
// and traces are made of. It is only types. The worker reports them to an observer
// that it is given, and telemetry is one, without knowing the worker.
package observe

import (
	"time"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
)

// Run is one run of a step's handler.
type Run struct {
	Kind    export.Kind
	Export  string // empty if the task is malformed
	TaskID  string
	Queue   string
	Retried int // how often asynq ran it before
	Headers map[string]string
}

// Outcome is how a run of a handler ended.
type Outcome string

// The outcomes of a run.
const (
	Done   Outcome = "done"    // the step is over, or was so already
	PutOff Outcome = "put_off" // another run goes on with it; no failure
	Failed Outcome = "failed"  // asynq tries again, or gives up
)

// Request is one request to the provider.
type Request struct {
	Account string
	Passed  bool // for a client that passes calls through, not for an export
	Kind    budget.Kind
	Result  budget.Result
	Waited  time.Duration // for its turn
	Took    time.Duration
	Err     error
}

// Transfer is one attempt to carry a clip from its link to S3.
type Transfer struct {
	Clip  int
	Bytes int64 // of the proven object, 0 after a failure
	// Fetched are those that this attempt read from the link: fewer than Bytes if
	// it went on where an earlier one was cut.
	Fetched int64
	Took    time.Duration
	Err     error
}

// Sweep is what a sweep of the fleet's exports found.
type Sweep struct {
	Took time.Duration
	Err  error
	// Open are the exports with a deadline that are not over yet.
	Open []Deadline
}

// Verification is how far the rolling verification of the archive is.
type Verification struct {
	Every time.Duration // a round takes
	// Oldest is since when some part of the archive was not verified; zero where that
	// is not known.
	Oldest   time.Time
	BadFiles int
}

// Deadline is what an open export has left to do before its deadline.
type Deadline struct {
	State     export.State
	ExpireAt  time.Time
	ClipsLeft int // known and not archived yet
}
