package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Lease is a task that a worker has. Asynq keeps until when it is the worker's, by the
// worker's clock, and extends that every five seconds for as long as the worker lives.
type Lease struct {
	TaskID string
	Until  float64
}

// LeaseKey is the sorted set in which asynq keeps the leases of a queue's tasks.
func LeaseKey(queue string) string { return "asynq:{" + queue + "}:lease" }

// Leases returns what workers have out of each of the queues, in one round trip.
func (q *Queue) Leases(ctx context.Context, queues []string) (map[string][]Lease, error) {
	p := q.rdb.Pipeline()
	asked := make([]*redis.ZSliceCmd, len(queues))
	for i, name := range queues {
		asked[i] = p.ZRangeWithScores(ctx, LeaseKey(name), 0, -1)
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, fmt.Errorf("list what workers have: %w", err)
	}
	all := make(map[string][]Lease, len(queues))
	for i, name := range queues {
		for _, z := range asked[i].Val() {
			id, _ := z.Member.(string)
			all[name] = append(all[name], Lease{id, z.Score})
		}
	}
	return all, nil
}

// StepOf returns the step that a task in the queue is for; false where there is no
// such task, or it is for none.
func (q *Queue) StepOf(queue, taskID string) (Step, bool, error) {
	info, err := q.inspector.GetTaskInfo(queue, taskID)
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound), errors.Is(err, asynq.ErrQueueNotFound):
		return Step{}, false, nil
	case err != nil:
		return Step{}, false, fmt.Errorf("look at task %s: %w", taskID, err)
	}
	s, err := Parse(taskID, info.Type, info.Payload)
	return s, err == nil, nil
}
