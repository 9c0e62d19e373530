package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/index"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/storage"
)

// RecoveredBatch is a batch that had no record and has one again.
type RecoveredBatch struct {
	Name    string
	Missing int // members that nothing is known of: they were not ordered, if all receipts could be read
}

// batchID is what the notification of a batch is sealed for; no export has such an id.
func batchID(name string) string { return "batch " + name }

// KeepBatch writes to S3 what the batch is rebuilt from, unless it is there. seal is as a
// notifier's ForReceipt; nil if nobody is notified.
func KeepBatch(ctx context.Context, rdb redis.UniversalClient, to BatchKeeper, name string, seal func(id string, notify json.RawMessage) json.RawMessage) error {
	b, err := index.LoadBatch(ctx, rdb, name)
	if errors.Is(err, index.ErrNoBatch) || err == nil && b.Kept {
		return nil
	}
	if err != nil {
		return err
	}
	members, err := index.BatchMembers(ctx, rdb, name)
	if err != nil {
		return err
	}
	if seal != nil {
		b.Notify = seal(batchID(name), b.Notify)
	}
	if err := to.KeepBatch(ctx, storage.Batch{Batch: b, Members: members}); err != nil {
		return err
	}
	return index.BatchKept(ctx, rdb, name)
}

// BatchKeeper is where batches are kept.
type BatchKeeper interface {
	KeepBatch(ctx context.Context, b storage.Batch) error
}

// lostBatches returns the batches in S3 that have no record, or one that does not know whom
// to notify, since an earlier recovery could not read that; and whether an id is a member
// of any batch there: one whose record is back may miss members, if not every receipt could
// be read then. What can't be read is in the error, and the others are returned.
func (s *Service) lostBatches(ctx context.Context, from Archive) (lost []storage.Batch, members map[string]bool, err error) {
	var faults []error
	members = map[string]bool{}
	for b, err := range from.Batches(ctx) {
		if err != nil {
			faults = append(faults, err)
			continue
		}
		for _, id := range b.Members {
			members[id] = true
		}
		switch known, err := index.LoadBatch(ctx, s.rdb, b.Name); {
		case errors.Is(err, index.ErrNoBatch), err == nil && known.Notify == nil && b.Notify != nil:
			lost = append(lost, b)
		case err != nil:
			faults = append(faults, err)
		}
	}
	return lost, members, errors.Join(faults...)
}

// rebuildEnded makes the record of a batch's member that was over when Redis was lost,
// unless it has one. Whoever wanted to know of its end was notified then.
func (s *Service) rebuildEnded(ctx context.Context, archive Archive, receipt storage.Receipt) error {
	if _, err := s.ledger.LoadHead(ctx, receipt.ID); !errors.Is(err, ledger.ErrUnknown) {
		return err
	}
	r, err := Rebuilt(ctx, archive, receipt, s.now())
	if err != nil {
		return err
	}
	if !r.State.Final() { // its archive was removed
		return nil
	}
	_, err = s.ledger.Create(ctx, r)
	return err
}

func (s *Service) rebuildBatch(ctx context.Context, b storage.Batch, to Recipients) (RecoveredBatch, error) {
	var untold error
	sealed := b.Notify
	if b.Notify = nil; to != nil {
		b.Notify, untold = to.FromReceipt(batchID(b.Name), sealed)
	}
	if untold != nil {
		untold = fmt.Errorf("it is rebuilt, but nobody will be told of its end: %w", untold)
	}
	if err := index.AddMembers(ctx, s.rdb, b.Name, b.Created, b.Members); err != nil {
		return RecoveredBatch{}, err
	}
	if err := index.SaveBatch(ctx, s.rdb, b.Batch); err != nil {
		return RecoveredBatch{}, err
	}
	if untold != nil { // or S3 would forget it as well
		if err := index.BatchKept(ctx, s.rdb, b.Name); err != nil {
			return RecoveredBatch{}, err
		}
	}
	_, missing, err := index.CountMembers(ctx, s.rdb, b.Name, export.States())
	return RecoveredBatch{b.Name, missing}, errors.Join(untold, err)
}
