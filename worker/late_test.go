package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// slowIntent calls taken once, when Redis has taken the intent of a paid request.
type slowIntent struct {
	redis.Hook
	once  sync.Once
	taken func()
}

// skip is longer than a lease leaves for a paid request.
const skip = 40 * time.Second

func (s *slowIntent) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *slowIntent) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (s *slowIntent) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err == nil && strings.Contains(fmt.Sprintf("%s", cmd.Args()), `"state":"submitting"`) {
			s.once.Do(s.taken)
		}
		return err
	}
}

// lostLoad is a Redis that fails once to give what begins with these arguments.
type lostLoad struct {
	redis.Hook
	armed atomic.Bool
	args  string
}

func (l *lostLoad) DialHook(next redis.DialHook) redis.DialHook { return next }

func (l *lostLoad) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (l *lostLoad) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if fmt.Sprint(cmd.Args()...) == l.args && l.armed.CompareAndSwap(true, false) {
			return errors.New("connection reset by peer")
		}
		return next(ctx, cmd)
	}
}

// A step whose record can't be loaded for a moment is run again by asynq: nobody
// else adds it while its own task exists.
func TestAStepThatCannotLoadItsRecordComesAgain(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]any{
		"read":     {"hmget", ledger.Key("a"), "ver", "doc"},
		"transfer": {"hmget", ledger.Key("a"), "ver", "doc", "clip:0"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.provider.clips, r.provider.readsFor = 1, 3
			lost := &lostLoad{args: fmt.Sprint(args...)}
			r.rdb.AddHook(lost)
			r.provider.read = func(n int, _ *provider.Task) error {
				if n == 1 {
					lost.armed.Store(true)
				}
				return nil
			}
			r.patience = 40 * time.Second // the sweeper would mend it after a minute
			r.work()
			r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj"})
			r.awaitState("a", export.Archived)
			if lost.armed.Load() {
				t.Error("no load was lost")
			}
		})
	}
}

// A paid request is not sent under a lease that might end before its answer.
func TestASlowIntentIsTakenBack(t *testing.T) {
	r := newRig(t)
	var late atomic.Int64 // nanoseconds
	r.rdb.AddHook(&slowIntent{taken: func() { late.Add(int64(skip)) }})
	// It is behind before, so that what is put off by its time is due at once.
	r.options.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load()) - skip) }
	var sent atomic.Int64
	r.provider.submit = func(int, json.RawMessage) error {
		sent.Add(1)
		return nil
	}
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	rec := r.await(id, "accepted", func(rec *export.Record) bool { return rec.ExportTaskID != "" })
	if rec.Attempts != 2 || rec.Doubts != 0 || rec.Round != 1 || sent.Load() != 1 {
		t.Errorf("%d requests were sent for %d intents, %d in doubt, in round %d; want the second intent's alone",
			sent.Load(), rec.Attempts, rec.Doubts, rec.Round)
	}
}

// deadlines is a provider that notes until when a paid request may take.
type deadlines struct {
	worker.Provider
	until chan time.Time
}

func (d deadlines) Submit(ctx context.Context, body json.RawMessage) (provider.Task, error) {
	until, _ := ctx.Deadline()
	d.until <- until
	return d.Provider.Submit(ctx, body)
}

// The time of a paid request begins when its lease is renewed: a process that stalls
// between the two has nothing left to send in when another run may send.
func TestTheTimeOfAPaidRequestBeginsWithItsLease(t *testing.T) {
	r := newRig(t)
	const stall = 300 * time.Millisecond
	var renewed time.Time
	r.rdb.AddHook(&slowIntent{taken: func() { renewed = time.Now(); time.Sleep(stall) }})
	a := r.options.Accounts[worker.DefaultAccount]
	noted := deadlines{r.provider, make(chan time.Time, 1)}
	a.Provider = noted
	r.options.Accounts[worker.DefaultAccount] = a
	r.work()
	r.enqueue(tasks.Export{ProjectID: "proj"})
	until := <-noted.until
	if took := until.Sub(renewed); took > 25*time.Second {
		t.Errorf("it may take until %s after its intent was recorded, want less than 25 s", took)
	}
}

