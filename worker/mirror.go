package worker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/observe"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/storage"
)

// maxBadBodies is how often the content of a clip may turn out not to be the
// clip, each time with a fresh look, before a person is told. The waits between
// add up to about an hour.
const maxBadBodies = 8

// mirror carries one clip from its link into S3.
func (w *Worker) mirror(ctx context.Context, t *asynq.Task) error {
	taskID, _ := asynq.GetTaskID(ctx)
	m, err := queue.Parse(taskID, t.Type(), t.Payload())
	if err != nil {
		return w.malformed(ctx, taskID, "", err)
	}
	lease, err := w.o.Ledger.Lease(ctx, m.ID, "mirror:"+taskID, leaseTime)
	if errors.Is(err, ledger.ErrLeased) {
		return errBusy
	}
	if err != nil {
		return err
	}
	defer w.release(ctx, lease)
	kept, stop := lease.Keep(ctx)
	defer stop()

	r, err := w.o.Ledger.LoadClip(kept, m.ID, m.Clip)
	if err != nil {
		return w.notLoaded(m.ID, err)
	}
	if !export.IsDue(r, m.Step) {
		return w.leaveStale(ctx, m.ID)
	}
	if r.LinkTooOld(w.now(), m.Clip) {
		ask := ofTask(r.ExportTaskID, func(r *export.Record) error { return r.ClipAged(w.now(), m.Clip, m.N) })
		return w.concludeClip(kept, m.ID, m.Clip, ask)
	}
	return w.transfer(kept, r, r.Clips[m.Clip])
}

// transfer moves the clip. A stop cuts it: what S3 has by then stays, and
// another worker goes on from there.
func (w *Worker) transfer(ctx context.Context, r *export.Record, c *export.Clip) error {
	cut, cancel := w.untilStop(ctx)
	defer cancel()
	began := w.now()
	object, err := w.o.Archive.Mirror(cut, w.clipJob(r, c))
	w.watch.Transferred(ctx, observe.Transfer{
		Clip: c.Idx, Bytes: object.Size, Fetched: object.Fetched, Took: w.now().Sub(began), Err: err,
	})
	if handed := w.handedOn(ctx, cut, err); handed != nil {
		return handed
	}
	if err != nil {
		return w.transferFailed(ctx, r, c, err)
	}
	thumb, warning, err := w.thumbnail(cut, r, c)
	if handed := w.handedOn(ctx, cut, err); handed != nil {
		return handed // the clip is found in S3 by the next run
	}
	if slices.Contains(object.Proofs, storage.ProofServedTwice) {
		warning = strings.TrimPrefix(warning+"; archived as the link serves it, though it is not a whole video by its boxes", "; ")
	}
	return w.clipDone(ctx, r, c, object.Object, thumb, warning)
}

// handedOn returns with what a step ends whose transfer failed since this worker may not,
// or can't, go on with it; nil if that is not why. cut is the context of the transfer,
// which a stop ends as well.
func (w *Worker) handedOn(ctx, cut context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil: // the lease is lost: another run goes on
		return errBusy
	case w.Draining() && cut.Err() != nil:
		return errStopping
	case w.handsBack(err):
		return errElsewhere
	}
	return nil
}

func (w *Worker) clipDone(ctx context.Context, r *export.Record, c *export.Clip, object export.Object, thumb *export.Object, warning string) error {
	ctx, cancel := w.detached(ctx)
	defer cancel()
	w.log.Info("clip archived", logkey.Export, r.ID, logkey.Clip, c.Idx, logkey.Key, object.Key, logkey.Size, object.Size)
	task, idx, round := r.ExportTaskID, c.Idx, c.Round
	return w.concludeClip(ctx, r.ID, idx, func(r *export.Record) error {
		return r.ClipDone(w.now(), task, idx, round, object, thumb, warning)
	})
}

func (w *Worker) clipJob(r *export.Record, c *export.Clip) storage.Job {
	name := storage.ClipName(c.Idx, c.Title)
	return storage.Job{
		Export: r.ID, Key: w.o.Archive.Folder(r.ProjectID, r.ExportTaskID) + name + ".mp4",
		Link: c.Link, Kind: storage.Video, Filename: fileName(c.Title, name) + ".mp4", Deadline: w.cutAt(r),
		LastTry: c.BadBodies+1 >= maxBadBodies,
	}
}

