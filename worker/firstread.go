package worker

import (
	"context"
	"sync"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
)

// beginImport writes the receipt of a task that was made elsewhere, before anything
// else is done for it, and takes a place for its first read. It reports whether nothing
// is left to do, since the task was archived before Redis forgot that.
func (w *Worker) beginImport(ctx context.Context, r *export.Record) (leave func(), done bool, err error) {
	leave = func() {}
	if !r.Imported() {
		return leave, false, nil
	}
	w.syncReceipt(ctx, r)
	if kindOfRead(r) == budget.Other {
		var free bool
		if leave, free = w.firstReads.enter(r.TenantName()); !free {
			return nil, false, errCrowded
		}
	}
	done, err = w.alreadyArchived(ctx, r)
	if done || err != nil {
		leave()
	}
	return leave, done, err
}

// firstReads are the imports that wait here for their first read. However many there
// are, other reads have the greater part of this worker's places, and each tenant some.
type firstReads struct {
	all, each int

	mu    sync.Mutex
	count int
	of    map[string]int
}

// enter takes a place until it is left; false if none is free.
func (f *firstReads) enter(tenant string) (leave func(), ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count >= f.all || f.of[tenant] >= f.each {
		return nil, false
	}
	f.count++
	f.of[tenant]++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.count--
		if f.of[tenant]--; f.of[tenant] == 0 {
			delete(f.of, tenant)
		}
	}, true
}
