package admin

import (
	"cmp"
	"context"
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
// until a sweep has indexed them or a worker has taken them up, and so on the first
// page alone; of more than 200 in a queue the older ones are not shown before that.
func (s *Service) List(ctx context.Context, f ledger.Filter) ([]*export.Record, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	f.Tenant = cmp.Or(s.tenant, f.Tenant)
	// The queues first: what is taken up meanwhile is in the ledger by then.
	waiting, err := s.newest(ctx, f)
	if err != nil {
		return nil, err
	}
	found, err := s.ledger.List(ctx, f, s.waiting)
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

// newest returns those of the newest exports in the queues that are in no index yet
// and that the filter lets through: what a bare producer has just enqueued is not
// indexed before the next sweep.
func (s *Service) newest(ctx context.Context, f ledger.Filter) ([]*export.Record, error) {
	if f.State != "" && f.State != export.Queued {
		return nil, nil
	}
	names, err := s.queue.Existing(ctx, tasks.SubmitQueues())
	if err != nil {
		return nil, err
	}
	before := &export.Record{ID: f.BeforeID, CreatedAt: f.Before}
	var found []*export.Record
	for _, name := range names {
		// What workers have in hand comes second: what waited just now may be.
		for _, orders := range []iter.Seq2[queue.Order, error]{s.queue.Waiting(ctx, name), s.queue.TakenUp(ctx, name)} {
			looks := 0
			for o, err := range orders {
				if err != nil {
					return nil, err
				}
				if looks++; looks > newestLooks {
					break
				}
				if o.Fault != nil {
					continue // what is malformed has no record to list until a worker fails it
				}
				if r := s.recordOf(o); f.Takes(r) && (f.Batch == "" || r.Batch == f.Batch) && (f.Before.IsZero() || newestFirst(before, r) < 0) {
					found = append(found, r)
				}
			}
		}
	}
	return s.ledger.Unindexed(ctx, found)
}

// newestLooks is how many tasks of a queue are looked at for those that are not
// indexed yet.
const newestLooks = 200

// waiting returns the records that indexed exports will have which wait in a queue.
func (s *Service) waiting(ctx context.Context, ids []string) ([]*export.Record, error) {
	orders, err := s.queue.FindAll(ctx, ids)
	if err != nil {
		return nil, err
	}
	var found []*export.Record
	for _, o := range orders {
		if o.Fault == nil {
			found = append(found, s.recordOf(o))
		}
	}
	return found, nil
}
