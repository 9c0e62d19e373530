package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/index"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/tasks"
)

const (
	// indexPage is how many tasks of a queue are held against the indexes at once.
	indexPage = 1000
	// indexAtOnce is how many tasks one call of EnterWaiting reads.
	indexAtOnce = 10_000
)

// EnterWaiting enters the exports that wait in the submit queues and are not indexed,
// as those of bare producers, and returns how many tasks it read.
func (q *Queue) EnterWaiting(ctx context.Context, retention time.Duration, now time.Time) (int, error) {
	names, err := q.Existing(ctx, tasks.SubmitQueues())
	if err != nil {
		return 0, err
	}
	read := 0
	for _, name := range names {
		for first := int64(0); read < indexAtOnce; first += indexPage {
			taskIDs, err := q.rdb.LRange(ctx, PendingKey(name), first, first+indexPage-1).Result()
			if err != nil {
				return read, fmt.Errorf("list queue %s: %w", name, err)
			}
			unknown, err := q.unindexed(ctx, taskIDs)
			if err != nil {
				return read, err
			}
			for _, taskID := range unknown {
				if err := q.enter(ctx, name, taskID, retention, now); err != nil {
					return read, err
				}
			}
			read += len(unknown)
			if len(taskIDs) < indexPage {
				break
			}
		}
	}
	return read, nil
}

// unindexed returns those of the tasks whose exports are in no index. Of one that is
// not named for its export that can't be told.
func (q *Queue) unindexed(ctx context.Context, taskIDs []string) ([]string, error) {
	if len(taskIDs) == 0 {
		return nil, nil
	}
	ids := make([]string, len(taskIDs))
	for i, taskID := range taskIDs {
		ids[i] = strings.TrimPrefix(taskID, tasks.SubmitTaskID(""))
	}
	var in []*redis.FloatSliceCmd
	_, err := q.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range []string{index.Waiting, index.Rest, index.Archived} {
			in = append(in, p.ZMScore(ctx, key, ids...))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for %d exports in the indexes: %w", len(ids), err)
	}
	var unknown []string
	for i, taskID := range taskIDs {
		known := func(scores *redis.FloatSliceCmd) bool { return scores.Val()[i] != 0 } // a creation is never 0
		if !slices.ContainsFunc(in, known) {
			unknown = append(unknown, taskID)
		}
	}
	return unknown, nil
}

// enter enters the export of one task, if the task is still there and is one.
func (q *Queue) enter(ctx context.Context, name, taskID string, retention time.Duration, now time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := q.inspector.GetTaskInfo(name, taskID)
	if errors.Is(err, asynq.ErrQueueNotFound) || errors.Is(err, asynq.ErrTaskNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read task %s of %s: %w", taskID, name, err)
	}
	o, is := order(info)
	if !is || o.Fault != nil {
		return nil //nolint:nilerr // what is malformed has no record until a worker fails it
	}
	r := NewRecord(o.Step, o.Headers, retention, now)
	e := index.Entry{ID: r.ID, Created: r.CreatedAt, Attributes: ledger.AttributesOf(r)}
	if taskID != tasks.SubmitTaskID(r.ID) {
		e.Task = taskID
	}
	return index.Enter(ctx, q.rdb, e)
}

// Vanished returns exports that are indexed as waiting since before the time, the
// oldest first and at most limit looked at, and that wait in no queue.
func (q *Queue) Vanished(ctx context.Context, before time.Time, limit int64) ([]string, error) {
	ids, err := q.rdb.ZRangeByScore(ctx, index.Waiting, &redis.ZRangeBy{
		Min: "-inf", Max: fmt.Sprint(before.UnixMilli()), Count: limit,
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("list the exports that wait longest: %w", err)
	}
	orders, err := q.FindAll(ctx, ids)
	if err != nil {
		return nil, err
	}
	there := make(map[string]bool, len(orders))
	for _, o := range orders {
		there[o.ID] = true
	}
	return slices.DeleteFunc(ids, func(id string) bool { return there[id] }), nil
}
