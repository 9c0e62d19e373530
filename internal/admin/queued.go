package admin

import (
	"context"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/tasks"
)

// queued returns the record that the first submit task will create, nil if
// there is none. A Redis that does not say is an error: an export that is called
// unknown is ordered again, and paid for twice.
func (s *Service) queued(ctx context.Context, id string) (*export.Record, error) {
	o, found, err := s.queue.Find(ctx, id)
	if err != nil || !found {
		return nil, err
	}
	r := s.recordOf(o)
	if o.Fault != nil { // the task's own, which the export is shown with
		malformed := export.Problem{Reason: export.ReasonTaskMalformed, Detail: o.Fault.Error()}
		r = export.NewFailed(id, malformed, s.now())
	}
	if !s.owns(r) {
		return nil, nil
	}
	return r, nil
}

func (s *Service) recordOf(o queue.Order) *export.Record {
	return queue.NewRecord(o.Step, o.Headers, s.ledger.Retention(), s.now())
}

// notTakenUp says why an export that has no record can't be retried: it may be
// unknown, or be in a queue still.
func (s *Service) notTakenUp(ctx context.Context, id string) (*export.Record, error) {
	r, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	text := "the export waits in its queue, and a worker will order it: there is nothing to retry"
	if r.State == export.Failed {
		text = "what waits in the queue under this id is no request: the first worker to see it fails it"
	}
	return r, &impossible{text, export.ErrNotNow}
}

// Search looks for an export that [Service.Get] does not know: a bare producer may
// have given it a job_id and left the TaskID to asynq, which is then known by
// nothing but its payload until a worker takes it up. It reads all that waits in
// the submit queues, so it is for a person who asks, not for each request.
func (s *Service) Search(ctx context.Context, id string) (*export.Record, error) {
	names, err := s.queue.Existing(ctx, tasks.SubmitQueues())
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		for o, err := range s.queue.Waiting(ctx, name) {
			if err != nil {
				return nil, err
			}
			if o.ID == id && o.Fault == nil {
				return s.recordOf(o), nil
			}
		}
	}
	return s.Get(ctx, id) // it may have been taken up meanwhile
}
