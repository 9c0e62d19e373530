package worker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

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
	again := "enqueue it again"
	if taskID == tasks.SubmitTaskID(id) { // which is used up
		again += " under another id"
	}
	why := fmt.Sprintf("a task in the queue could not be understood (TaskID %.200q): %s; mend the producer and %s",
		taskID, fault.SentenceOf(cause), again)
	if err := w.fail(ctx, export.NewFailed(id, why, w.now())); err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", asynq.SkipRetry, cause)
}

// deadTask is a task that asynq will not try again.
type deadTask struct {
	queue, id, kind string
	payload         []byte
	headers         map[string]string
	why             string    // as asynq has it; empty if a person archived the task
	died            time.Time // zero if that is now, or not known
	late            bool      // its Deadline passed: asynq never calls a handler for it
}

func (t deadTask) reason() string {
	if t.late {
		return "the Deadline that its producer gave its task in Asynq passed before a worker took it up"
	}
	return "a step was tried too often and given up (" + t.id + ": " + cmp.Or(t.why, "archived by hand") + ")"
}

// giveUp records in the ledger that a step will not be tried again by asynq.
// Only the step that is due counts: one that came late is nobody's loss.
func (w *Worker) giveUp(ctx context.Context, t deadTask) error {
	id := exportOf(t.id, t.kind, t.payload)
	if id == "" {
		return nil
	}
	r, err := w.o.Ledger.LoadHead(ctx, id)
	if errors.Is(err, ledger.ErrUnknown) {
		return w.stillborn(ctx, t)
	}
	if err != nil {
		return err
	}
	if r.State.Final() && r.Read == export.ReadNone {
		// Nothing is due; most dead letters are such, looked at every minute. But
		// whoever recorded the end may have died before it was told.
		return w.tell(ctx, r)
	}
	if r, err = w.o.Ledger.Load(ctx, id); err != nil {
		return ignoreSettled(err)
	}
	if _, due := t.step(r); !due {
		return nil
	}
	w.log.Error("a step was given up", logkey.Export, id, logkey.Task, t.id, logkey.Why, t.why)
	r, err = w.update(ctx, id, func(r *export.Record) error {
		step, due := t.step(r)
		if !due {
			return export.ErrStale
		}
		if step.Kind == export.StepMirror { // the other clips go on
			return r.ClipFail(w.now(), step.Clip, step.N, t.reason())
		}
		return r.Fail(w.now(), t.reason())
	})
	if err != nil {
		return ignoreSettled(err)
	}
	return w.ensure(ctx, r)
}

// stillborn records a dead submit whose export has no record, as a failed one:
// asynq gave it up before any worker did, because its Deadline passed in the
// queue or a person archived it. A dead letter may also outlive its record:
// that has been seen, and is let go.
func (w *Worker) stillborn(ctx context.Context, t deadTask) error {
	died := t.died
	if at := tasks.EnqueuedAt(t.headers); at.After(died) {
		died = at
	}
	if t.kind != tasks.TypeSubmit || !died.IsZero() && w.now().Sub(died) > w.o.Ledger.Retention() {
		return nil
	}
	s, err := t.submit()
	if err != nil {
		if err := w.malformed(ctx, t.id, s.ID, err); !errors.Is(err, asynq.SkipRetry) {
			return err
		}
		return nil
	}
	if !s.RequestGiven {
		return nil
	}
	r := queue.NewRecord(s, t.headers, w.now())
	r.Trace = w.traceOf(ctx, t.headers)
	if err := r.Fail(w.now(), t.reason()); err != nil {
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
	w.log.Error("an export failed before it was taken up", logkey.Export, r.ID, logkey.Why, r.Error)
	w.watch.Changed(ctx, &export.Record{}, r)
	return w.ensure(ctx, r)
}

// step returns the step of the export that the task stands for, if it is due.
// A TaskID is free in every other queue, and anybody may put another request, or
// none that can be read, under the one of an export: that is not its step.
func (t deadTask) step(r *export.Record) (export.Step, bool) {
	if s, err := t.submit(); err != nil || s.RequestGiven && s.Request.Digest() != r.Digest {
		return export.Step{}, false
	}
	for _, step := range export.Due(r) {
		if id, queue := queue.ID(r, step); id == t.id && queue == t.queue {
			return step, true
		}
	}
	return export.Step{}, false
}

// submit reads a task that is a submit; what is none is read as an empty one.
func (t deadTask) submit() (tasks.Submit, error) {
	if t.kind != tasks.TypeSubmit {
		return tasks.Submit{}, nil
	}
	return tasks.ParseSubmit(t.id, t.payload)
}

// exportOf returns the export that a task is for, empty if it can't be told.
func exportOf(taskID, typename string, payload []byte) string {
	switch typename {
	case tasks.TypeSubmit:
		s, _ := tasks.ParseSubmit(taskID, payload)
		return s.ID
	case tasks.TypePoll:
		p, _ := tasks.ParsePoll(payload)
		return p.ID
	case tasks.TypeMirror:
		m, _ := tasks.ParseMirror(payload)
		return m.ID
	case tasks.TypeSeal:
		s, _ := tasks.ParseSeal(payload)
		return s.ID
	default:
		return ""
	}
}

// buryDead records what asynq archived by itself: a task whose worker died too
// often never reaches a handler again, and asynq trims its archive silently.
func (w *Worker) buryDead(ctx context.Context) error {
	var faults []error
	for _, queue := range w.queues() {
		faults = append(faults, w.buryDeadOf(ctx, queue))
	}
	return errors.Join(faults...)
}

// deadAtOnce is how many dead letters are held in memory.
const deadAtOnce = 100

// buryDeadOf looks at all dead letters of a queue: the newest are listed last.
func (w *Worker) buryDeadOf(ctx context.Context, queue string) error {
	var faults []error
	for page := 1; ; page++ {
		if err := ctx.Err(); err != nil { // the inspector takes no context
			return err
		}
		dead, err := w.inspect.ListArchivedTasks(queue, asynq.Page(page), asynq.PageSize(deadAtOnce))
		if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
			faults = append(faults, fmt.Errorf("list what queue %s archived: %w", queue, err))
		}
		if len(dead) == 0 {
			return errors.Join(faults...)
		}
		for _, t := range dead {
			gone := deadTask{
				queue: queue, id: t.ID, kind: t.Type, payload: t.Payload, headers: t.Headers, why: t.LastErr, died: t.LastFailedAt,
			}
			if err := w.giveUp(ctx, gone); err != nil {
				faults = append(faults, err)
			}
		}
	}
}
