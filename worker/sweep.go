package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/index"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/observe"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/tasks"
)

// How often the fleet is swept, and how old our unfinished uploads must be to
// be aborted.
const (
	sweepEvery    = time.Minute
	orphansEvery  = time.Hour
	orphansOlder  = 24 * time.Hour
	trimAtOnce    = 1000
	sweepLeaseFor = 50 * time.Second
	// An export is indexed a moment before it is enqueued.
	vanishedAfter  = 5 * time.Minute
	vanishedAtOnce = 100
)

// sweepLoop sweeps at start and every minute, in one worker of the fleet at a time.
func (w *Worker) sweepLoop(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	var orphans time.Time
	for {
		if err := errors.Join(w.publishServed(ctx), w.sweepOnce(ctx, &orphans)); err != nil && ctx.Err() == nil {
			w.log.Error("the sweep is not complete; again in a minute", logkey.Error, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// queues are all that this worker serves.
func (w *Worker) queues(ctx context.Context) []string {
	names := queue.All(slices.Sorted(maps.Keys(w.o.Accounts))...)
	for account := range w.o.Accounts {
		names = append(names, w.tenantQueues(ctx, account)...)
	}
	return names
}

func (w *Worker) sweepOnce(ctx context.Context, orphans *time.Time) error {
	// The lease is left to end by itself: it spaces the sweeps of the fleet.
	_, err := w.o.Ledger.FleetLease(ctx, "sweep", sweepLeaseFor)
	if errors.Is(err, ledger.ErrLeased) {
		return nil
	}
	if err != nil {
		return err
	}
	faults := []error{tasks.PublishQueues(ctx, w.o.Redis, w.queues(ctx)...), w.recordDeadLetters(ctx), w.Sweep(ctx), w.indexWaiting(ctx)}
	if w.o.Catalog != nil && !w.catalogRests() {
		_, err := w.o.Catalog.Merge(ctx)
		faults = append(faults, err)
	}
	if now := w.now(); now.Sub(*orphans) > orphansEvery {
		*orphans = now
		faults = append(faults, w.housekeeping(ctx, now))
	}
	return errors.Join(faults...)
}

// Sweep looks after every export that needs care: tasks that are missing come
// back, deadlines are watched, slots follow the truth. Everything that it repairs
// is repaired along the way as well: nothing depends on it.
func (w *Worker) Sweep(ctx context.Context) error {
	began := w.now()
	var open []observe.Deadline
	err := errors.Join(w.sweepAll(ctx, &open), w.completeBatches(ctx))
	if ctx.Err() == nil {
		w.watch.Swept(observe.Sweep{Took: w.now().Sub(began), Err: err, Open: open})
	}
	return err
}

// sweepAll adds the deadlines that it meets to open.
func (w *Worker) sweepAll(ctx context.Context, open *[]observe.Deadline) error {
	ids, err := w.o.Ledger.Open(ctx)
	if err != nil {
		return err
	}
	var faults []error
	for _, id := range ids {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := w.sweepExport(ctx, id, open); err != nil {
			faults = append(faults, fmt.Errorf("sweep export %s: %w", id, err))
		}
	}
	faults = append(faults, w.freeSlots(ctx))
	return errors.Join(faults...)
}

func (w *Worker) sweepExport(ctx context.Context, id string, open *[]observe.Deadline) error {
	r, err := w.o.Ledger.Load(ctx, id)
	if errors.Is(err, ledger.ErrUnknown) {
		// Its creation was cut off, or is under way: then its entry is made anew with the record.
		return w.o.Ledger.Tidy(ctx, id)
	}
	if err != nil {
		return err
	}
	if err := w.o.Ledger.Tidy(ctx, id); err != nil {
		return err
	}
	if r.Batch != "" && !r.State.Final() { // a retry, or a member that came late, reopens it
		if err := index.ReopenBatch(ctx, w.o.Redis, r.Batch, w.now()); err != nil {
			return err
		}
	}
	if d, ok := deadline(r); ok {
		*open = append(*open, d)
	}
	w.charge(ctx, r)
	if overdue(r, w.now()) {
		return w.expire(ctx, r, export.Problem{})
	}
	r, err = w.expedite(ctx, r)
	if err != nil {
		return err
	}
	if r.HoldsSlot() && r.State != export.Submitting {
		// An account that this worker does not have is others' to look after.
		if account, err := w.account(r); err == nil {
			if err := account.Gate.Hold(ctx, id, r.SubmittedAt, resolution(r), len(r.Wanted)); err != nil {
				return err
			}
		}
	}
	return w.followUp(ctx, r)
}

// overdue reports whether an export is past its deadline with nothing left to
// hope for. Mirrors that still work are not cut: they end it themselves.
func overdue(r *export.Record, now time.Time) bool {
	if r.State != export.Rendering && r.State != export.Mirroring || r.Sealable() || !lapsed(r, now) {
		return false
	}
	for _, c := range r.Clips {
		if c.State == export.ClipReady {
			return false
		}
	}
	return true
}

// expedite moves clips whose deadline came near to the urgent queue.
func (w *Worker) expedite(ctx context.Context, r *export.Record) (*export.Record, error) {
	due := false
	for _, c := range r.Clips {
		due = due || c.State == export.ClipReady && !c.Urgent && r.NearDeadline(w.now())
	}
	if !due || r.State.Final() {
		return r, nil
	}
	w.log.Warn("the deadline of an export is near and clips are not archived yet", logkey.Export, r.ID,
		logkey.ExpireAt, r.ExpireAt, logkey.Archived, r.ArchivedCount, logkey.Clips, r.ClipCount)
	changed, err := w.o.Ledger.Update(ctx, r.ID, func(r *export.Record) error {
		for idx, c := range r.Clips {
			if err := r.Urge(w.now(), idx, c.Round); err != nil && !refused(err) {
				return err
			}
		}
		return nil
	})
	if refused(err) {
		return r, nil
	}
	return changed, err
}

// freeSlots frees the slots of exports that the provider is done with.
func (w *Worker) freeSlots(ctx context.Context) error {
	var faults []error
	for name, account := range w.o.Accounts {
		ids, err := account.Gate.Slots(ctx)
		if err != nil {
			faults = append(faults, fmt.Errorf("list the slots of account %s: %w", name, err))
			continue
		}
		for _, id := range ids {
			if strings.HasPrefix(id, budget.PassedPrefix) {
				continue // no export's; its own reads and its lease end it
			}
			r, err := w.o.Ledger.LoadHead(ctx, id)
			switch {
			case errors.Is(err, ledger.ErrUnknown), err == nil && slotOver(r):
				err = account.Gate.Release(ctx, id)
			}
			if err != nil {
				faults = append(faults, fmt.Errorf("check the slot of export %s: %w", id, err))
			}
		}
	}
	return errors.Join(faults...)
}

// slotOver reports whether an export needs its slot no more. One that is queued
// may have got it this moment, ahead of its paid request; one whose request is
// in doubt may run at the provider: both keep it, for its lease at the most.
func slotOver(r *export.Record) bool {
	return !r.HoldsSlot() && r.State != export.Queued && r.State != export.Held
}

// indexWaiting enters in the indexes what bare producers have enqueued, and takes out
// what waited and is in no queue any more.
func (w *Worker) indexWaiting(ctx context.Context) error {
	_, entering := w.queue.EnterWaiting(ctx, w.o.Ledger.Retention(), w.now())
	vanished, err := w.queue.Vanished(ctx, w.now().Add(-vanishedAfter), vanishedAtOnce)
	faults := []error{entering, err}
	for _, id := range vanished {
		faults = append(faults, w.o.Ledger.Tidy(ctx, id))
	}
	return errors.Join(faults...)
}

func (w *Worker) housekeeping(ctx context.Context, now time.Time) error {
	aborted, err := w.o.Archive.AbortOrphans(ctx, orphansOlder)
	if aborted > 0 {
		w.log.Info("aborted uploads that nobody finished", logkey.Count, aborted)
	}
	_, trim := w.o.Ledger.Trim(ctx, now, trimAtOnce)
	return errors.Join(err, trim)
}
