package control

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

// Receipts lists what was paid for, from outside Redis.
type Receipts interface {
	Receipts(ctx context.Context) iter.Seq2[storage.Receipt, error]
}

// Recovered says what Recover did.
type Recovered struct {
	Rebuilt int // exports that had no record and have one again
	Known   int // open receipts whose export the ledger knows
	Closed  int // receipts of exports that are over
}

// Recover rebuilds from the receipts every export that was paid for and whose
// record is gone. Run twice, or beside a running fleet, it changes nothing:
// a record that exists is left alone.
func (d *Desk) Recover(ctx context.Context, receipts Receipts) (Recovered, error) {
	var (
		done   Recovered
		faults []error
	)
	for receipt, err := range receipts.Receipts(ctx) {
		if err != nil {
			faults = append(faults, err) // the others are worth no less for it
			continue
		}
		if receipt.State != storage.ReceiptOpen {
			done.Closed++
			continue
		}
		created, err := d.rebuild(ctx, receipt)
		switch {
		case err != nil:
			faults = append(faults, fmt.Errorf("recover export %s: %w", receipt.ID, err))
		case created:
			done.Rebuilt++
		default:
			done.Known++
		}
	}
	return done, errors.Join(faults...)
}

func (d *Desk) rebuild(ctx context.Context, receipt storage.Receipt) (bool, error) {
	r, err := FromReceipt(receipt)
	if err != nil {
		return false, err
	}
	created, err := d.ledger.Create(ctx, r)
	if err != nil {
		return false, err
	}
	if !created {
		if r, err = d.ledger.Load(ctx, r.ID); err != nil {
			return false, err
		}
	}
	return created, d.dispatch.Ensure(ctx, r)
}

// FromReceipt returns the record of an export that was paid for, as it was
// right after the provider accepted it.
func FromReceipt(receipt storage.Receipt) (*export.Record, error) {
	e, err := tasks.ParseExport(receipt.Request)
	if err != nil {
		return nil, fmt.Errorf("the request in its receipt: %w", err)
	}
	r := export.New(receipt.ID, receipt.Request, e.Digest(), receipt.ProjectID, receipt.Submitted)
	r.Wanted = e.ClipIndices
	r.Account = receipt.Account
	r.State = export.Submitting
	r.Attempts = 1
	if err := r.Accept(receipt.Submitted, receipt.ExportTaskID, "", ""); err != nil {
		return nil, err
	}
	r.Receipt = string(receipt.State)
	return r, nil
}
