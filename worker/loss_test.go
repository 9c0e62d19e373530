package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/units"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

func TestRedisGoneForGood(t *testing.T) {
	r := newRig(t)
	r.provider.readsFor = 1000
	stop := r.work()
	ids := make([]string, 4)
	for i := range ids {
		ids[i] = r.enqueue(tasks.Export{ProjectID: "proj"})
		r.await(ids[i], "accepted with a receipt", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptOpen })
	}
	stop()
	must(t, r.rdb.FlushAll(context.Background()).Err())
	r.provider.rendersIn(1)
	r.work()
	for range 2 { // twice is as good as once
		done, err := r.recovery.Recover(t.Context(), r.archive, nil)
		must(t, err)
		if done.Rebuilt+done.Known+done.Closed != 4 {
			t.Errorf("recovered %+v", done)
		}
	}
	for _, id := range ids {
		r.awaitState(id, export.Archived)
	}
	if r.provider.submits() != 4 {
		t.Errorf("paid %d times for 4 exports", r.provider.submits())
	}
}

// Producers enqueue again before anybody runs recover, and nothing may be ordered: what
// was paid for does not wait in line for its turn while its clips expire.
func TestRecoverHasWhatWaitsInLineGoOnWithWhatWasPaidFor(t *testing.T) {
	r := newRig(t)
	r.provider.readsFor = 1000
	stop := r.work()
	var jobs []tasks.Export
	for i := range 4 { // more than wait for their turn in one worker
		jobs = append(jobs, tasks.Export{JobID: fmt.Sprint("job-", i), ProjectID: "proj"})
		r.enqueue(jobs[i])
		r.await(jobs[i].JobID, "accepted with a receipt", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptOpen })
	}
	stop()
	must(t, r.rdb.FlushAll(context.Background()).Err())
	spent := units.New(r.rdb, worker.DefaultAccount, 48)
	a := r.options.Accounts[worker.DefaultAccount]
	a.Units = spent
	r.options.Accounts[worker.DefaultAccount] = a
	must(t, spent.Add(t.Context(), "another", time.Now(), 48)) // the account has nothing left
	r.provider.rendersIn(1)
	r.work()
	for _, e := range jobs {
		r.enqueue(e)
	}
	r.await("job-0", "in line", func(rec *export.Record) bool {
		_, err := r.ledger.LoadHead(t.Context(), "job-0")
		return err == nil && rec.State == export.Queued
	})
	for range 2 {
		_, err := r.recovery.Recover(t.Context(), r.archive, nil)
		must(t, err)
	}
	for _, e := range jobs {
		r.awaitState(e.JobID, export.Archived)
	}
	if r.provider.submits() != 4 {
		t.Errorf("paid %d times for 4 exports", r.provider.submits())
	}
}

func TestAJobIDThatReturnsAfterALossOfRedisIsNotPaidAgain(t *testing.T) {
	r := newRig(t)
	r.work()
	e := tasks.Export{JobID: "precious", ProjectID: "proj"}
	first := r.awaitState(r.enqueue(e), export.Archived)
	r.await("precious", "closed", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptDone })
	must(t, r.rdb.FlushAll(context.Background()).Err())
	rec := r.awaitState(r.enqueue(e), export.Archived)
	if r.provider.submits() != 1 || rec.Manifest != first.Manifest || rec.ArchivedCount != first.ArchivedCount {
		t.Errorf("paid %d times; manifest %s, clips %d", r.provider.submits(), rec.Manifest, rec.ArchivedCount)
	}
}

func TestNoSecretIsInATaskOrInTheView(t *testing.T) {
	r := newRig(t)
	r.provider.readsFor = 1
	r.provider.serve = func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	rec := r.await(id, "in trouble", func(rec *export.Record) bool { return rec.Clips[0] != nil && rec.Clips[0].Faults > 0 })
	text, _ := json.Marshal(view.Of(rec, view.CLI))
	inspector := asynq.NewInspectorFromRedisClient(r.rdb)
	var all []*asynq.TaskInfo
	for _, q := range queue.All() {
		for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
			inspector.ListScheduledTasks, inspector.ListPendingTasks, inspector.ListRetryTasks, inspector.ListActiveTasks,
		} {
			infos, _ := list(q)
			all = append(all, infos...)
		}
	}
	if len(all) == 0 {
		t.Error("no task to look at")
	}
	for _, info := range all {
		text = append(text, info.Payload...)
		text = append(text, info.LastErr...)
	}
	if strings.Contains(string(text), "secret-") {
		t.Errorf("a link's signature is visible: %s", text)
	}
}