// cutAt is when a transfer of the export has lost its purpose. Past the
// deadline there is none: a link that still works then is used.
func (w *Worker) cutAt(r *export.Record) time.Time {
	if r.ExpireAt.IsZero() || r.PastDeadline(w.now()) {
		return time.Time{}
	}
	return r.ExpireAt.Add(expiryGrace)
}

// fileName is the name that a browser proposes: the title as it is, the slug
// where there is none.
func fileName(title, slug string) string {
	if strings.Trim(title, ". \t\r\n") == "" {
		return slug
	}
	return title
}

// thumbnail archives the clip's thumbnail. Its lack is a warning, never a failure; the
// error says why it is not there yet.
func (w *Worker) thumbnail(ctx context.Context, r *export.Record, c *export.Clip) (*export.Object, string, error) {
	if c.Thumbnail == "" {
		return nil, "the provider gave no thumbnail", nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	name := storage.ClipName(c.Idx, c.Title)
	object, err := w.o.Archive.Mirror(ctx, storage.Job{
		Export: r.ID, Key: w.o.Archive.Folder(r.ProjectID, r.ExportTaskID) + name,
		Link: c.Thumbnail, Kind: storage.Image, Filename: fileName(c.Title, name), Deadline: w.cutAt(r),
	})
	if err != nil {
		why := "no thumbnail: " + fault.SentenceOf(err)
		w.log.Warn("a thumbnail could not be archived", logkey.Export, r.ID, logkey.Clip, c.Idx, logkey.Error, fault.SentenceOf(err))
		return nil, why, err
	}
	return &object.Object, "", nil
}

// transferFailed records why a clip is not archived yet and what follows.
func (w *Worker) transferFailed(ctx context.Context, r *export.Record, c *export.Clip, err error) error {
	ctx, cancel := w.detached(ctx)
	defer cancel()
	w.watch.Faulted(ctx, export.StepMirror, err)
	why := transferProblem(err)
	badBody := errors.Is(err, storage.ErrContent)
	w.log.Warn("a clip is not archived yet", logkey.Export, r.ID, logkey.Clip, c.Idx, logkey.Faults, c.Faults+1,
		logkey.Class, fault.ClassOf(err), logkey.Error, err)
	change := ofTask(r.ExportTaskID, w.afterFailure(r, c, err, why, badBody))
	return w.concludeClip(ctx, r.ID, c.Idx, change, func(r *export.Record) {
		if r.State == export.Expired {
			w.releaseSlot(ctx, r)
		}
	})
}

// outlives and lateTries are for how long after its export's deadline, and how often, a
// transfer is tried at least that fails in a way that passes: links may outlive their task.
const (
	outlives  = time.Hour
	lateTries = 8
)

// afterFailure picks the event of a failed transfer.
func (w *Worker) afterFailure(r *export.Record, c *export.Clip, err error, why export.Problem, badBody bool) func(*export.Record) error {
	now := w.now()
	idx, round, link := c.Idx, c.Round, c.Link
	class := fault.ClassOf(err)
	// One that no request can be made for is asked about once: no server may recover.
	unusable := why.Reason == export.ReasonLinkUnusable && c.Refusals >= 2
	switch {
	case class == fault.LinkExpired && !unusable:
		return func(r *export.Record) error { return r.ClipRefused(w.now(), idx, round, link, why) }
	case class == fault.Terminal, unusable, badBody && c.BadBodies+1 >= maxBadBodies:
		return func(r *export.Record) error { return r.ClipFail(w.now(), idx, round, why) }
	case r.PastDeadline(now.Add(-outlives)) && c.Faults+1 >= lateTries: // as a link that is refused by then: the other clips go on
		return func(r *export.Record) error { return r.ClipRefused(w.now(), idx, round, link, why) }
	}
	base := time.Second
	if badBody {
		base = 10 * time.Second
	}
	wait := max(fault.RetryAfterOf(err), retry.Backoff(c.Faults, base, 10*time.Minute))
	at := now.Add(beforeDeadline(wait, now, r.ExpireAt))
	return func(r *export.Record) error { return r.ClipRetry(w.now(), idx, round, why, badBody, at) }
}
