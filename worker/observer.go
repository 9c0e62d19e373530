package worker

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/queue"
)

// Observer watches the worker at work, for metrics and traces. It decides
// nothing: whatever it does, exports go the same way. Its methods must be quick
// and safe for concurrent use.
type Observer interface {
	// StepBegins hears of every run of a handler. The run goes on with the
	// context that it returns; the function is called when the run has ended.
	StepBegins(ctx context.Context, run Run) (context.Context, func(Outcome, error))
	// Trace returns the task headers by which later steps join ctx's trace, nil
	// without one.
	Trace(ctx context.Context) map[string]string
	// Requested hears of every turn that was spent on the provider.
	Requested(ctx context.Context, r Request)
	// Transferred hears of every attempt to carry a clip to S3.
	Transferred(ctx context.Context, t Transfer)
	// Changed hears of every change that the ledger took. Neither record may
	// be kept or altered; of the one before, the clips are not to be looked at.
	Changed(ctx context.Context, before, after *export.Record)
	// Faulted hears of every failure of a step, whatever follows from it.
	Faulted(ctx context.Context, step export.Kind, err error)
	// Swept hears of every sweep of the fleet's exports that this worker made.
	Swept(s Swept)
}

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

// Swept is what a sweep found.
type Swept struct {
	Took time.Duration
	Err  error
	// Open are the exports with a deadline that are not over yet.
	Open []Deadline
}

// Deadline is how an open export stands to its deadline.
type Deadline struct {
	State     export.State
	ExpireAt  time.Time
	ClipsLeft int // known and not archived yet
}

// noopObserver is the Observer of a worker that nobody observes.
type noopObserver struct{}

func (noopObserver) StepBegins(ctx context.Context, _ Run) (context.Context, func(Outcome, error)) {
	return ctx, func(Outcome, error) {}
}
func (noopObserver) Trace(context.Context) map[string]string                 { return nil }
func (noopObserver) Requested(context.Context, Request)                      {}
func (noopObserver) Transferred(context.Context, Transfer)                   {}
func (noopObserver) Changed(context.Context, *export.Record, *export.Record) {}
func (noopObserver) Faulted(context.Context, export.Kind, error)             {}
func (noopObserver) Swept(Swept)                                             {}

var errPanicked = errors.New("the handler panicked")

// instrumented reports every run of the handler to the observer.
func (w *Worker) instrumented(next asynq.Handler) asynq.Handler {
	return asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		ctx, ended := w.watch.StepBegins(ctx, runOf(ctx, t))
		err := errPanicked // unless it returns
		defer func() { ended(outcome(err), err) }()
		err = next.ProcessTask(ctx, t)
		return err
	})
}

func runOf(ctx context.Context, t *asynq.Task) Run {
	run := Run{Kind: kindOfTask(t.Type()), Headers: t.Headers()}
	run.TaskID, _ = asynq.GetTaskID(ctx)
	run.Queue, _ = asynq.GetQueueName(ctx)
	run.Retried, _ = asynq.GetRetryCount(ctx)
	s, _ := queue.Parse(run.TaskID, t.Type(), t.Payload())
	run.Export = s.ID
	return run
}

func outcome(err error) Outcome {
	switch {
	case err == nil:
		return Done
	case putOff(err):
		return PutOff
	default:
		return Failed
	}
}

// update is Ledger.Update, observed.
func (w *Worker) update(ctx context.Context, id string, change func(*export.Record) error) (*export.Record, error) {
	var before export.Record
	r, err := w.o.Ledger.Update(ctx, id, remember(&before, change))
	if err == nil {
		w.watch.Changed(ctx, &before, r)
	}
	return r, err
}

// updateClip is Ledger.UpdateClip, observed.
func (w *Worker) updateClip(ctx context.Context, id string, idx int, change func(*export.Record) error) (*export.Record, error) {
	var before export.Record
	r, err := w.o.Ledger.UpdateClip(ctx, id, idx, remember(&before, change))
	if err == nil {
		w.watch.Changed(ctx, &before, r)
	}
	return r, err
}

// remember keeps the record as it was before the change that is stored.
func remember(before *export.Record, change func(*export.Record) error) func(*export.Record) error {
	return func(r *export.Record) error {
		*before = *r
		return change(r)
	}
}

// deadline returns how the export stands to its deadline; false if it has none
// or is over.
func deadline(r *export.Record) (Deadline, bool) {
	if r.ExpireAt.IsZero() || r.State.Final() {
		return Deadline{}, false
	}
	return Deadline{
		State: r.State, ExpireAt: r.ExpireAt,
		ClipsLeft: max(0, r.ClipCount-r.ArchivedCount-r.FailedCount),
	}, true
}

// requested reports a request to the observer that was sent, or could not be.
func (w *Worker) requested(ctx context.Context, r *export.Record, kind budget.Kind, turn *budget.Turn, began time.Time, err error) {
	result := budget.Answered
	if err != nil {
		result = outcomeOf(err).Result
	}
	w.watch.Requested(ctx, Request{
		Account: w.accountName(r), Kind: kind, Result: result, Waited: turn.Waited(), Took: w.now().Sub(began), Err: err,
	})
}

// traceOf returns the headers by which later steps join the trace: the
// producer's, or, where it brought none, those of the run that took the export
// up. Other headers of a foreign producer are not carried along.
func (w *Worker) traceOf(ctx context.Context, headers map[string]string) map[string]string {
	if headers["traceparent"] == "" {
		return w.watch.Trace(ctx)
	}
	kept := map[string]string{}
	for _, name := range []string{"traceparent", "tracestate"} {
		if v := headers[name]; v != "" && len(v) <= 512 { // W3C's own limit
			kept[name] = v
		}
	}
	return kept
}

// kindOfTask returns the kind of step that an asynq task type stands for.
func kindOfTask(typename string) export.Kind {
	return export.Kind(strings.TrimPrefix(typename, "export:"))
}
