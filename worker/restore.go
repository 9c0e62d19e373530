package worker

import (
	"context"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/recovery"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/storage"
)

// spared reports whether an export that is about to end does not end now: it
// is archived, or S3 does not say whether it is.
func (w *Worker) spared(ctx context.Context, r *export.Record) (bool, error) {
	over, err := w.restored(ctx, r)
	if over || err == nil {
		return over, err
	}
	return true, w.endLater(ctx, r, err)
}

// restored looks, before an export ends as one that the provider no longer has,
// whether its manifest stands: a Redis that was restored from an older image has
// forgotten that. It reports whether the export is over with that.
func (w *Worker) restored(ctx context.Context, r *export.Record) (bool, error) {
	if r.ExportTaskID == "" || !export.Allowed(r.State, export.EvRestore) {
		return false, nil
	}
	receipt := storage.Receipt{ProjectID: r.ProjectID, ExportTaskID: r.ExportTaskID}
	manifest, key, stands, err := recovery.ManifestOf(ctx, w.o.Archive, receipt)
	w.bucketSaid(ctx, err)
	if fault.ClassOf(err) == fault.Terminal {
		return false, nil // something is there that is no manifest of ours: asking again won't help
	}
	if err != nil || !stands {
		return false, err
	}
	task := r.ExportTaskID
	restored, err := w.persist(ctx, r.ID, ofTask(task, func(r *export.Record) error {
		return r.Restore(w.now(), task, key, recovery.ArchivedClips(manifest))
	}))
	if err != nil {
		return false, ignoreSettled(err)
	}
	w.log.Warn("found the manifest of an export that the ledger did not know as archived",
		logkey.Export, r.ID, logkey.ExportTaskID, task, logkey.Manifest, key)
	w.releaseSlot(ctx, restored)
	return true, w.ensure(ctx, restored)
}

// endLater leaves an export open of which S3 does not say whether it is
// archived; its read, if it waits for one, or the sweeper asks again.
func (w *Worker) endLater(ctx context.Context, r *export.Record, cause error) error {
	w.log.Error("S3 does not say whether an export is archived; it is not given up before that",
		logkey.Export, r.ID, logkey.Error, fault.SentenceOf(cause))
	if r.Read == export.ReadNone {
		return nil
	}
	n := r.Step
	r, err := w.persist(ctx, r.ID, func(r *export.Record) error {
		return r.ReadFault(w.now(), n, export.Problem{Reason: export.ReasonReceiptUnreadable, Detail: fault.SentenceOf(cause)}, w.now().Add(time.Minute))
	})
	if err != nil {
		return w.leave(ctx, r, err)
	}
	return w.ensure(ctx, r)
}
