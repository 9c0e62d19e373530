package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/index"
	"github.com/clipferry/clipferry/internal/recovery"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// BatchNotifier is a [Notifier] that notifies of batches as well.
type BatchNotifier interface {
	BatchCompleted(ctx context.Context, b index.Batch, at time.Time, states map[string]int) error
}

// completeBatches notifies of each batch whose members have all become final. It goes by
// the indexes alone, which the sweep keeps true, so that nothing that dies on the way
// leaves a batch open.
func (w *Worker) completeBatches(ctx context.Context) error {
	names, err := index.OpenBatches(ctx, w.o.Redis)
	if err != nil {
		return err
	}
	var faults []error
	for _, name := range names {
		if err := w.completeBatch(ctx, name); err != nil {
			faults = append(faults, fmt.Errorf("batch %s: %w", name, err))
		}
	}
	return errors.Join(faults...)
}

func (w *Worker) completeBatch(ctx context.Context, name string) error {
	b, err := index.LoadBatch(ctx, w.o.Redis, name)
	if errors.Is(err, index.ErrNoBatch) { // Redis has lost it, or its members outlived it
		return index.DropBatch(ctx, w.o.Redis, name)
	}
	if err != nil {
		return err
	}
	in, _, err := index.CountMembers(ctx, w.o.Redis, name, export.States())
	if err != nil {
		return err
	}
	open, final, states := 0, 0, map[string]int{}
	for s, n := range in {
		if !s.Final() {
			open += n
			continue
		}
		final += n
		states[string(s)] = n
	}
	forgotten := w.now().Sub(b.Created) > w.o.Ledger.Retention() // members that ended long ago may be
	if open > 0 || final < b.Count && !forgotten {
		if w.o.Archive.Health().Open {
			return nil
		}
		return w.keepBatch(ctx, name)
	}
	at, err := index.CompletedAt(ctx, w.o.Redis, b, w.now())
	if err != nil {
		return err
	}
	if n, ok := w.o.Notifier.(BatchNotifier); ok {
		if err := n.BatchCompleted(ctx, b, at, states); err != nil {
			return err
		}
	}
	w.log.Info("all members of a batch are final", logkey.Batch, name, logkey.Count, b.Count)
	if err := index.CloseBatch(ctx, w.o.Redis, b, w.o.Ledger.Retention()); err != nil {
		return err
	}
	// Whatever b.Kept says: a record that was rebuilt does not know what S3 has, and after the
	// next loss of Redis the batch would be completed once more.
	if err := w.o.Archive.ForgetBatch(ctx, name); err != nil {
		w.log.Warn("a batch that is complete could not be removed from S3", logkey.Batch, name, logkey.Error, fault.SentenceOf(err))
	}
	return nil
}

// keepBatch writes to S3 what a batch is rebuilt from after a loss of Redis, unless it is
// there. It is written before a member is paid for.
func (w *Worker) keepBatch(ctx context.Context, name string) error {
	var seal func(string, json.RawMessage) json.RawMessage
	if w.o.Notifier != nil {
		seal = w.o.Notifier.ForReceipt
	}
	return recovery.KeepBatch(ctx, w.o.Redis, w.o.Archive, name, seal)
}
