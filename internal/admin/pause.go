package admin

import (
	"context"
	"fmt"
	"slices"

	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/tasks"
)

// OrderQueues returns the queues that exports are ordered from: those of the
// default account, of the named ones, and of all that a producer has ever named.
func (s *Service) OrderQueues(accounts ...string) ([]string, error) {
	kinds := tasks.OrderQueues()
	queues := slices.Clone(kinds)
	for _, account := range accounts {
		for _, kind := range kinds {
			queues = append(queues, tasks.AccountQueue(kind, account))
		}
	}
	known, err := s.knownQueues(kinds)
	if err != nil {
		return nil, err
	}
	queues = append(queues, known...)
	slices.Sort(queues)
	return slices.Compact(queues), nil
}

// knownQueues returns those queues of the kinds, of any account, that asynq knows of.
func (s *Service) knownQueues(kinds []string) ([]string, error) {
	known, err := s.inspector.Queues()
	if err != nil {
		return nil, fmt.Errorf("ask asynq for its queues: %w", err)
	}
	return slices.DeleteFunc(known, func(name string) bool {
		kind, _ := tasks.SplitQueue(name)
		return !slices.Contains(kinds, kind)
	}), nil
}

// Pause lets no worker take anything out of the queues until Resume. What a
// worker has taken already goes on: of each account that may be two exports for
// each worker, which wait in it for their turn at the provider. One that is
// paused already stays so.
func (s *Service) Pause(ctx context.Context, queues ...string) error {
	// asynq shows only queues that it knows, and a paused one must be seen.
	if err := tasks.Announce(ctx, s.rdb, queues...); err != nil {
		return err
	}
	for _, name := range queues {
		paused, err := s.isPaused(ctx, name)
		if err != nil {
			return err
		}
		if paused {
			continue
		}
		if err := s.inspector.PauseQueue(name); err != nil {
			return fmt.Errorf("pause %s: %w", name, err)
		}
	}
	return nil
}

// Resume ends what Pause has begun, and returns the queues that were paused. Without
// names it is all that asynq knows of.
func (s *Service) Resume(ctx context.Context, queues ...string) ([]string, error) {
	if len(queues) == 0 {
		var err error
		if queues, err = s.knownQueues(tasks.Queues()); err != nil {
			return nil, err
		}
		slices.Sort(queues)
	}
	var resumed []string
	for _, name := range queues {
		paused, err := s.isPaused(ctx, name)
		if err != nil {
			return resumed, err
		}
		if !paused {
			continue
		}
		if err := s.inspector.UnpauseQueue(name); err != nil {
			return resumed, fmt.Errorf("resume %s: %w", name, err)
		}
		resumed = append(resumed, name)
	}
	return resumed, nil
}

func (s *Service) isPaused(ctx context.Context, name string) (bool, error) {
	n, err := s.rdb.Exists(ctx, queue.PausedKey(name)).Result()
	if err != nil {
		return false, fmt.Errorf("see whether %s is paused: %w", name, err)
	}
	return n > 0, nil
}
