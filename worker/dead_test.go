package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// fullGate is a gate whose slots are all taken until it is opened.
type fullGate struct {
	worker.Gate
	open chan struct{}
}

func (g fullGate) Wait(ctx context.Context, r budget.Request) (*budget.Turn, error) {
	select {
	case <-g.open:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return g.Gate.Wait(ctx, r)
}

// fill takes all slots until the function is called.
func (r *rig) fill() (open func()) {
	a := r.options.Accounts[worker.DefaultAccount]
	gate := fullGate{a.Gate, make(chan struct{})}
	a.Gate = gate
	r.options.Accounts[worker.DefaultAccount] = a
	return func() { close(gate.open) }
}

// bare enqueues a submit as a producer does that knows nothing but asynq.
func (r *rig) bare(payload string, opts ...asynq.Option) {
	r.t.Helper()
	_, err := asynq.NewClientFromRedisClient(r.rdb).Enqueue(asynq.NewTask(tasks.TypeSubmit, []byte(payload)), opts...)
	must(r.t, err)
}

// A second producer puts another request, or one that can't be read, under a
// TaskID that is taken into another queue. Its task dies; the export that waits
// for its turn under the same TaskID has nothing to do with it.
func TestAForeignTaskFailsNobodyElsesExport(t *testing.T) {
	t.Parallel()
	for name, payload := range map[string]string{"another request": `{"project_id":"mallory"}`, "malformed": `{"project_id":`} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			open := r.fill()
			r.work()
			id := r.enqueue(tasks.Export{JobID: "a", ProjectID: "alice"})
			r.await(id, "taken up", func(*export.Record) bool {
				n, _ := r.rdb.Exists(context.Background(), ledger.Key("a")).Result()
				return n == 1
			})
			r.bare(payload, asynq.TaskID(tasks.SubmitTaskID("a")), asynq.Queue(tasks.QueueSubmitHigh))
			inspector := asynq.NewInspectorFromRedisClient(r.rdb)
			dead := func() bool {
				info, err := inspector.GetTaskInfo(tasks.QueueSubmitHigh, tasks.SubmitTaskID("a"))
				return err == nil && info.State == asynq.TaskStateArchived
			}
			for deadline := time.Now().Add(time.Minute); !dead(); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the foreign task is not archived")
				}
			}
			must(t, r.rdb.Del(t.Context(), sweepLease).Err())
			r.work() // sweeps at its start, and so meets the dead letter
			never(t, time.Second, "an export that waits for its turn was failed by somebody else's task", func() bool {
				rec, err := r.admin.Get(context.Background(), id)
				return err == nil && rec.State != export.Queued
			})
			open()
			r.awaitState(id, export.Archived)
		})
	}
}

// A bare producer's task has asynq's Timeout, which passes while the export waits
// for its turn: that is no failure, and burns no retry.
func TestAShortTimeoutEndsNoWait(t *testing.T) {
	r := newRig(t)
	open := r.fill()
	r.work()
	r.bare(`{"project_id":"proj"}`, asynq.TaskID(tasks.SubmitTaskID("a")), asynq.Queue(tasks.QueueSubmit),
		asynq.MaxRetry(0), asynq.Timeout(37*time.Second))
	rec := r.await("a", "put back", func(rec *export.Record) bool { return rec.Round > 0 || rec.State.Final() })
	if rec.State != export.Queued {
		t.Fatalf("%s: %s", rec.State, view.Sentence(rec, view.CLI))
	}
	open()
	rec = r.awaitState("a", export.Archived)
	if rec.Round != 1 || r.provider.submits() != 1 {
		t.Errorf("in round %d; paid %d times", rec.Round, r.provider.submits())
	}
}

