package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/storage"
)

// repair puts a record right that Redis has from before what its receipt says:
// a backup was restored, or a failover lost the last moments. It reports whether
// there was something to do. Without a record nothing is.
func (s *Service) repair(ctx context.Context, from Manifests, receipt storage.Receipt) (bool, error) {
	r, err := s.ledger.LoadHead(ctx, receipt.ID)
	if errors.Is(err, ledger.ErrUnknown) {
		return false, nil
	}
	if err != nil || !diverged(r, receipt) {
		return false, err
	}
	if len(receipt.Request) > 0 {
		e, err := RequestIn(receipt)
		if err != nil {
			return false, err
		}
		switch {
		case e.Digest() == r.Digest:
		case receipt.State == storage.ReceiptDone:
			return false, nil // it is over, and the id is another's now
		case r.State == export.Queued && r.Attempts == 0:
			return s.yield(ctx, from, receipt)
		default:
			return false, fmt.Errorf("the receipt of task %s is for a different request than the export that has its id now", receipt.ExportTaskID)
		}
	}
	found, err := archiveOf(ctx, from, receipt)
	if err != nil {
		return false, err
	}
	_, err = s.change(ctx, receipt.ID, func(r *export.Record) error {
		if !diverged(r, receipt) {
			return export.ErrStale
		}
		return reconcile(r, s.now(), receipt, found)
	})
	return corrected(err)
}

// yield gives the id of an export that was never sent back to the one that was paid for
// under it.
func (s *Service) yield(ctx context.Context, from Manifests, receipt storage.Receipt) (bool, error) {
	other, err := Rebuilt(ctx, from, receipt, s.now())
	if err != nil {
		return false, err
	}
	_, err = s.change(ctx, receipt.ID, func(r *export.Record) error {
		if r.Digest == other.Digest {
			return export.ErrStale
		}
		return r.Yield(s.now(), other)
	})
	return corrected(err)
}

// corrected reports whether a change was made. One that the record refuses is not needed
// any more.
func corrected(err error) (bool, error) {
	if errors.Is(err, export.ErrStale) || errors.Is(err, export.ErrNotNow) {
		return false, nil
	}
	return err == nil, err
}

// diverged reports whether the receipt says something that the record does not
// know: another task, or the archive. What waits to be submitted would find its receipt
// itself, but only once it is its turn, perhaps after the deadline of what was paid
// for. What was canceled is a person's to take up.
func diverged(r *export.Record, receipt storage.Receipt) bool {
	switch {
	case receipt.ExportTaskID == "" || slices.Contains(r.Previous, receipt.ExportTaskID):
		return false
	case r.State == export.Archived, r.State == export.Canceled, r.State == export.Submitting:
		return false
	case receipt.State == storage.ReceiptDone:
		return true
	case receipt.State == storage.ReceiptOpen:
		return r.ExportTaskID != receipt.ExportTaskID && !slices.Contains(r.Duplicates, receipt.ExportTaskID)
	default:
		return false
	}
}

// reconcile lets the record go on as what its receipt says was paid for last. Its
// own task was given up for that where the receipt says so, or where it came to
// an end; else both were paid for.
func reconcile(r *export.Record, now time.Time, receipt storage.Receipt, a archive) error {
	own := r.ExportTaskID
	if own == "" { // only the key that paid can read the task
		r.Account = receipt.Account
	}
	if own != "" && own != receipt.ExportTaskID && (r.State.Final() || slices.Contains(receipt.Earlier, own)) {
		if err := r.Replace(now, receipt.ExportTaskID, receipt.Submitted); err != nil {
			return err
		}
	}
	if receipt.State == storage.ReceiptDone && !a.complete {
		return fmt.Errorf("the receipt is done and there is no manifest: %w", export.ErrStale)
	}
	return adopt(r, now, receipt, a)
}