// failingTransfers is an archive that tells of its first transfer that fails.
type failingTransfers struct {
	worker.Archive
	once   sync.Once
	failed chan struct{}
}

func (a *failingTransfers) Mirror(ctx context.Context, job storage.Job) (storage.Result, error) {
	object, err := a.Archive.Mirror(ctx, job)
	if err != nil {
		a.once.Do(func() { close(a.failed) })
	}
	return object, err
}

// A transfer may outlive its task: the export failed, was paid for again and
// runs as the next one. When the transfer fails in the end, past the deadline of
// the first, that says nothing of the second.
func TestALateTransferDoesNotExpireTheNextTask(t *testing.T) {
	r := newRig(t)
	r.provider.clips, r.provider.readsFor = 2, 1
	r.provider.read = func(n int, task *provider.Task) error {
		switch {
		case task.ExportTaskID == "task-2": // renders for long
			task.Status, task.Clips = provider.StatusOngoing, nil
		case n == 1: // clip 1 has no link yet, and the deadline has passed
			task.ExpireAt = time.Now().Add(-time.Hour)
			task.Clips[1].ExportLink = ""
		default:
			return refusal(provider.NotFound, fault.Retry, "unknown task")
		}
		return nil
	}
	began, held := make(chan struct{}), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(held) })
	t.Cleanup(goOn)
	first := true
	r.provider.serve = func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		if first {
			first = false
			close(began)
			<-held
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	cut := &failingTransfers{Archive: r.archive, failed: make(chan struct{})}
	r.options.Archive = cut
	r.work()
	id := r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj"})
	<-began
	_, err := r.ledger.Update(t.Context(), id, func(rec *export.Record) error {
		return rec.Fail(time.Now(), export.Problem{Reason: export.ReasonTaskForgotten, Detail: "gone"})
	})
	must(t, err)
	_, err = r.admin.Retry(t.Context(), id, export.RetryOptions{PayAgain: true})
	must(t, err)
	r.await(id, "paid again, and running", func(rec *export.Record) bool {
		return rec.ExportTaskID == "task-2" && rec.Receipt == export.ReceiptOpen && rec.Polls > 1
	})
	goOn()
	<-cut.failed
	never(t, 2*time.Second, "the next task, just paid for and rendering, was expired by a transfer of the first", func() bool {
		rec, err := r.admin.Get(t.Context(), id)
		return err == nil && rec.State == export.Expired
	})
	if got := r.receipt(id); got.State != storage.ReceiptOpen {
		t.Errorf("receipt %s", got.State)
	}
}

// Links may outlive their task: a transfer that fails past the deadline, in a way that
// passes, is tried on, and takes no clip along that was not fetched yet.
func TestAFailureThatPassesExpiresNothing(t *testing.T) {
	for _, late := range []time.Duration{10 * time.Minute, 2 * time.Hour} {
		t.Run(late.String(), func(t *testing.T) { testAFailureThatPasses(t, late) })
	}
}

func testAFailureThatPasses(t *testing.T, late time.Duration) {
	r := newRig(t)
	r.options.MirrorConcurrency = 1
	r.provider.clips, r.provider.readsFor = 2, 1
	r.provider.read = func(_ int, task *provider.Task) error {
		task.ExpireAt = time.Now().Add(-late)
		return nil
	}
	failed := &failingTransfers{Archive: r.archive, failed: make(chan struct{})}
	r.options.Archive = failed
	r.provider.serve = func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		select {
		case <-failed.failed:
			return false
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
	}
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	if rec := r.await(id, "over", func(rec *export.Record) bool { return rec.State.Final() }); rec.State != export.Archived {
		t.Errorf("%s with %d clips archived: %+v", rec.State, rec.ArchivedCount, rec.Problem)
	}
}
