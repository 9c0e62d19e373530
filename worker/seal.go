package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

// seal writes the manifest, last of all.
func (w *Worker) seal(ctx context.Context, t *asynq.Task) error {
	taskID, _ := asynq.GetTaskID(ctx)
	s, err := queue.Parse(taskID, t.Type(), t.Payload())
	if err != nil {
		return w.malformed(ctx, taskID, "", err)
	}
	r, err := w.o.Ledger.LoadAnswered(ctx, s.ID)
	if err != nil {
		return w.notLoaded(s.ID, err)
	}
	if !export.IsDue(r, s.Step) {
		return w.followUp(ctx, r)
	}
	key, err := w.o.Archive.PutManifest(ctx, manifestOf(r, w.now()))
	if errors.Is(err, storage.ErrSealed) {
		if done, err := w.alreadyArchived(ctx, r); done {
			return err
		}
		err = fault.New(fault.Retry, "a manifest comes and goes", nil) // it was there a moment ago
	}
	if w.handsBack(err) {
		return errElsewhere
	}
	if err != nil {
		return w.sealFailed(ctx, r, err)
	}
	ctx, cancel := w.detached(ctx)
	defer cancel()
	change := ofTask(r.ExportTaskID, func(r *export.Record) error { return r.Seal(w.now(), key) })
	return w.conclude(ctx, s.ID, change, func(r *export.Record) {
		w.log.Info("export archived", logkey.Export, r.ID, logkey.ProjectID, r.ProjectID, logkey.Clips, r.ArchivedCount,
			logkey.Bytes, r.ArchivedBytes, logkey.Manifest, key)
	})
}

func (w *Worker) sealFailed(ctx context.Context, r *export.Record, err error) error {
	w.watch.Faulted(ctx, export.StepSeal, err)
	why := export.Problem{Reason: export.ReasonManifestNotWritten, Detail: fault.SentenceOf(err)}
	w.log.Warn("a manifest could not be written", logkey.Export, r.ID, logkey.Error, err)
	next := w.now().Add(retry.Backoff(r.SealRound, time.Second, time.Minute))
	round := r.SealRound
	return w.conclude(ctx, r.ID, func(r *export.Record) error { return r.SealRetry(w.now(), round, why, next) })
}

func manifestOf(r *export.Record, now time.Time) storage.Manifest {
	m := storage.Manifest{
		ID: r.ID, Kind: r.Kind, Tenant: r.TenantName(), ProjectID: r.ProjectID, ExportTaskID: r.ExportTaskID, Name: r.Name, Account: r.Account,
		Request: r.Request, Answer: r.LastAnswer,
		Labels: r.Labels, Batch: r.Batch,
		CostUsage: r.CostUsage, CreatedAt: r.CreatedAt.UTC(), ArchivedAt: now.UTC(),
	}
	if len(r.Duplicates) > 0 {
		m.Warnings = append(m.Warnings, "paid for more than once, after lost answers: "+strings.Join(r.Duplicates, ", "))
	}
	if e, err := tasks.ParseSent(r.Request); err == nil {
		m.Warnings = append(m.Warnings, e.Lint().Texts()...)
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
