package worker

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/observe"
	"github.com/clipferry/clipferry/internal/queue"
)

// Observer watches the worker at work, for metrics and traces. It decides
// nothing: whatever it does, exports go the same way. Its methods must be quick
// and safe for concurrent use.
type Observer interface {
	// StepBegins hears of every run of a handler. The run goes on with the
	// context that it returns; the function is called when the run has ended.
	StepBegins(ctx context.Context, run observe.Run) (context.Context, func(observe.Outcome, error))
	// Trace returns the task headers by which later steps join ctx's trace, nil
	// without one.
	Trace(ctx context.Context) map[string]string
	// Requested hears of every turn that was spent on the provider.
	Requested(ctx context.Context, r observe.Request)
	// Transferred hears of every attempt to carry a clip to S3.
	Transferred(ctx context.Context, t observe.Transfer)
	// Changed hears of every change that the ledger took. Neither record may
	// be kept or altered; of the one before, the clips are not to be looked at.
	Changed(ctx context.Context, before, after *export.Record)
	// Faulted hears of every failure of a step, whatever follows from it.
	Faulted(ctx context.Context, step export.Kind, err error)
	// Swept hears of every sweep of the fleet's exports that this worker made.
	Swept(s observe.Sweep)
	// Verified hears now and then how far the verification of the archive is.
	Verified(v observe.Verification)
}

// noopObserver is the Observer of a worker that nobody observes.
type noopObserver struct{}

func (noopObserver) StepBegins(ctx context.Context, _ observe.Run) (context.Context, func(observe.Outcome, error)) {
	return ctx, func(observe.Outcome, error) {}
}
func (noopObserver) Trace(context.Context) map[string]string                 { return nil }
func (noopObserver) Requested(context.Context, observe.Request)              {}
func (noopObserver) Transferred(context.Context, observe.Transfer)           {}
func (noopObserver) Changed(context.Context, *export.Record, *export.Record) {}
func (noopObserver) Faulted(context.Context, export.Kind, error)             {}
func (noopObserver) Swept(observe.Sweep)                                     {}
func (noopObserver) Verified(observe.Verification)                           {}

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

func runOf(ctx context.Context, t *asynq.Task) observe.Run {
	run := observe.Run{Kind: kindOfTask(t.Type()), Headers: t.Headers()}
	run.TaskID, _ = asynq.GetTaskID(ctx)
	run.Queue, _ = asynq.GetQueueName(ctx)
	run.Retried, _ = asynq.GetRetryCount(ctx)
	s, _ := queue.Parse(run.TaskID, t.Type(), t.Payload())
	run.Export = s.ID
	return run
}

func outcome(err error) observe.Outcome {
	switch {
	case err == nil:
		return observe.Done
	case putOff(err):
		return observe.PutOff
	default:
		return observe.Failed
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
func deadline(r *export.Record) (observe.Deadline, bool) {
	if r.ExpireAt.IsZero() || r.State.Final() {
		return observe.Deadline{}, false
	}
	return observe.Deadline{
		State: r.State, ExpireAt: r.ExpireAt,
		ClipsLeft: max(0, r.ClipCount-r.ArchivedCount-r.FailedCount),
	}, true
}

// requested reports a request to the observer that was sent, or could not be.
func (w *Worker) requested(ctx context.Context, r *export.Record, kind budget.Kind, turn *budget.Turn, began time.Time, err error) {
	result := budget.Answered
	if err != nil {
		result = budget.OutcomeOf(err).Result
	}
	w.watch.Requested(ctx, observe.Request{
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
