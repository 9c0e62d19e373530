// Package queue turns what is due for an export into Asynq tasks. It decides
// nothing: [export.Due] says which tasks must exist, and a task that exists
// already is left alone, so that calling it once too often is harmless.
package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/tasks"
)

// Queue adds tasks. It is safe for concurrent use.
type Queue struct{ client *asynq.Client }

// New returns a Queue on the client's Redis, which stays the caller's to close.
func New(rdb redis.UniversalClient) *Queue {
	return &Queue{client: asynq.NewClientFromRedisClient(rdb)}
}

// Schedule makes sure that every task that is due for the record exists.
func (q *Queue) Schedule(ctx context.Context, r *export.Record) error {
	var faults []error
	for _, step := range export.Due(r) {
		task, err := Task(r, step)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if err := q.Add(ctx, task); err != nil {
			faults = append(faults, fmt.Errorf("enqueue %s of export %s: %w", step.Kind, r.ID, err))
		}
	}
	return errors.Join(faults...)
}

// Add enqueues the task unless it exists already.
func (q *Queue) Add(ctx context.Context, task *asynq.Task) error {
	_, err := q.client.EnqueueContext(ctx, task)
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		return nil
	}
	return err
}

// Task returns the Asynq task of a step.
func Task(r *export.Record, s export.Step) (*asynq.Task, error) {
	trace := tasks.WithHeaders(r.Trace)
	switch s.Kind {
	case export.StepSubmit:
		if s.N > 0 {
			return tasks.NewResubmit(r.ID, s.N, tasks.AccountQueue(tasks.QueueFront, r.Account), s.At, trace), nil
		}
		e, err := tasks.ParseExport(r.Request)
		if err != nil {
			return nil, fmt.Errorf("the request of export %s: %w", r.ID, err)
		}
		e.Priority, e.Account = r.Priority, r.Account
		return tasks.NewSubmit(e, r.ID, trace), nil
	case export.StepPoll:
		return tasks.NewPoll(r.ID, s.N, s.At, trace), nil
	case export.StepMirror:
		return tasks.NewMirror(r.ID, s.Clip, s.N, mirrorQueue(s), s.At, trace), nil
	case export.StepSeal:
		return tasks.NewSealAt(r.ID, s.N, s.At, trace), nil
	default:
		return nil, fmt.Errorf("export %s: unknown step %q", r.ID, s.Kind)
	}
}

// bulkFrom is the index from which an export's clips wait apart: a large export
// has most of its clips there, and a small one none.
const bulkFrom = 64

// mirrorQueue depends on the step alone: a task is told from its double by its
// queue and id.
func mirrorQueue(s export.Step) string {
	switch {
	case s.Urgent:
		return tasks.QueueUrgent
	case s.Clip >= bulkFrom:
		return tasks.QueueBulk
	default:
		return tasks.QueueMirror
	}
}

// ID returns the TaskID and the queue of a step.
func ID(r *export.Record, s export.Step) (taskID, queue string) {
	switch s.Kind {
	case export.StepSubmit:
		if s.N > 0 {
			return tasks.ResubmitTaskID(r.ID, s.N), tasks.AccountQueue(tasks.QueueFront, r.Account)
		}
		return tasks.SubmitTaskID(r.ID), tasks.AccountQueue(tasks.QueueFor(r.Priority), r.Account)
	case export.StepPoll:
		return tasks.PollTaskID(r.ID, s.N), tasks.QueuePoll
	case export.StepMirror:
		return tasks.MirrorTaskID(r.ID, s.Clip, s.N), mirrorQueue(s)
	default:
		return tasks.SealTaskID(r.ID, s.N), tasks.QueueSeal
	}
}

// PendingKey is the list in which asynq keeps the tasks of a queue that wait, the
// newest first.
func PendingKey(queue string) string { return "asynq:{" + queue + "}:pending" }

// PausedKey exists while the queue is paused.
func PausedKey(queue string) string { return "asynq:{" + queue + "}:paused" }