// sweepLease spaces the sweeps of a fleet.
const sweepLease = "clipferry:{fleet}:lease:sweep"

func TestATaskThatAsynqGaveUpIsRecorded(t *testing.T) {
	r := newRig(t)
	r.provider.readsFor = 1000
	stop := r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	r.awaitState(id, export.Rendering)
	stop()
	// What asynq does with a task whose worker died too often.
	rec, err := r.ledger.Load(t.Context(), id)
	must(t, err)
	inspector := asynq.NewInspectorFromRedisClient(r.rdb)
	taskID := queue.Of(rec, export.Step{Kind: export.StepPoll, N: rec.Step}).ID
	if err := inspector.ArchiveTask(queue.Poll, taskID); err != nil {
		t.Fatalf("archive %s: %v", taskID, err)
	}
	must(t, r.rdb.Del(t.Context(), sweepLease).Err()) // sweep at once
	r.work()
	rec = r.awaitState(id, export.Failed)
	if !strings.Contains(view.Sentence(rec, view.CLI), "given up") {
		t.Errorf("error: %s", view.Sentence(rec, view.CLI))
	}
	r.provider.rendersIn(1)
	_, err = r.admin.Retry(t.Context(), id, export.RetryOptions{})
	must(t, err)
	r.awaitState(id, export.Archived)
	if r.provider.submits() != 1 {
		t.Errorf("paid %d times", r.provider.submits())
	}
}

func TestTheSweeperBringsBackWhatIsMissing(t *testing.T) {
	r := newRig(t)
	r.provider.readsFor = 1000
	stop := r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	r.awaitState(id, export.Rendering)
	stop()
	keys, err := r.rdb.Keys(t.Context(), "asynq:*").Result()
	must(t, err)
	must(t, r.rdb.Del(t.Context(), slices.DeleteFunc(keys, func(k string) bool { return k == "asynq:queues" })...).Err())
	must(t, r.rdb.Del(t.Context(), sweepLease).Err())
	r.provider.rendersIn(1)
	r.work() // sweeps at its start
	r.awaitState(id, export.Archived)
}

func TestPastTheDeadlineWhatWasSavedIsNamed(t *testing.T) {
	r := newRig(t)
	r.provider.clips, r.provider.readsFor = 2, 1
	r.provider.read = func(n int, task *provider.Task) error {
		task.ExpireAt = time.Now().Add(-time.Hour)
		if n > 1 {
			return refusal(provider.NotFound, fault.Retry, "unknown task")
		}
		return nil
	}
	r.provider.dead = map[string]bool{"/task-1/1.mp4?signature=secret-0": true}
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	rec := r.awaitState(id, export.Expired)
	r.await(id, "one clip saved", func(rec *export.Record) bool { return rec.ArchivedCount == 1 })
	if !strings.Contains(view.Sentence(rec, view.CLI), "--pay-again") {
		t.Errorf("error: %s", view.Sentence(rec, view.CLI))
	}
	if _, err := r.admin.Retry(t.Context(), id, export.RetryOptions{}); !errors.Is(err, export.ErrPaid) {
		t.Errorf("retry without a word about money: %v", err)
	}
}

// How long the provider keeps results depends on the plan: what Redis has lost, or nobody
// has read for days, is asked for before it is given up.
func TestWhatWasNeverReadIsAskedForBeforeItExpires(t *testing.T) {
	r := newRig(t)
	sent := time.Now().Add(-100 * time.Hour).UTC()
	e := tasks.Export{JobID: "a", ProjectID: "proj"}
	r.provider.accepted = append(r.provider.accepted, e.Body())
	_, err := r.archive.WriteReceipt(t.Context(), storage.Receipt{
		ID: "a", ExportTaskID: "task-1", ProjectID: "proj", Request: e.Body(), Created: sent, Submitted: sent, State: storage.ReceiptOpen,
	}, storage.Receipt{})
	must(t, err)
	_, err = r.recovery.Recover(t.Context(), r.archive, nil)
	must(t, err)
	sweeper, err := worker.New(r.options)
	must(t, err)
	must(t, sweeper.Sweep(t.Context()))
	r.work()
	if rec := r.await("a", "over", func(rec *export.Record) bool { return rec.State.Final() }); rec.State != export.Archived {
		t.Errorf("%s: %+v", rec.State, rec.Problem)
	}
}
