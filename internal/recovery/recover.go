package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/storage"
)

// Archive says what was paid for and what was archived, from outside Redis.
type Archive interface {
	Receipts(ctx context.Context, since time.Time) iter.Seq2[storage.Receipt, error]
	Batches(ctx context.Context) iter.Seq2[storage.Batch, error]
	Manifests
}

// Recipients reads from a receipt whom to tell of the export's end; a
// notify.Envelope does. Without one nobody is told.
type Recipients interface {
	FromReceipt(id string, receipt json.RawMessage) (json.RawMessage, error)
}

// Recovered says what Recover did.
type Recovered struct {
	Rebuilt  int // exports that had no record and have one again
	Known    int // open receipts whose export the ledger knows
	Closed   int // receipts of exports that are over
	Repaired int // of these two, exports whose record was from before what the receipt says
	Passed   int // requests that were passed through, and what became of them
	Batches  []RecoveredBatch
}

// openFor is how long an export may be open at most. The provider keeps results for
// days; what was last written of an export longer ago needs no recovery.
const openFor = 30 * 24 * time.Hour

// Recover rebuilds from the receipts every export that was paid for and whose
// record is gone, and puts records right that Redis has from before what their
// receipts say. It rebuilds batches as well, and those of their members that are
// over, which count for their end. Run twice, or beside a running fleet, it changes nothing else: a
// record that exists is left alone, but for whom to tell where it doesn't know.
// An export comes back even if whom to tell of it can't be read any more; that is
// one of the faults returned.
func (s *Service) Recover(ctx context.Context, archive Archive, to Recipients) (Recovered, error) {
	var (
		done   Recovered
		faults []error
	)
	batches, members, err := s.lostBatches(ctx, archive)
	if err != nil {
		faults = append(faults, err)
	}
	answers := answers{accepted: map[string]time.Time{}}
	since := s.now().Add(-max(openFor, s.ledger.Retention()))
	for receipt, err := range archive.Receipts(ctx, since) {
		if err != nil {
			faults = append(faults, err) // the others are worth no less for it
			continue
		}
		if len(receipt.Passed) > 0 {
			restored, err := s.restorePassed(ctx, receipt)
			if err != nil {
				faults = append(faults, fmt.Errorf("recover what was passed through: %w", err))
			}
			if restored {
				done.Passed++
			}
			continue
		}
		answers.note(receipt)
		repaired, err := s.repair(ctx, archive, receipt)
		if err != nil {
			faults = append(faults, fmt.Errorf("recover export %s: %w", receipt.ID, err))
			continue
		}
		if repaired {
			done.Repaired++
		}
		if receipt.Ended() {
			done.Closed++
			if members[receipt.ID] {
				if err := s.rebuildEnded(ctx, archive, receipt); err != nil {
					faults = append(faults, fmt.Errorf("recover export %s, which has ended: %w", receipt.ID, err))
				}
			}
			continue
		}
		var notify json.RawMessage
		var untold error
		if to != nil {
			notify, untold = to.FromReceipt(receipt.ID, receipt.Notify)
		}
		created, err := s.rebuild(ctx, archive, receipt, notify)
		switch {
		case err != nil:
			faults = append(faults, fmt.Errorf("recover export %s: %w", receipt.ID, err))
		case created:
			done.Rebuilt++
			if untold != nil {
				faults = append(faults, fmt.Errorf("export %s is rebuilt, but nobody will be told of its end: %w", receipt.ID, untold))
			}
		default:
			done.Known++
		}
	}
	if err := s.recall(ctx, answers); err != nil {
		faults = append(faults, err)
	}
	for _, b := range batches { // last, so that one whose recovery is cut off is taken up again
		recovered, err := s.rebuildBatch(ctx, b, to)
		if err != nil {
			faults = append(faults, fmt.Errorf("recover batch %s: %w", b.Name, err))
		}
		if recovered.Name != "" {
			done.Batches = append(done.Batches, recovered)
		}
	}
	return done, errors.Join(faults...)
}

// answers is what receipts say of how accounts accept orders.
type answers struct {
	accepted map[string]time.Time // by account: when the last one was sent that was understood
	odd      []storage.Receipt    // of those that were not
}

func (a *answers) note(r storage.Receipt) {
	switch {
	case r.Kind != "": // a task that was made elsewhere
	case r.ExportTaskID != "" && r.Submitted.After(a.accepted[r.Account]):
		a.accepted[r.Account] = r.Submitted
	case r.ExportTaskID == "" && r.Answer != "" && !r.Ended():
		a.odd = append(a.odd, r)
	}
}

// recall tells accounts of orders since the last that was understood: they have to halt
// again before more is paid for likewise.
func (s *Service) recall(ctx context.Context, a answers) error {
	if s.Recall == nil {
		return nil
	}
	var faults []error
	for _, r := range a.odd {
		if r.Submitted.After(a.accepted[r.Account]) {
			faults = append(faults, s.Recall(ctx, r.Account, r.ID, r.Submitted))
		}
	}
	return errors.Join(faults...)
}

func (s *Service) restorePassed(ctx context.Context, receipt storage.Receipt) (bool, error) {
	if s.Passed == nil {
		return false, nil
	}
	return s.Passed.Restore(ctx, receipt)
}

func (s *Service) rebuild(ctx context.Context, archive Archive, receipt storage.Receipt, notify json.RawMessage) (bool, error) {
	r, err := Rebuilt(ctx, archive, receipt, s.now())
	if err != nil {
		return false, err
	}
	r.Notify = notify
	created, err := s.ledger.Create(ctx, r)
	if err != nil {
		return false, err
	}
	if !created {
		if r, err = s.known(ctx, r); err != nil {
			return false, err
		}
	}
	return created, s.queue.Schedule(ctx, r)
}

// known returns the record of an export that has one already. Whom to tell is
// filled in where an earlier recovery could not read it.
func (s *Service) known(ctx context.Context, rebuilt *export.Record) (*export.Record, error) {
	untold := func(r *export.Record) bool { return len(r.Notify) == 0 && r.Digest == rebuilt.Digest }
	r, err := s.ledger.Load(ctx, rebuilt.ID)
	if err != nil || rebuilt.Notify == nil || !untold(r) {
		return r, err
	}
	return s.ledger.Update(ctx, rebuilt.ID, func(r *export.Record) error {
		if untold(r) {
			r.Notify = rebuilt.Notify
		}
		return nil
	})
}
