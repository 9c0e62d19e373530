package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/breaker"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/storage"
)

// seal writes the manifest, last of all.
func (w *Worker) seal(ctx context.Context, t *asynq.Task) error {
	taskID, _ := asynq.GetTaskID(ctx)
	s, err := queue.Parse(taskID, t.Type(), t.Payload())
	if err != nil {
		return w.malformed(ctx, taskID, "", err)
	}
	cut, cancelWait := w.untilStop(ctx)
	defer cancelWait()
	if _, err := w.waitForBucket(cut); errors.Is(err, breaker.ErrHere) && !w.Draining() {
		return errElsewhere
	} else if err != nil {
		return errStopping
	}
	r, err := w.o.Ledger.LoadAnswered(ctx, s.ID)
	if errors.Is(err, ledger.ErrUnknown) {
		return w.ensureAll(ctx, s.ID)
	}
	if err != nil {
		return err
	}
	if !export.IsDue(r, s.Step) {
		return w.ensure(ctx, r)
	}
	key, err := w.o.Archive.PutManifest(ctx, manifestOf(r, w.now()))
	w.bucketSaid(ctx, err)
	if errors.Is(err, storage.ErrSealed) {
		over, err := w.restored(ctx, r)
		if over {
			return err
		}
		if err == nil { // it was there a moment ago
			err = fault.New(fault.Retry, "a manifest comes and goes", nil)
		}
		return w.sealFailed(ctx, r, err)
	}
	if err != nil {
		return w.sealFailed(ctx, r, err)
	}
	ctx, cancel := w.toTheEnd(ctx)
	defer cancel()
	r, err = w.persist(ctx, s.ID, ofTask(r.ExportTaskID, func(r *export.Record) error { return r.Seal(w.now(), key) }))
	if err != nil {
		return w.leave(ctx, r, err)
	}
	w.log.Info("export archived", logkey.Export, r.ID, logkey.ProjectID, r.ProjectID, logkey.Clips, r.ArchivedCount,
		logkey.Bytes, r.ArchivedBytes, logkey.Manifest, key)
	return w.ensure(ctx, r)
}

func (w *Worker) sealFailed(ctx context.Context, r *export.Record, err error) error {
	w.watch.Faulted(ctx, export.StepSeal, err)
	why := export.Problem{Reason: export.ReasonManifestNotWritten, Detail: fault.SentenceOf(err)}
	w.log.Warn("a manifest could not be written", logkey.Export, r.ID, logkey.Error, err)
	next := w.now().Add(retry.Backoff(r.SealRound, time.Second, time.Minute))
	round := r.SealRound
	r, err = w.persist(ctx, r.ID, func(r *export.Record) error {
		return r.SealRetry(w.now(), round, why, next)
	})
	if err != nil {
		return w.leave(ctx, r, err)
	}
	return w.ensure(ctx, r)
}

func manifestOf(r *export.Record, now time.Time) storage.Manifest {
	m := storage.Manifest{
		ID: r.ID, ProjectID: r.ProjectID, ExportTaskID: r.ExportTaskID, Request: r.Request, Answer: r.LastAnswer,
		CostUsage: r.CostUsage, CreatedAt: r.CreatedAt.UTC(), ArchivedAt: now.UTC(),
	}
	if len(r.Duplicates) > 0 {
		m.Warnings = append(m.Warnings, "paid for more than once, after lost answers: "+strings.Join(r.Duplicates, ", "))
	}
	for _, oddity := range provider.Oddities(r.LastAnswer) {
		m.Warnings = append(m.Warnings, "the provider's answer is odd: "+oddity)
	}
	for _, idx := range slices.Sorted(maps.Keys(r.Clips)) {
		c := r.Clips[idx]
		clip := storage.ManifestClip{ // tags are a list, also where the provider gave none
			Idx: idx, Title: c.Title, Desc: c.Desc, Tags: append([]string{}, c.Tags...), Score: c.Score, BeginMS: c.BeginMS, EndMS: c.EndMS,
			Warning: c.Warning, ManifestFile: storage.ManifestFile{Object: c.Object, ArchivedAt: c.ArchivedAt.UTC()},
		}
		if c.Thumb != nil {
			clip.Thumbnail = &storage.ManifestFile{Object: *c.Thumb, ArchivedAt: c.ArchivedAt.UTC()}
		}
		m.Clips = append(m.Clips, clip)
	}
	return m
}
