package worker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
)

// rendering stores an export whose first read is due.
func (r *rig) rendering(id string, more func(*export.Record)) *export.Record {
	r.t.Helper()
	e := tasks.Export{ProjectID: "proj"}
	rec := export.New(id, e.Body(), e.Digest(), "proj", time.Now())
	must(r.t, rec.Accept(time.Now(), "task-1", "", ""))
	more(rec)
	_, err := r.ledger.Create(r.t.Context(), rec)
	must(r.t, err)
	return rec
}

// Whoever took a step over died before the next one had its task, or Redis failed
// between the two: another worker sees to it, not the sweeper.
func TestAStepThatWasTakenOverAndNotScheduledGoesOn(t *testing.T) {
	r := newRig(t)
	r.patience = 30 * time.Second
	_, err := r.ledger.FleetLease(t.Context(), "sweep", time.Hour) // nobody sweeps
	must(t, err)
	rec := r.rendering("a", func(rec *export.Record) { rec.PollAt = time.Now().Add(-time.Minute) })
	first := export.Due(rec)[0]
	must(t, queue.New(r.rdb).Schedule(t.Context(), rec))
	task := queue.Of(rec, first)
	keys := func(what string) string { return fmt.Sprintf("asynq:{%s}:%s", task.Queue, what) }
	must(t, r.rdb.LMove(t.Context(), keys("pending"), keys("active"), "RIGHT", "LEFT").Err()) // a worker takes it, and dies
	must(t, r.rdb.HSet(t.Context(), keys("t:"+task.ID), "state", "active").Err())
	must(t, r.rdb.ZAdd(t.Context(), queue.LeaseKey(task.Queue), redis.Z{Member: task.ID, Score: float64(time.Now().Add(time.Hour).Unix())}).Err())
	_, err = r.ledger.Update(t.Context(), "a", func(rec *export.Record) error { return rec.TakeOver(time.Now(), first) })
	must(t, err)
	r.work()
	r.awaitState("a", export.Archived)
}

// A step that is left to Asynq's retries ends with an honest reason.
func TestAStepThatKillsItsWorkersSaysSo(t *testing.T) {
	r := newRig(t)
	rec := r.rendering("a", func(rec *export.Record) {
		for range export.MaxTakeOvers {
			must(t, rec.TakeOver(time.Now(), export.Due(rec)[0]))
		}
	})
	open := view.Sentence(rec, view.CLI)
	must(t, queue.New(r.rdb).Schedule(t.Context(), rec))
	task := queue.Of(rec, export.Due(rec)[0])
	must(t, asynq.NewInspectorFromRedisClient(r.rdb).ArchiveTask(task.Queue, task.ID)) // as its recoverer does in the end
	r.work()
	failed := view.Sentence(r.awaitState("a", export.Failed), view.CLI)
	for _, said := range []string{open, failed} {
		if !strings.HasPrefix(said, "the worker that carried it out died 5 times in a row") {
			t.Error(said)
		}
	}
}
