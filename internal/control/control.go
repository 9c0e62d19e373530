// Package control is what a person or a program outside the worker may ask of
// exports: look at them, stop them, take them up again, rebuild them. The
// command line and the HTTP API are two faces of it. It changes records through
// the ledger and adds the tasks that are due; it never talks to the provider.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/dispatch"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/tasks"
)

// ErrUnknown is returned for an export that neither the ledger nor a queue knows.
var ErrUnknown = ledger.ErrUnknown

// Desk answers questions about exports and carries out what is asked.
type Desk struct {
	ledger    *ledger.Ledger
	dispatch  *dispatch.Dispatcher
	inspector *asynq.Inspector
	now       func() time.Time
}

// New returns a Desk over a Redis, which stays the caller's to close.
func New(rdb redis.UniversalClient, l *ledger.Ledger, now func() time.Time) *Desk {
	return &Desk{
		ledger: l, dispatch: dispatch.New(rdb),
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
	if r = d.queued(id); r != nil {
		return r, nil
	}
	// It may have been taken up between the two looks.
	return d.ledger.Load(ctx, id)
}

// queued returns the record that the first submit task will give birth to.
func (d *Desk) queued(id string) *export.Record {
	for _, queue := range tasks.SubmitQueues() {
		info, err := d.inspector.GetTaskInfo(queue, tasks.SubmitTaskID(id))
		if err != nil || info.State == asynq.TaskStateCompleted {
			continue
		}
		s, err := tasks.ParseSubmit(info.ID, info.Payload)
		if err != nil {
			return export.NewFailed(id, err.Error(), d.now())
		}
		return Newborn(s, d.now())
	}
	return nil
}

// Newborn returns the record of an export as it is taken up from its first task.
func Newborn(s tasks.Submit, now time.Time) *export.Record {
	r := export.New(s.ID, s.Request.Body(), s.Request.Digest(), s.Request.ProjectID, now)
	r.Priority = s.Request.Priority
	r.Wanted = s.Request.ClipIndices
	if s.Request.Notify != nil {
		r.Notify, _ = json.Marshal(s.Request.Notify) // three strings always marshal
	}
	return r
}

// Cancel stops an export.
func (d *Desk) Cancel(ctx context.Context, id string) (*export.Record, error) {
	if err := d.takeUp(ctx, id); err != nil {
		return nil, err
	}
	return d.change(ctx, id, func(r *export.Record) error {
		if r.State == export.Canceled {
			return nil
		}
		return r.Cancel(d.now())
	})
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
	return d.change(ctx, id, func(r *export.Record) error { return r.Retry(d.now(), o) })
}

func (d *Desk) change(ctx context.Context, id string, f func(*export.Record) error) (*export.Record, error) {
	r, err := d.ledger.Update(ctx, id, f)
	if err != nil {
		return r, err
	}
	return r, d.dispatch.Ensure(ctx, r)
}

// List returns exports without their clips, newest first.
func (d *Desk) List(ctx context.Context, f ledger.Filter) ([]*export.Record, error) {
	found, err := d.ledger.List(ctx, f)
	if err != nil || f.State != "" && f.State != export.Queued {
		return found, err
	}
	return d.withQueued(ctx, found, f)
}

// withQueued adds the exports that no worker has taken up yet. They have no
// creation time of their own: they stand first, in the order of their queues.
func (d *Desk) withQueued(ctx context.Context, found []*export.Record, f ledger.Filter) ([]*export.Record, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	if !f.Before.IsZero() {
		return found, nil // a later page
	}
	var waiting []*export.Record
	for _, queue := range tasks.SubmitQueues() {
		infos, err := d.inspector.ListPendingTasks(queue, asynq.PageSize(limit))
		if errors.Is(err, asynq.ErrQueueNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list queue %s: %w", queue, err)
		}
		for _, info := range infos {
			s, err := tasks.ParseSubmit(info.ID, info.Payload)
			if err != nil || !s.RequestGiven || f.Project != "" && s.Request.ProjectID != f.Project {
				continue
			}
			if _, err := d.ledger.LoadHead(ctx, s.ID); !errors.Is(err, ledger.ErrUnknown) {
				continue // listed from the ledger already
			}
			waiting = append(waiting, Newborn(s, d.now()))
		}
	}
	all := append(waiting, found...)
	return all[:min(len(all), limit)], nil
}
