// Package control is what a person or a program outside the worker may ask of
// exports: look at them, stop them, take them up again, rebuild them. The
// command line and the HTTP API are two faces of it. It changes records through
// the ledger and adds the tasks that are due; it never talks to the provider.
package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/tasks"
)

// ErrUnknown is returned for an export that neither the ledger nor a queue knows.
var ErrUnknown = ledger.ErrUnknown

// Desk answers questions about exports and carries out what is asked.
type Desk struct {
	rdb       redis.UniversalClient
	ledger    *ledger.Ledger
	dispatch  *queue.Dispatcher
	inspector *asynq.Inspector
	now       func() time.Time
}

// New returns a Desk over a Redis, which stays the caller's to close.
func New(rdb redis.UniversalClient, l *ledger.Ledger, now func() time.Time) *Desk {
	return &Desk{
		rdb: rdb, ledger: l, dispatch: queue.New(rdb),
		inspector: asynq.NewInspectorFromRedisClient(rdb), now: now,
	}
}

// Get returns the export; one that no worker has taken up yet is shown from its queue.
func (d *Desk) Get(ctx context.Context, id string) (*export.Record, error) {
	r, err := d.ledger.Load(ctx, id)
	if !errors.Is(err, ledger.ErrUnknown) {
		return r, err
	}
	if !tasks.ValidID(id) {
		return nil, fmt.Errorf("%s: %w", id, ErrUnknown)
	}
	if r, err = d.queued(ctx, id); r != nil || err != nil {
		return r, err
	}
	// It may have been taken up between the two looks.
	return d.ledger.Load(ctx, id)
}

// Cancel stops an export.
func (d *Desk) Cancel(ctx context.Context, id string) (*export.Record, error) {
	if err := d.takeUp(ctx, id); err != nil {
		return nil, err
	}
	r, err := d.change(ctx, id, func(r *export.Record) error {
		if r.State == export.Canceled {
			return nil
		}
		return r.Cancel(d.now())
	})
	return r, explain(r, export.EvCancel, err)
}

// takeUp gives an export that only a queue knows a record, so that it can be changed.
func (d *Desk) takeUp(ctx context.Context, id string) error {
	_, err := d.ledger.LoadHead(ctx, id)
	if !errors.Is(err, ledger.ErrUnknown) {
		return err
	}
	r, err := d.Get(ctx, id)
	if err != nil {
		return err
	}
	_, err = d.ledger.Create(ctx, r)
	return err
}

// Retry takes a final export up again where it stopped.
func (d *Desk) Retry(ctx context.Context, id string, o export.RetryOptions) (*export.Record, error) {
	r, err := d.change(ctx, id, func(r *export.Record) error { return r.Retry(d.now(), o) })
	return r, explain(r, export.EvRetry, err)
}

func (d *Desk) change(ctx context.Context, id string, f func(*export.Record) error) (*export.Record, error) {
	var before export.Record
	r, err := d.ledger.Update(ctx, id, func(r *export.Record) error {
		before = *r
		return f(r)
	})
	if err != nil {
		return r, err
	}
	d.leave(ctx, &before, r)
	return r, d.dispatch.Ensure(ctx, r)
}