// Asynq may end a submit without ever calling a handler, and a person may
// archive it: either is a failed export, not one that is queued for ever.
func TestADeadSubmitWithoutARecordIsAFailedExport(t *testing.T) {
	t.Parallel()
	id := asynq.TaskID(tasks.SubmitTaskID("a"))
	for name, die := range map[string]func(*rig){
		"its deadline passed in the queue": func(r *rig) {
			r.bare(`{"project_id":"proj"}`, id, asynq.Queue(tasks.QueueSubmit), asynq.MaxRetry(0), asynq.Deadline(time.Now().Add(-time.Minute)))
		},
		"its deadline passed, and many retries are left": func(r *rig) {
			r.bare(`{"project_id":"proj","job_id":"a"}`, asynq.Queue(tasks.QueueSubmit), asynq.Deadline(time.Now().Add(-time.Minute)))
		},
		"archived by hand": func(r *rig) {
			r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj"})
			must(r.t, asynq.NewInspectorFromRedisClient(r.rdb).ArchiveTask(tasks.QueueSubmit, tasks.SubmitTaskID("a")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			die(r)
			r.work()
			rec := r.awaitState("a", export.Failed)
			if rec.ProjectID != "proj" || !strings.Contains(view.Sentence(rec, view.CLI), "given up") && !strings.Contains(view.Sentence(rec, view.CLI), "Deadline") {
				t.Errorf("%+v", rec)
			}
			_, err := r.admin.Retry(t.Context(), "a", export.RetryOptions{})
			must(t, err)
			r.awaitState("a", export.Archived)
		})
	}
}

func TestADeadLetterBehindAThousandOthersIsRecorded(t *testing.T) {
	r := newRig(t)
	r.provider.readsFor = 1000
	stop := r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	r.awaitState(id, export.Rendering)
	stop()
	inspector := asynq.NewInspectorFromRedisClient(r.rdb)
	client := asynq.NewClientFromRedisClient(r.rdb)
	for range 1000 {
		info, err := client.Enqueue(asynq.NewTask(queue.TypePoll, []byte("{}")), asynq.Queue(queue.Poll))
		must(t, err)
		must(t, inspector.ArchiveTask(queue.Poll, info.ID))
	}
	time.Sleep(1100 * time.Millisecond) // asynq sorts dead letters by whole seconds
	rec, err := r.ledger.Load(t.Context(), id)
	must(t, err)
	must(t, inspector.ArchiveTask(queue.Poll, queue.Of(rec, export.Step{Kind: export.StepPoll, N: rec.Step}).ID))
	must(t, r.rdb.Del(t.Context(), sweepLease).Err())
	r.work()
	r.awaitState(id, export.Failed)
}

// After a flush beside a running fleet asynq's clients do not enter their queues
// into its list again. The sweeper does, and so sees what asynq gives up.
func TestDeadLettersAreRecordedAfterAFlush(t *testing.T) {
	r := newRig(t)
	r.work()
	r.awaitState(r.enqueue(tasks.Export{ProjectID: "proj"}), export.Archived) // every queue is in the list
	must(t, r.rdb.FlushAll(t.Context()).Err())
	r.provider.rendersIn(1000)
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	r.await(id, "read", func(rec *export.Record) bool { return rec.State == export.Rendering && rec.Polls > 0 })
	r.work() // sweeps at its start
	inspector := asynq.NewInspectorFromRedisClient(r.rdb)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		queues, err := inspector.Queues()
		must(t, err)
		if slices.Contains(queues, queue.Poll) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("an export is read, and asynq's inspector sees the queues %v", queues)
		}
	}
}

// A dead letter is kept for longer than a record: it must not bring back what
// was seen, and forgotten, as failed.
func TestADeadLetterThatOutlivesItsRecordIsLetGo(t *testing.T) {
	r := newRig(t)
	r.bare(`{"project_id":"proj"}`, asynq.TaskID(tasks.SubmitTaskID("a")), asynq.Queue(tasks.QueueSubmit),
		asynq.MaxRetry(0), asynq.Deadline(time.Now().Add(-time.Minute)))
	stop := r.work()
	r.awaitState("a", export.Failed)
	stop()
	must(t, r.rdb.Del(t.Context(), ledger.Key("a"), sweepLease).Err()) // a month later
	r.options.Now = func() time.Time { return time.Now().Add(ledger.DefaultRetention + time.Hour) }
	r.work()
	for deadline := time.Now().Add(time.Minute); r.rdb.Exists(t.Context(), sweepLease).Val() == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not swept")
		}
	}
	never(t, time.Second, "a forgotten export has come back from its dead letter", func() bool {
		_, err := r.ledger.Load(context.Background(), "a")
		return err == nil
	})
	if _, err := r.admin.Get(t.Context(), "a"); !errors.Is(err, admin.ErrUnknown) {
		t.Errorf("status says %v of what is over and forgotten", err)
	}
	r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj"})
	r.awaitState("a", export.Rendering)
}

// listener is told of ends.
type listener struct{ ended chan string }

func (l listener) Ended(_ context.Context, r *export.Record) error {
	l.ended <- r.ID
	return nil
}

func (listener) ForReceipt(string, json.RawMessage) json.RawMessage { return nil }

func (listener) FromReceipt(string, json.RawMessage) (json.RawMessage, error) { return nil, nil }

// The worker that recorded the end of a dead letter's export dies before anybody
// was told: the export needs no care any more, and the dead letter alone is left.
func TestTheEndOfADeadLettersExportIsTold(t *testing.T) {
	r := newRig(t)
	r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj"})
	rec, err := r.admin.Get(t.Context(), "a")
	must(t, err)
	must(t, rec.Fail(time.Now(), export.Problem{Reason: export.ReasonStepGivenUp, Detail: "given up"}))
	_, err = r.ledger.Create(t.Context(), rec)
	must(t, err)
	must(t, asynq.NewInspectorFromRedisClient(r.rdb).ArchiveTask(tasks.QueueSubmit, tasks.SubmitTaskID("a")))
	l := listener{make(chan string, 100)}
	r.options.Notifier = l
	r.work()
	select {
	case id := <-l.ended:
		if id != "a" {
			t.Errorf("told of %s", id)
		}
	case <-time.After(time.Minute):
		t.Error("nobody was told")
	}
}
