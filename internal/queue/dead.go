package queue

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/export"
)

// DeadLetter is a task that asynq will not run again by itself.
type DeadLetter struct {
	Queue, ID, Type string
	Payload         []byte
	Headers         map[string]string
	Why             string    // as asynq has it; empty if a person archived the task
	Died            time.Time // zero if that is now, or not known
}

// Export returns the export that the task is for, empty if it can't be told.
func (d DeadLetter) Export() string {
	s, _ := Parse(d.ID, d.Type, d.Payload)
	return s.ID
}

// Due returns the step of the export that the task stands for, if it is due.
// A TaskID is free in every other queue, and anybody may put another request, or
// none that can be read, under the one of an export: that is not its step.
func (d DeadLetter) Due(r *export.Record) (export.Step, bool) {
	s, err := Parse(d.ID, d.Type, d.Payload)
	if err != nil || s.RequestGiven && s.Request.Digest() != r.Digest || !export.IsDue(r, s.Step) {
		return export.Step{}, false
	}
	t := Of(r, s.Step)
	return s.Step, t.ID == d.ID && t.Queue == d.Queue
}

// deadAtOnce is how many dead letters are held in memory.
const deadAtOnce = 100

// Dead yields all dead letters of a queue, the newest last.
func (q *Queue) Dead(ctx context.Context, name string) iter.Seq2[DeadLetter, error] {
	return func(yield func(DeadLetter, error) bool) {
		for page := 1; ; page++ {
			if err := ctx.Err(); err != nil { // the inspector takes no context
				yield(DeadLetter{}, err)
				return
			}
			dead, err := q.inspector.ListArchivedTasks(name, asynq.Page(page), asynq.PageSize(deadAtOnce))
			if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
				yield(DeadLetter{}, fmt.Errorf("list what queue %s archived: %w", name, err))
				return
			}
			if len(dead) == 0 {
				return
			}
			for _, t := range dead {
				d := DeadLetter{
					Queue: name, ID: t.ID, Type: t.Type, Payload: t.Payload, Headers: t.Headers, Why: t.LastErr, Died: t.LastFailedAt,
				}
				if !yield(d, nil) {
					return
				}
			}
		}
	}
}
