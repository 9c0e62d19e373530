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

// queued returns the record that the first submit task will give birth to, nil if
// there is none. A Redis that does not say is an error: an export that is called
// unknown is ordered again, and paid for twice.
func (d *Desk) queued(ctx context.Context, id string) (*export.Record, error) {
	if r, err := d.queuedIn(ctx, id, tasks.SubmitQueues()); r != nil || err != nil {
		return r, err
	}
	there, err := d.inspector.Queues() // only now, see [tasks.Client.Queued]
	if err != nil {
		return nil, fmt.Errorf("list the queues: %w", err)
	}
	return d.queuedIn(ctx, id, tasks.OwnedQueues(there))
}

func (d *Desk) queuedIn(ctx context.Context, id string, queues []string) (*export.Record, error) {
	for _, queue := range queues {
		// Where a bare producer left the TaskID to asynq, and gave no job_id, it is the id.
		for _, task := range []string{tasks.SubmitTaskID(id), id} {
			if err := ctx.Err(); err != nil { // the inspector takes no context
				return nil, err
			}
			info, err := d.inspector.GetTaskInfo(queue, task)
			if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) && !errors.Is(err, asynq.ErrTaskNotFound) {
				return nil, fmt.Errorf("look for export %s in %s: %w", id, queue, err)
			}
			if err != nil || info.Type != tasks.TypeSubmit || info.State == asynq.TaskStateCompleted || info.State == asynq.TaskStateArchived {
				continue // what nobody will take up waits for nothing
			}
			s, err := tasks.ParseSubmit(info.ID, info.Payload)
			switch {
			case s.ID != id || !s.RequestGiven && err == nil: // another's
			case err != nil:
				return export.NewFailed(id, err.Error(), d.now()), nil
			default:
				return Newborn(s, info.Headers, d.now()), nil
			}
		}
	}
	return nil, nil //nolint:nilnil // not there, and no fault
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
			if info.Type != tasks.TypeSubmit {
				continue
			}
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
