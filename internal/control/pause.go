package control

import (
	"context"
	"fmt"
	"slices"

	"github.com/clipferry/clipferry/tasks"
)

// OrderQueues returns the queues that exports are ordered from: those of the
// default account, of the named ones, and of all that a producer has ever named.
func (d *Desk) OrderQueues(accounts ...string) ([]string, error) {
	kinds := tasks.OrderQueues()
	queues := slices.Clone(kinds)
	for _, account := range accounts {
		for _, kind := range kinds {
			queues = append(queues, tasks.AccountQueue(kind, account))
		}
	}
	known, err := d.knownQueues(kinds)
	if err != nil {
		return nil, err
	}
	queues = append(queues, known...)
	slices.Sort(queues)
	return slices.Compact(queues), nil
}

// knownQueues returns those queues of the kinds, of any account, that asynq knows of.
func (d *Desk) knownQueues(kinds []string) ([]string, error) {
	known, err := d.inspector.Queues()
	if err != nil {
		return nil, fmt.Errorf("ask asynq for its queues: %w", err)
	}
	return slices.DeleteFunc(known, func(queue string) bool {
		kind, _ := tasks.SplitQueue(queue)
		return !slices.Contains(kinds, kind)
	}), nil
}

// Pause lets no worker take anything out of the queues until Resume. What a
// worker has taken already goes on: of each account that may be two exports for
// each worker, which wait in it for their turn at the provider. One that is
// paused already stays so.
func (d *Desk) Pause(ctx context.Context, queues ...string) error {
	// asynq shows only queues that it knows, and a paused one must be seen.
	if err := tasks.Announce(ctx, d.rdb, queues...); err != nil {
		return err
	}
	for _, queue := range queues {
		paused, err := d.isPaused(ctx, queue)
		if err != nil {
			return err
		}
		if paused {
			continue
		}
		if err := d.inspector.PauseQueue(queue); err != nil {
			return fmt.Errorf("pause %s: %w", queue, err)
		}
	}
	return nil
}

// Resume ends what Pause has begun, and returns the queues that were paused. Without
// names it is all that asynq knows of.
func (d *Desk) Resume(ctx context.Context, queues ...string) ([]string, error) {
	if len(queues) == 0 {
		var err error
		if queues, err = d.knownQueues(tasks.Queues()); err != nil {
			return nil, err
		}
		slices.Sort(queues)
	}
	var resumed []string
	for _, queue := range queues {
		paused, err := d.isPaused(ctx, queue)
		if err != nil {
			return resumed, err
		}
		if !paused {
			continue
		}
		if err := d.inspector.UnpauseQueue(queue); err != nil {
			return resumed, fmt.Errorf("resume %s: %w", queue, err)
		}
		resumed = append(resumed, queue)
	}
	return resumed, nil
}

func (d *Desk) isPaused(ctx context.Context, queue string) (bool, error) {
	n, err := d.rdb.Exists(ctx, pausedKey(queue)).Result()
	if err != nil {
		return false, fmt.Errorf("see whether %s is paused: %w", queue, err)
	}
	return n > 0, nil
}
