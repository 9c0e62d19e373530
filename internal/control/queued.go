package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/tasks"
)

// queued returns the record that the first submit task will give birth to.
func (d *Desk) queued(id string) *export.Record {
	if r := d.queuedIn(id, tasks.SubmitQueues()); r != nil {
		return r
	}
	there, err := d.inspector.Queues() // only now, see [tasks.Client.Queued]
	if err != nil {
		return nil
	}
	return d.queuedIn(id, tasks.OwnedQueues(there))
}

func (d *Desk) queuedIn(id string, queues []string) *export.Record {
	for _, queue := range queues {
		// Where a bare producer left the TaskID to asynq, and gave no job_id, it is the id.
		for _, task := range []string{tasks.SubmitTaskID(id), id} {
			info, err := d.inspector.GetTaskInfo(queue, task)
			if err != nil || info.State == asynq.TaskStateCompleted || info.State == asynq.TaskStateArchived {
				continue // what nobody will take up waits for nothing
			}
			s, err := tasks.ParseSubmit(info.ID, info.Payload)
			switch {
			case s.ID != id || !s.RequestGiven && err == nil: // another's
			case err != nil:
				return export.NewFailed(id, err.Error(), d.now())
			default:
				return Newborn(s, info.Headers, d.now())
			}
		}
	}
	return nil
}

// Search looks for an export that [Desk.Get] does not know: a bare producer may
// have given it a job_id and left the TaskID to asynq, which is then known by
// nothing but its payload until a worker takes it up. It reads all that waits in
// the submit queues, so it is for a person who asks, not for each request.
func (d *Desk) Search(ctx context.Context, id string) (*export.Record, error) {
	there, err := d.inspector.Queues()
	if err != nil {
		return nil, fmt.Errorf("list the queues: %w", err)
	}
	for _, queue := range append(tasks.SubmitQueues(), tasks.OwnedQueues(there)...) {
		if !slices.Contains(there, queue) {
			continue
		}
		if r, err := d.searchIn(ctx, queue, id); r != nil || err != nil {
			return r, err
		}
	}
	return d.Get(ctx, id) // it may have been taken up meanwhile
}

func (d *Desk) searchIn(ctx context.Context, queue, id string) (*export.Record, error) {
	const size = 500
	for page := 1; ; page++ {
		if err := ctx.Err(); err != nil { // the inspector takes no context
			return nil, err
		}
		infos, err := d.inspector.ListPendingTasks(queue, asynq.Page(page), asynq.PageSize(size))
		if err != nil {
			return nil, fmt.Errorf("list queue %s: %w", queue, err)
		}
		for _, info := range infos {
			if s, err := tasks.ParseSubmit(info.ID, info.Payload); err == nil && s.ID == id && s.RequestGiven {
				return Newborn(s, info.Headers, d.now()), nil
			}
		}
		if len(infos) < size {
			return nil, nil //nolint:nilnil // not here, and no fault
		}
	}
}

// Newborn returns the record of an export as it is taken up from its first task.
// It was created when its producer says so, or now.
func Newborn(s tasks.Submit, headers map[string]string, now time.Time) *export.Record {
	created := now
	if at := tasks.EnqueuedAt(headers); !at.IsZero() && at.Before(now) && now.Sub(at) < ledger.DefaultRetention {
		created = at
	}
	r := export.New(s.ID, s.Request.Body(), s.Request.Digest(), s.Request.ProjectID, created)
	r.Priority = s.Request.Priority
	r.Account = s.Request.Account
	r.Wanted = s.Request.ClipIndices
	if s.Request.Notify != nil {
		r.Notify, _ = json.Marshal(s.Request.Notify) // three strings always marshal
	}
	return r
}

// List returns exports without their clips, newest first.
func (d *Desk) List(ctx context.Context, f ledger.Filter) ([]*export.Record, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	found, err := d.ledger.List(ctx, f)
	if err != nil || f.State != "" && f.State != export.Queued {
		return found, err
	}
	there, err := d.inspector.Queues() // asking for one that was never used is an error
	if err != nil {
		return nil, fmt.Errorf("list the queues: %w", err)
	}
	for _, queue := range append(tasks.SubmitQueues(), tasks.OwnedQueues(there)...) {
		if !slices.Contains(there, queue) {
			continue
		}
		waiting, err := d.waiting(ctx, queue, f)
		if err != nil {
			return nil, fmt.Errorf("list queue %s: %w", queue, err)
		}
		found = append(found, waiting...)
	}
	slices.SortStableFunc(found, func(a, b *export.Record) int { return b.CreatedAt.Compare(a.CreatedAt) })
	// A queue that moves between two pages may have shown an export twice.
	found = slices.CompactFunc(found, func(a, b *export.Record) bool { return a.ID == b.ID })
	return found[:min(len(found), f.Limit)], nil
}

// waiting returns the exports of a queue that no worker has taken up yet, the
// newest of those that the filter lets through.
func (d *Desk) waiting(ctx context.Context, queue string, f ledger.Filter) ([]*export.Record, error) {
	const size = 200
	info, err := d.inspector.GetQueueInfo(queue)
	if err != nil {
		return nil, err
	}
	var found []*export.Record
	for page := (info.Pending + size - 1) / size; page > 0 && len(found) < f.Limit; page-- { // the last page is the newest
		if err := ctx.Err(); err != nil { // the inspector takes no context
			return nil, err
		}
		infos, err := d.inspector.ListPendingTasks(queue, asynq.Page(page), asynq.PageSize(size))
		if err != nil {
			return nil, err
		}
		for _, info := range slices.Backward(infos) {
			r, err := d.unborn(ctx, info, f)
			if err != nil {
				return nil, err
			}
			if r != nil {
				found = append(found, r)
			}
		}
	}
	return found, nil
}

// unborn returns the record that the task stands for, nil if it has one already
// or the filter holds it back.
func (d *Desk) unborn(ctx context.Context, info *asynq.TaskInfo, f ledger.Filter) (*export.Record, error) {
	s, malformed := tasks.ParseSubmit(info.ID, info.Payload)
	if malformed != nil || !s.RequestGiven || f.Project != "" && s.Request.ProjectID != f.Project {
		return nil, nil //nolint:nilerr // what is malformed has no record to list until a worker fails it
	}
	r := Newborn(s, info.Headers, d.now())
	if !f.Before.IsZero() && !r.CreatedAt.Before(f.Before) {
		return nil, nil
	}
	_, err := d.ledger.LoadHead(ctx, s.ID)
	switch {
	case err == nil:
		return nil, nil
	case errors.Is(err, ledger.ErrUnknown):
		return r, nil
	default:
		return nil, err
	}
}
