package worker

import (
	"context"
	"slices"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// A worker that lives extends the lease of each task that it has every five seconds
// (Asynq does, in one command a queue). Every worker looks whether others do: the step
// of one that stopped goes on under its next number, so that whatever comes later of
// the old one is stale. Asynq itself would bring it back after one to two minutes, and
// give it up after so many retries: that is left to it where a step kills its workers.
const (
	// lookEvery is how often the leases of reads and transfers are looked at; those of
	// orders each anotherLook times, since they wait for their own lease. Together that
	// is two commands a second for a worker with one account.
	lookEvery   = 3 * time.Second
	anotherLook = 5
	// silence is after how long without an extension a worker counts as dead. One that
	// is only slow loses nothing but the work: the record refuses it.
	silence = 9 * time.Second
)

// holders is what is known of the leases of each queue.
type holders map[string]map[string]seen

// seen is a lease as it was first seen so.
type seen struct {
	until float64
	at    time.Time
	done  bool // its step goes on, or is not to
}

// silent takes in what workers have of a queue now, and returns the tasks whose lease
// has not been extended for too long and that are not done. It compares no clocks of others.
func (h holders) silent(name string, leases []queue.Lease, now time.Time) []string {
	before := h[name]
	h[name] = make(map[string]seen, len(leases))
	var dead []string
	for _, l := range leases {
		is, known := before[l.TaskID]
		if !known || is.until != l.Until {
			is = seen{until: l.Until, at: now}
		}
		h[name][l.TaskID] = is
		if !is.done && now.Sub(is.at) >= silence {
			dead = append(dead, l.TaskID)
		}
	}
	return dead
}

// done notes that nothing is left to do for a task until somebody takes it anew.
func (h holders) done(name, taskID string) {
	is := h[name][taskID]
	is.done = true
	h[name][taskID] = is
}

// takeOverLoop has the steps of workers that died go on.
func (w *Worker) takeOverLoop(ctx context.Context) {
	work := []string{queue.Poll, queue.Urgent, queue.Mirror, queue.Bulk, queue.Seal}
	all := slices.DeleteFunc(w.queues(ctx), func(name string) bool { return name == queue.Notify })
	known := holders{}
	for n := 0; retry.Wait(ctx, lookEvery) == nil; n++ {
		queues := work
		if n%anotherLook == 0 {
			queues = all
		}
		leases, err := w.queue.Leases(ctx, queues)
		if err != nil { // or whoever could not extend its leases either would be believed dead
			clear(known)
			continue
		}
		for _, name := range queues {
			for _, id := range known.silent(name, leases[name], time.Now()) {
				err := w.takeOver(ctx, name, id)
				if err == nil {
					known.done(name, id)
				} else if ctx.Err() == nil {
					w.log.Warn("the step of a worker that died does not go on yet", logkey.Task, id, logkey.Error, err)
				}
			}
		}
	}
}

// takeOver has a step go on under its next number.
func (w *Worker) takeOver(ctx context.Context, name, taskID string) error {
	s, found, err := w.queue.StepOf(name, taskID)
	if err != nil || !found {
		return err
	}
	idx := noClip
	if s.Kind == export.StepMirror {
		idx = s.Clip
	}
	r, err := w.updateClip(ctx, s.ID, idx, func(r *export.Record) error { return r.TakeOver(w.now(), s.Step) })
	switch {
	case refused(err): // it has gone on, though whoever saw to it may have died before its task existed
		return w.leaveStale(ctx, s.ID)
	case err != nil:
		return err
	}
	w.log.Warn("the worker that had a step does not live any more; another one goes on", logkey.Export, s.ID, logkey.Task, taskID)
	return w.queue.Schedule(ctx, r)
}
