package admin

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"

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
	f.Tenant = cmp.Or(s.tenant, f.Tenant)
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
	names, err := s.queue.Existing(ctx, tasks.SubmitQueues())
	if err != nil {
		return nil, err
	}
	var found []*export.Record
	for _, name := range names {
		// What workers have in hand comes second: what waited just now may be.
		for _, orders := range []iter.Seq2[queue.Order, error]{s.queue.Waiting(ctx, name), s.queue.TakenUp(ctx, name)} {
			more, err := s.notRecordedOf(ctx, orders, f)
			if err != nil {
				return nil, err
			}
			found = append(found, more...)
		}
	}
	return found, nil
}

// notRecordedOf returns the records of the orders, but for those that are
// in the ledger already or that the filter holds back.
func (s *Service) notRecordedOf(ctx context.Context, orders iter.Seq2[queue.Order, error], f ledger.Filter) ([]*export.Record, error) {
	before := &export.Record{ID: f.BeforeID, CreatedAt: f.Before}
	var found []*export.Record
	surplus := 0
	for o, err := range orders {
		switch {
		case err != nil:
			return nil, err
		case o.Fault != nil:
			continue // what is malformed has no record to list until a worker fails it
		case surplus > listSurplus:
			return found, nil
		}
		r := s.recordOf(o)
		if !f.Takes(r) || !f.Before.IsZero() && newestFirst(before, r) >= 0 {
			continue
		}
		switch _, err := s.ledger.LoadHead(ctx, o.ID); {
		case err == nil, errors.Is(err, ledger.ErrUnreadable):
		case errors.Is(err, ledger.ErrUnknown):
			if found = append(found, r); len(found) > f.Limit {
				surplus++
			}
		default:
			return nil, err
		}
	}
	return found, nil
}

// listSurplus is how many more exports of a queue are looked at than a page holds:
// producers at once are not quite in order.
const listSurplus = 200
