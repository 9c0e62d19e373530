// Package queue is all that knows Asynq beyond what producers do: the names of
// queues and tasks, what is in a task, which tasks an export needs, and what
// waits, is paused or was given up. It decides nothing about exports:
// [export.Due] says which tasks must exist, and a task that exists already is
// left alone, so that scheduling once too often is harmless.
//
// The tasks of an export; its first one is the producer's, see package tasks:
//
//	export:submit  submit:<id>               the request                 clipferry-submit*
//	export:submit  resubmit:<id>:<round>     {"id","round"}              clipferry-front*
//	export:poll    poll:<id>:<n>             {"id","n"}                  clipferry-poll
//	export:mirror  mirror:<id>:<idx>:<round> {"id","idx","round"}        clipferry-mirror, -urgent, -bulk
//	export:seal    seal:<id>:<round>         {"id","round"}              clipferry-seal
//	export:notify  notify:<event>:<n>        see package notify          clipferry-notify
//	passed:read    passed:<hash>:<at>:<n>    see package passthrough     clipferry-passed
//
// Every TaskID starts with its step, because asynq wants them unique across the
// queues of one server. Numbers stand last, so that an id with colons in it
// stays unambiguous.
package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
)

// ErrGiveUp ends a task whose handler returns it: it is not tried again, and is kept
// among the dead letters.
var ErrGiveUp = asynq.SkipRetry

// ErrLater leaves a task in its queue for a few seconds. It is no failure.
var ErrLater = errors.New("not now")

// Queue adds tasks and looks at them. It is safe for concurrent use.
type Queue struct {
	rdb       redis.UniversalClient
	client    *asynq.Client
	inspector *asynq.Inspector
}

// New returns a Queue on the client's Redis, which stays the caller's to close.
func New(rdb redis.UniversalClient) *Queue {
	return &Queue{
		rdb: rdb, client: asynq.NewClientFromRedisClient(rdb), inspector: asynq.NewInspectorFromRedisClient(rdb),
	}
}

// Schedule makes sure that every task that is due for the record exists.
func (q *Queue) Schedule(ctx context.Context, r *export.Record) error {
	var faults []error
	for _, step := range export.Due(r) {
		if err := q.Add(ctx, Of(r, step)); err != nil {
			faults = append(faults, fmt.Errorf("enqueue %s of export %s: %w", step.Kind, r.ID, err))
		}
	}
	return errors.Join(faults...)
}

// Add adds the task unless it exists already.
func (q *Queue) Add(ctx context.Context, t Task) error {
	task, err := t.build()
	if err != nil {
		return err
	}
	_, err = q.client.EnqueueContext(ctx, task, asynq.Queue(t.Queue))
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		return nil
	}
	return err
}

// AddForeign adds a task of a producer's own type to a queue of its own, unless
// one with that TaskID exists already.
func (q *Queue) AddForeign(ctx context.Context, id, in, typename string, payload []byte, headers map[string]string) error {
	return q.Add(ctx, Task{ID: id, Queue: in, build: func() (*asynq.Task, error) {
		return asynq.NewTaskWithHeaders(typename, payload, headers, asynq.TaskID(id), asynq.Queue(in)), nil
	}})
}
