package worker

import (
	"context"

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
		if leave, free = w.firstReads.Enter(r.TenantName()); !free {
			return nil, false, errCrowded
		}
	}
	done, err = w.alreadyArchived(ctx, r)
	if done || err != nil {
		leave()
	}
	return leave, done, err
}
