package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/recovery"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

// Receipts finds one export's receipt in S3, and what was archived.
type Receipts interface {
	Receipt(ctx context.Context, id string) (storage.Receipt, bool, error)
	recovery.Manifests
}

// ReceiptFallback is a Service that also shows exports that Redis has lost and S3 has
// not: a program that reads "no such export" of one that is
// paid for orders it again. It changes nothing; to go on with them is for
// [Service.Recover].
type ReceiptFallback struct {
	*Service
	Receipts Receipts
	Logger   *slog.Logger
}

// Whole returns a record that the ledger keeps short with all that its manifest has. One
// whose manifest is gone, or no manifest, is returned as it is.
func (d ReceiptFallback) Whole(ctx context.Context, r *export.Record) (*export.Record, error) {
	if !r.Short {
		return r, nil
	}
	m, found, err := d.Receipts.ReadManifest(ctx, r.Manifest)
	switch {
	case err != nil && fault.ClassOf(err) != fault.Terminal:
		return nil, fmt.Errorf("read the manifest of export %s: %w", r.ID, err)
	case err != nil || !found:
		return r, nil //nolint:nilerr // what is known is still true
	}
	whole := *r
	whole.Short, whole.Clips = false, map[int]*export.Clip{}
	for _, c := range recovery.ArchivedClips(m) {
		c.State = export.ClipArchived
		whole.Clips[c.Idx] = &c
	}
	return &whole, nil
}

// For is [Service.For].
func (d ReceiptFallback) For(tenant string) ReceiptFallback {
	d.Service = d.Service.For(tenant)
	return d
}

// Get is [Service.Get]; of an export that Redis does not know and S3 does, it shows
// how it stood. One that ended without an archive stays unknown: there is nothing
// left that a new order would pay for twice.
func (d ReceiptFallback) Get(ctx context.Context, id string) (*export.Record, error) {
	r, err := d.Service.Get(ctx, id)
	if !errors.Is(err, ErrUnknown) || !tasks.ValidID(id) {
		return r, err
	}
	receipt, found, failed := d.Receipts.Receipt(ctx, id)
	if failed != nil {
		return nil, fmt.Errorf("export %s is not in Redis, and its receipt can't be read: %w", id, failed)
	}
	if !found || receipt.ID != id || // which S3 may take for the same in another case
		!d.owns(&export.Record{ID: id, Tenant: receipt.Tenant}) {
		return nil, err
	}
	switch receipt.State {
	case storage.ReceiptOpen, storage.ReceiptIntent, storage.ReceiptDone:
	default:
		return nil, err
	}
	r, failed = recovery.Rebuilt(ctx, d.Receipts, receipt, d.now())
	if failed != nil {
		return nil, fmt.Errorf("export %s is not in Redis, and its receipt is of no use: %w", id, failed)
	}
	switch {
	case r.State == export.Archived:
		return r, nil
	case receipt.State == storage.ReceiptDone: // and its manifest has been removed
		return nil, err
	}
	r.Problem = export.Problem{Reason: export.ReasonRecordLost}
	d.Logger.ErrorContext(ctx, "an export that is asked for was paid for and is not in Redis; run `clipferry recover`",
		logkey.Export, id, logkey.ExportTaskID, receipt.ExportTaskID)
	return r, nil
}
