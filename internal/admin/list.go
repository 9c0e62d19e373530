package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/tasks"
)

// List returns exports without their clips, newest first. Page after page shows
// each export once, whatever workers take up meanwhile; but those of a producer
// that does not say when it enqueued them (tasks.HeaderEnqueuedAt) are the newest
// until they are taken up, and so on the first page alone.
func (s *Service) List(ctx context.Context, f ledger.Filter) ([]*export.Record, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	// The queues first: what is taken up meanwhile is in the ledger by then.
	waiting, err := s.notRecorded(ctx, f)
	if err != nil {
		return nil, err
	}
	found, err := s.ledger.List(ctx, f)
	if err != nil {
		return nil, err
	}
	listed := make(map[string]bool, len(found)+len(waiting))
	for _, r := range found {
		listed[r.ID] = true
	}
	for _, r := range waiting { // a queue that moves between two pages shows a task twice
		if !listed[r.ID] {
			listed[r.ID] = true
			found = append(found, r)
		}
	}
	slices.SortFunc(found, newestFirst)
	found = found[:min(len(found), f.Limit)]
	showNewestFirst(found, len(found) == f.Limit)
	return found, nil
}

// showNewestFirst puts those of one millisecond in order as well; but not the last
// of them if more may follow, which would be of the same.
func showNewestFirst(found []*export.Record, more bool) {
	whole := found
	for more && len(whole) > 0 && whole[len(whole)-1].CreatedAt.UnixMilli() == found[len(found)-1].CreatedAt.UnixMilli() {
		whole = whole[:len(whole)-1]
	}
	slices.SortStableFunc(whole, func(a, b *export.Record) int { return b.CreatedAt.Compare(a.CreatedAt) })
}

// LastOf returns the export of a page, which is not empty, after which the next
// one goes on: Before and BeforeID of its filter.
func LastOf(page []*export.Record) *export.Record { return slices.MaxFunc(page, newestFirst) }

// newestFirst is the order of the ledger's index, in which the next page goes on.
func newestFirst(a, b *export.Record) int {
	return cmp.Or(cmp.Compare(b.CreatedAt.UnixMilli(), a.CreatedAt.UnixMilli()), cmp.Compare(b.ID, a.ID))
}

// notRecorded returns the exports that wait in a queue and have no record yet, at least
// the newest f.Limit of those that the filter lets through.
func (s *Service) notRecorded(ctx context.Context, f ledger.Filter) ([]*export.Record, error) {
	if f.State != "" && f.State != export.Queued {
		return nil, nil
	}
	there, err := s.inspector.Queues() // asking for one that was never used is an error
	if err != nil {
		return nil, fmt.Errorf("list the queues: %w", err)
	}
	var found []*export.Record
	for _, name := range append(tasks.SubmitQueues(), tasks.OwnedQueues(there)...) {
		if !slices.Contains(there, name) {
			continue
		}
		waiting, err := s.waiting(ctx, name, f)
		if err != nil {
			return nil, fmt.Errorf("list queue %s: %w", name, err)
		}
		active, err := s.takenUp(ctx, name, f) // afterwards: what waited just now may be
		if err != nil {
			return nil, fmt.Errorf("list what runs of queue %s: %w", name, err)
		}
		found = append(append(found, waiting...), active...)
	}
	return found, nil
}

const listPage = 200 // tasks that are asked for at once

// waiting looks through what waits in a queue, from the newest on.
func (s *Service) waiting(ctx context.Context, name string, f ledger.Filter) ([]*export.Record, error) {
	info, err := s.inspector.GetQueueInfo(name)
	if err != nil {
		return nil, err
	}
	var found []*export.Record
	enough := false
	for page := (info.Pending + listPage - 1) / listPage; page > 0 && !enough; page-- { // the last page is the newest
		enough = len(found) >= f.Limit // one more: producers at once are not quite in order
		infos, err := s.inspector.ListPendingTasks(name, asynq.Page(page), asynq.PageSize(listPage))
		if err != nil {
			return nil, err
		}
		if found, err = s.addNotRecorded(ctx, found, infos, f); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// takenUp looks through what a worker has in hand, and perhaps not in the ledger yet.
func (s *Service) takenUp(ctx context.Context, name string, f ledger.Filter) ([]*export.Record, error) {
	var found []*export.Record
	for page := 1; ; page++ {
		infos, err := s.inspector.ListActiveTasks(name, asynq.Page(page), asynq.PageSize(listPage))
		if err != nil {
			return nil, err
		}
		if found, err = s.addNotRecorded(ctx, found, infos, f); err != nil || len(infos) < listPage {
			return found, err
		}
	}
}

// addNotRecorded adds the records that the tasks stand for, but for those that are in
// the ledger already or that the filter holds back.
func (s *Service) addNotRecorded(ctx context.Context, to []*export.Record, infos []*asynq.TaskInfo, f ledger.Filter) ([]*export.Record, error) {
	before := &export.Record{ID: f.BeforeID, CreatedAt: f.Before}
	for _, info := range infos {
		if err := ctx.Err(); err != nil { // the inspector takes no context
			return nil, err
		}
		submit, malformed := tasks.ParseSubmit(info.ID, info.Payload)
		if info.Type != tasks.TypeSubmit || malformed != nil || !submit.RequestGiven || f.Project != "" && submit.Request.ProjectID != f.Project {
			continue // what is malformed has no record to list until a worker fails it
		}
		r := queue.NewRecord(submit, info.Headers, s.now())
		if !f.Before.IsZero() && newestFirst(before, r) >= 0 {
			continue
		}
		switch _, err := s.ledger.LoadHead(ctx, submit.ID); {
		case err == nil:
		case errors.Is(err, ledger.ErrUnknown):
			to = append(to, r)
		default:
			return nil, err
		}
	}
	return to, nil
}
