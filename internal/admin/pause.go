package admin

import (
	"context"
	"slices"

	"github.com/clipferry/clipferry/internal/queue"
)

// OrderQueues returns the queues that exports are ordered from: those of the
// default account, of the named accounts and their tenants, and of all that a producer
// has ever named.
func (s *Service) OrderQueues(ctx context.Context, accounts, tenants []string) ([]string, error) {
	names, err := s.queue.Existing(ctx, queue.Orders())
	if err != nil {
		return nil, err
	}
	accounts = append(slices.Clone(accounts), "")
	names = append(names, queue.Orders(accounts...)...)
	for _, account := range accounts {
		for _, tenant := range tenants {
			names = append(names, queue.OfTenant(account, tenant)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Pause lets no worker take anything out of the queues until Resume. What a
// worker has taken already goes on: of each account that may be two exports for
// each worker, which wait in it for their turn at the provider. One that is
// paused already stays so.
func (s *Service) Pause(ctx context.Context, queues ...string) error {
	for _, name := range queues {
		if err := s.queue.Pause(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// Resume ends what Pause has begun, and returns the queues that were paused. Without
// names it is all that asynq knows of.
func (s *Service) Resume(ctx context.Context, queues ...string) ([]string, error) {
	if len(queues) == 0 {
		var err error
		if queues, err = s.queue.Existing(ctx, queue.All()); err != nil {
			return nil, err
		}
		slices.Sort(queues)
	}
	var resumed []string
	for _, name := range queues {
		was, err := s.queue.Resume(ctx, name)
		if err != nil {
			return resumed, err
		}
		if was {
			resumed = append(resumed, name)
		}
	}
	return resumed, nil
}
