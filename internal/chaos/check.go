package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/queue"
)

// unsettled says what still has to happen, empty when nothing has: every export
// that was asked for is final and needs no care, no slot is held, no queue holds
// a task.
func (h *house) unsettled(ctx context.Context, ids []string) (string, error) {
	open, err := h.ledger.Open(ctx)
	if err != nil {
		return "", err
	}
	if len(open) > 0 {
		return fmt.Sprintf("%d exports need care, such as %s", len(open), open[0]), nil
	}
	queued, err := h.queued()
	if err != nil || queued != "" {
		return queued, err
	}
	held, err := h.gate.Slots(ctx)
	if err != nil {
		return "", err
	}
	if len(held) > 0 {
		return fmt.Sprintf("%d slots are held, such as that of %s", len(held), held[0]), nil
	}
	for _, id := range ids {
		r, err := h.ledger.LoadHead(ctx, id)
		if err != nil {
			return fmt.Sprintf("%s: %v", id, err), nil //nolint:nilerr // it is what has to change
		}
		if !r.State.Final() || r.State == export.Held {
			return fmt.Sprintf("%s is %s", id, r.State), nil
		}
	}
	return "", nil
}

// queued names a queue that still holds a task.
func (h *house) queued() (string, error) {
	inspector := asynq.NewInspectorFromRedisClient(h.rdb)
	queues, err := inspector.Queues()
	if err != nil {
		return "", err
	}
	for _, queue := range queues {
		info, err := inspector.GetQueueInfo(queue)
		if err != nil {
			return "", err
		}
		if n := info.Pending + info.Active + info.Scheduled + info.Retry; n > 0 {
			return fmt.Sprintf("%d tasks in %s", n, queue), nil
		}
	}
	return "", nil
}

// deadLetters counts what asynq has archived.
func (h *house) deadLetters() (n int) {
	inspector := asynq.NewInspectorFromRedisClient(h.rdb)
	for _, queue := range queue.All() {
		if info, err := inspector.GetQueueInfo(queue); err == nil {
			n += info.Archived
		}
	}
	return n
}

// audit is the checker: what was asked for against the provider's books, the
// ledger and the files in S3.
type audit struct {
	h       *house
	rep     *report
	submits map[string][]emulator.Submit // by project
	tasks   map[string]emulator.Submit   // by export task
	deaths  []time.Time                  // of workers
	windows []window                     // in which Redis or S3 were disturbed
}

func newAudit(h *house, rep *report, f *fleet, t *tormentor) *audit {
	a := &audit{h: h, rep: rep, submits: map[string][]emulator.Submit{}, tasks: map[string]emulator.Submit{}, deaths: f.deaths}
	for _, s := range h.provider.State().Submits {
		a.submits[s.ProjectID] = append(a.submits[s.ProjectID], s)
		a.tasks[s.TaskID] = s
		rep.charged++
		if s.AnswerLost {
			rep.answersLost++
		}
	}
	for _, w := range t.windows {
		if w.stream == streamRedis || w.stream == streamS3 {
			a.windows = append(a.windows, w)
		}
	}
	return a
}

// exports holds each export against what was asked for and charged.
func (a *audit) exports(ctx context.Context, all []wish) {
	asked := map[string]bool{}
	for _, w := range all {
		asked[w.export.ProjectID] = true
		r, err := a.h.admin.Get(ctx, w.export.JobID)
		if err != nil {
			a.rep.breach("lost: export %s was enqueued, and: %v", w.export.JobID, err)
			continue
		}
		a.rep.states[r.State]++
		a.rep.doubts += r.Doubts
		a.ended(w, r)
		a.paid(r, a.submits[w.export.ProjectID])
	}
	for project := range a.submits {
		if !asked[project] {
			a.rep.breach("the provider charged for %s, which nobody asked for", project)
		}
	}
}

// ended holds an export's end against the one that it must have.
func (a *audit) ended(w wish, r *export.Record) {
	switch {
	case w.fails && r.State == export.Failed && r.Outcome == export.RenderFailed:
	case !w.fails && r.State == export.Archived:
	default:
		a.rep.breach("lost: export %s is %s (%s)", r.ID, r.State, r.Problem.Reason)
	}
}

// paid holds what the provider charged for an export against what it may have:
// once, and once more for each answer that was lost after it was sent. That is
// said twice: by the export's own count of doubts, and by what was seen from
// outside, a lost answer or the death of a worker that had it.
func (a *audit) paid(r *export.Record, submits []emulator.Submit) {
	if len(submits) == 0 {
		a.rep.breach("export %s is %s, and the provider knows nothing of it", r.ID, r.State)
		return
	}
	if !slices.ContainsFunc(submits, func(s emulator.Submit) bool { return s.TaskID == r.ExportTaskID }) {
		a.rep.breach("export %s goes by task %s, which the provider does not know", r.ID, r.ExportTaskID)
	}
	again := len(submits) - 1
	a.rep.again += again
	if again > 0 && a.h.cfg.inDoubt == export.Hold {
		a.rep.breach("paid twice: export %s was submitted %d times, though it was to be held", r.ID, len(submits))
	}
	if again > r.Doubts {
		a.rep.breach("paid twice: export %s was submitted %d times and was in doubt %d times", r.ID, len(submits), r.Doubts)
	}
	for i := range again {
		switch {
		case submits[i].AnswerLost:
			a.rep.againLost++
		case a.diedWith(submits[i].AcceptedAt, submits[i+1].AcceptedAt):
			a.rep.againKilled++
		default:
			a.rep.breach("paid twice: export %s was submitted at %s and again at %s, without a lost answer or a killed worker",
				r.ID, submits[i].AcceptedAt.Format(time.StampMilli), submits[i+1].AcceptedAt.Format(time.StampMilli))
		}
	}
}

// toRecord is how long a worker takes to record an answer, on a busy machine,
// while Redis and S3 are well.
const toRecord = 2 * time.Second

// diedWith reports whether a worker died between an answer and its record: at
// once, or as long as neither Redis nor S3 may have taken it.
func (a *audit) diedWith(accepted, again time.Time) bool {
	until := accepted.Add(toRecord)
	for extended := true; extended; {
		extended = false
		for _, w := range a.windows {
			if w.from.Before(until) && w.to.Add(toRecord+5*time.Second).After(until) && w.to.After(accepted) {
				until, extended = w.to.Add(toRecord+5*time.Second), true
			}
		}
	}
	return slices.ContainsFunc(a.deaths, func(t time.Time) bool {
		return t.After(accepted.Add(-100*time.Millisecond)) && t.Before(until) && t.Before(again)
	})
}
