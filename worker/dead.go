package worker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/tasks"
)

// malformed ends a task that nobody can carry out. A submit also leaves a
// failed export behind, so that it is seen where exports are looked at.
func (w *Worker) malformed(ctx context.Context, taskID, id string, cause error) error {
	if id == "" {
		sum := sha256.Sum256([]byte(taskID))
		id = "malformed-" + hex.EncodeToString(sum[:8])
	}
	why := export.Problem{Reason: export.ReasonTaskMalformed, Detail: fmt.Sprintf("TaskID %.200q: %s", taskID, fault.SentenceOf(cause))}
	if err := w.fail(ctx, export.NewFailed(id, why, w.now())); err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", asynq.SkipRetry, cause)
}

// givenUp says why a step ends. late: its Deadline passed, and asynq never calls a
// handler for it.
func givenUp(d queue.DeadLetter, late bool) export.Problem {
	if late {
		return export.Problem{Reason: export.ReasonQueueDeadline}
	}
	return export.Problem{Reason: export.ReasonStepGivenUp, Detail: d.ID + ": " + cmp.Or(d.Why, "archived by hand")}
}

// giveUp records in the ledger that a step will not be tried again by asynq.
// Only the step that is due counts: one that came late is nobody's loss.
func (w *Worker) giveUp(ctx context.Context, d queue.DeadLetter, late bool) error {
	id := d.Export()
	if id == "" {
		return nil
	}
	r, err := w.o.Ledger.LoadHead(ctx, id)
	if errors.Is(err, ledger.ErrUnknown) {
		return w.failBeforeRecorded(ctx, d, late)
	}
	if err != nil {
		return err
	}
	if r.State.Final() && r.Read == export.ReadNone {
		// Nothing is due; most dead letters are such, looked at every minute. But
		// whoever recorded the end may have died before notifying anybody.
		return w.notify(ctx, r)
	}
	r, err = w.o.Ledger.Load(ctx, id)
	if errors.Is(err, ledger.ErrUnknown) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, due := d.Due(r); !due {
		return nil
	}
	w.log.Error("a step was given up", logkey.Export, id, logkey.Task, d.ID, logkey.Why, d.Why)
	r, err = w.update(ctx, id, func(r *export.Record) error {
		step, due := d.Due(r)
		if !due {
			return export.ErrStale
		}
		why := givenUp(d, late)
		if n := r.TimesTakenOver(step); n > 1 && !late { // and more often since
			why.Reason, why.Count = export.ReasonWorkerDied, n
		}
		if step.Kind == export.StepMirror { // the other clips go on
			return r.ClipFail(w.now(), step.Clip, step.N, why)
		}
		return r.Fail(w.now(), why)
	})
	if refused(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return w.followUp(ctx, r)
}

// failBeforeRecorded records a dead submit whose export has no record, as a failed one:
// asynq gave it up before any worker did, because its Deadline passed in the
// queue or a person archived it. A dead letter may also outlive its record:
// that has been seen, and is let go.
func (w *Worker) failBeforeRecorded(ctx context.Context, d queue.DeadLetter, late bool) error {
	died := d.Died
	if at := queue.EnqueuedAt(d.Headers); at.After(died) {
		died = at
	}
	if d.Type != tasks.TypeSubmit || !died.IsZero() && w.now().Sub(died) > w.o.Ledger.Retention() {
		return nil
	}
	s, err := queue.Parse(d.ID, d.Type, d.Payload)
	if err != nil {
		if err := w.malformed(ctx, d.ID, s.ID, err); !errors.Is(err, asynq.SkipRetry) {
			return err
		}
		return nil
	}
	if !s.RequestGiven {
		return nil
	}
	s.Queue = d.Queue
	r := queue.NewRecord(s, d.Headers, w.o.Ledger.Retention(), w.now())
	r.Trace = w.traceOf(ctx, d.Headers)
	if err := r.Fail(w.now(), givenUp(d, late)); err != nil {
		return err
	}
	return w.fail(ctx, r)
}

// fail gives an export that failed before it had a record one.
func (w *Worker) fail(ctx context.Context, r *export.Record) error {
	created, err := w.o.Ledger.Create(ctx, r)
	if err != nil || !created {
		return err
	}
	w.log.Error("an export failed before it was taken up", logkey.Export, r.ID, logkey.Reason, r.Problem.Reason, logkey.Why, r.Problem.Detail)
	w.watch.Changed(ctx, &export.Record{}, r)
	return w.followUp(ctx, r)
}

// recordDeadLetters records what asynq archived by itself: a task whose worker died
// too often never reaches a handler again, and asynq trims its archive silently.
func (w *Worker) recordDeadLetters(ctx context.Context) error {
	var faults []error
	for _, name := range w.queues(ctx) {
		for d, err := range w.queue.Dead(ctx, name) {
			if err == nil {
				err = w.giveUp(ctx, d, false)
			}
			if err != nil {
				faults = append(faults, err)
			}
		}
	}
	return errors.Join(faults...)
}
