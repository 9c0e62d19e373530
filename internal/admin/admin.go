// Package admin is what a person or a program outside the worker may ask of
// exports: look at them, stop them, take them up again, rebuild them. The
// command line and the HTTP API are two faces of it. It changes records through
// the ledger and adds the tasks that are due; it never talks to the provider.
package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/tasks"
)

// ErrUnknown is returned for an export that neither the ledger nor a queue knows.
var ErrUnknown = ledger.ErrUnknown

// Service answers questions about exports and carries out what is asked.
type Service struct {
	rdb    redis.UniversalClient
	ledger *ledger.Ledger
	queue  *queue.Queue
	now    func() time.Time
	tenant string // whose exports alone there are, empty for all
}

// New returns a Service over a Redis, which stays the caller's to close.
func New(rdb redis.UniversalClient, l *ledger.Ledger, now func() time.Time) *Service {
	return &Service{rdb: rdb, ledger: l, queue: queue.New(rdb), now: now}
}

// For returns a Service to which there are no exports but the tenant's. Those of
// others are unknown to it, after the same work as those that nobody knows.
func (s *Service) For(tenant string) *Service {
	scoped := *s
	scoped.tenant = tenant
	return &scoped
}

// owns reports whether the record is one of those that there are. Of one that can't
// be read only the id says whose it is.
func (s *Service) owns(r *export.Record) bool {
	switch {
	case s.tenant == "":
		return true
	case r.State == export.Unreadable:
		return strings.HasPrefix(r.ID, s.tenant+".")
	}
	return r.TenantName() == s.tenant
}

// Get returns the export; one that no worker has taken up yet is shown from its
// queue, and one whose record is broken as [export.Unreadable].
func (s *Service) Get(ctx context.Context, id string) (*export.Record, error) {
	r, err := s.recorded(ctx, id)
	if !errors.Is(err, ErrUnknown) || !tasks.ValidID(id) {
		return r, err
	}
	if r, err = s.queued(ctx, id); r != nil || err != nil {
		return r, err
	}
	// It may have been taken up between the two looks.
	return s.recorded(ctx, id)
}

// recorded returns the export's record. Whose it is is seen before its clips are
// loaded, which may be many and take long.
func (s *Service) recorded(ctx context.Context, id string) (*export.Record, error) {
	if s.tenant != "" {
		head, err := s.ledger.LoadHead(ctx, id)
		if errors.Is(err, ErrUnknown) || err == nil && !s.owns(head) {
			return nil, unknown(id)
		}
	}
	r, err := s.ledger.Load(ctx, id)
	if errors.Is(err, ledger.ErrUnreadable) {
		r, err = export.NewUnreadable(id, err.Error()), nil
	}
	if err == nil && !s.owns(r) {
		return nil, unknown(id)
	}
	return r, err
}

func unknown(id string) error { return fmt.Errorf("%s: %w", id, ErrUnknown) }

// Cancel stops an export.
func (s *Service) Cancel(ctx context.Context, id string) (*export.Record, error) {
	if err := s.takeUp(ctx, id); err != nil {
		return nil, explain(nil, export.EvCancel, err)
	}
	r, err := s.change(ctx, id, func(r *export.Record) error {
		if r.State == export.Canceled {
			return nil
		}
		return r.Cancel(s.now())
	})
	return r, explain(r, export.EvCancel, err)
}

// takeUp gives an export that only a queue knows a record, so that it can be changed.
func (s *Service) takeUp(ctx context.Context, id string) error {
	head, err := s.ledger.LoadHead(ctx, id)
	if err == nil && s.owns(head) || err != nil && !errors.Is(err, ErrUnknown) {
		return err
	}
	r, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	_, err = s.ledger.Create(ctx, r)
	return err
}

// Retry takes a final export up again where it stopped.
func (s *Service) Retry(ctx context.Context, id string, o export.RetryOptions) (*export.Record, error) {
	served, err := tasks.LoadServed(ctx, s.rdb)
	if err != nil {
		return nil, err
	}
	r, err := s.change(ctx, id, func(r *export.Record) error {
		r.Unserved = !served.Account(r.Account)
		return r.Retry(s.now(), o)
	})
	if errors.Is(err, ErrUnknown) {
		return s.notTakenUp(ctx, id)
	}
	return r, explain(r, export.EvRetry, err)
}

func (s *Service) change(ctx context.Context, id string, f func(*export.Record) error) (*export.Record, error) {
	r, err := s.ledger.Update(ctx, id, func(r *export.Record) error {
		if !s.owns(r) {
			return unknown(id)
		}
		return f(r)
	})
	if errors.Is(err, ErrUnknown) {
		return nil, err
	}
	if err != nil {
		return r, err
	}
	return r, s.queue.Schedule(ctx, r)
}
