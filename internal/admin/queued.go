package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/tasks"
)

// queued returns the record that the first submit task will give birth to, nil if
// there is none. A Redis that does not say is an error: an export that is called
// unknown is ordered again, and paid for twice.
func (s *Service) queued(ctx context.Context, id string) (*export.Record, error) {
	if r, err := s.queuedIn(ctx, id, tasks.SubmitQueues()); r != nil || err != nil {
		return r, err
	}
	there, err := s.inspector.Queues() // only now, see [tasks.Client.Queued]
	if err != nil {
		return nil, fmt.Errorf("list the queues: %w", err)
	}
	return s.queuedIn(ctx, id, tasks.OwnedQueues(there))
}

func (s *Service) queuedIn(ctx context.Context, id string, queues []string) (*export.Record, error) {
	for _, name := range queues {
		// Where a bare producer left the TaskID to asynq, and gave no job_id, it is the id.
		for _, task := range []string{tasks.SubmitTaskID(id), id} {
			if err := ctx.Err(); err != nil { // the inspector takes no context
				return nil, err
			}
			info, err := s.inspector.GetTaskInfo(name, task)
			if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) && !errors.Is(err, asynq.ErrTaskNotFound) {
				return nil, fmt.Errorf("look for export %s in %s: %w", id, name, err)
			}
			if err != nil || info.Type != tasks.TypeSubmit || info.State == asynq.TaskStateCompleted || info.State == asynq.TaskStateArchived {
				continue // what nobody will take up waits for nothing
			}
			submit, err := tasks.ParseSubmit(info.ID, info.Payload)
			switch {
			case submit.ID != id || !submit.RequestGiven && err == nil: // another's
			case err != nil:
				return export.NewFailed(id, err.Error(), s.now()), nil
			default:
				return queue.NewRecord(submit, info.Headers, s.now()), nil
			}
		}
	}
	return nil, nil //nolint:nilnil // not there, and no fault
}

// Search looks for an export that [Service.Get] does not know: a bare producer may
// have given it a job_id and left the TaskID to asynq, which is then known by
// nothing but its payload until a worker takes it up. It reads all that waits in
// the submit queues, so it is for a person who asks, not for each request.
func (s *Service) Search(ctx context.Context, id string) (*export.Record, error) {
	there, err := s.inspector.Queues()
	if err != nil {
		return nil, fmt.Errorf("list the queues: %w", err)
	}
	for _, name := range append(tasks.SubmitQueues(), tasks.OwnedQueues(there)...) {
		if !slices.Contains(there, name) {
			continue
		}
		if r, err := s.searchIn(ctx, name, id); r != nil || err != nil {
			return r, err
		}
	}
	return s.Get(ctx, id) // it may have been taken up meanwhile
}

func (s *Service) searchIn(ctx context.Context, name, id string) (*export.Record, error) {
	const size = 500
	for page := 1; ; page++ {
		if err := ctx.Err(); err != nil { // the inspector takes no context
			return nil, err
		}
		infos, err := s.inspector.ListPendingTasks(name, asynq.Page(page), asynq.PageSize(size))
		if err != nil {
			return nil, fmt.Errorf("list queue %s: %w", name, err)
		}
		for _, info := range infos {
			if info.Type != tasks.TypeSubmit {
				continue
			}
			if submit, err := tasks.ParseSubmit(info.ID, info.Payload); err == nil && submit.ID == id && submit.RequestGiven {
				return queue.NewRecord(submit, info.Headers, s.now()), nil
			}
		}
		if len(infos) < size {
			return nil, nil //nolint:nilnil // not here, and no fault
		}
	}
}
