package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/pace"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// holding returns a rig whose first paid request is not answered.
func holding(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.options.InDoubt = export.Hold
	r.provider.submit = func(n int, _ json.RawMessage) error {
		if n == 1 {
			return refusal(provider.InDoubt, fault.Terminal, "the answer was lost")
		}
		return nil
	}
	return r
}

// Held, then Redis is lost: neither recover nor the producer who enqueues again
// has it paid for twice, and what a person decides counts as before.
func TestAHeldExportIsHeldAfterALossOfRedis(t *testing.T) {
	t.Parallel()
	e := tasks.Export{JobID: "a", ProjectID: "proj"}
	for name, comesBack := range map[string]func(*rig){
		"recovered": func(r *rig) {
			done, err := r.recovery.Recover(r.t.Context(), r.archive, nil)
			must(r.t, err)
			if done.Rebuilt != 1 {
				r.t.Errorf("recovered %+v", done)
			}
		},
		"enqueued again": func(r *rig) { r.enqueue(e) },
	} {
		t.Run(name, func(t *testing.T) {
			r := holding(t)
			r.work()
			r.enqueue(e)
			first := r.awaitState("a", export.Held)
			must(t, r.rdb.FlushAll(context.Background()).Err())
			comesBack(r)
			r.enqueue(e)
			rec := r.awaitState("a", export.Held)
			if first.IntentAt.Sub(rec.IntentAt).Abs() > time.Minute || rec.Doubts != 1 {
				t.Errorf("%d doubts, sent at %s; it was %s", rec.Doubts, rec.IntentAt, first.IntentAt)
			}
			_, err := r.admin.Retry(t.Context(), "a", export.RetryOptions{PayAgain: true}) // it is not there
			must(t, err)
			r.awaitState("a", export.Archived)
			r.await("a", "closed", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptDone })
			if got := r.receipt("a"); got.State != storage.ReceiptDone || got.ExportTaskID != "task-2" || r.provider.submits() != 2 {
				t.Errorf("sent %d times, the receipt says %s of %s", r.provider.submits(), got.State, got.ExportTaskID)
			}
		})
	}
}

func TestATaskThatWasFoundByHandReplacesTheDoubt(t *testing.T) {
	r := holding(t)
	r.work()
	r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj"})
	r.awaitState("a", export.Held)
	if got := r.receipt("a"); got.State != storage.ReceiptIntent || got.ExportTaskID != "" {
		t.Errorf("the receipt says %s of %q", got.State, got.ExportTaskID)
	}
	_, err := r.admin.Retry(t.Context(), "a", export.RetryOptions{SubmittedAs: "task-1"})
	must(t, err)
	r.await("a", "archived and closed", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptDone })
	if got := r.receipt("a"); got.State != storage.ReceiptDone || got.ExportTaskID != "task-1" || r.provider.submits() != 1 {
		t.Errorf("sent %d times, the receipt says %s of %s", r.provider.submits(), got.State, got.ExportTaskID)
	}
}

// Nobody but the provider knows which task it is: what it shows of the one that was
// named has the export held again, and S3 never hears of it.
func TestATaskThatWasNamedWrongIsHeldAgain(t *testing.T) {
	r := holding(t)
	r.work()
	r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj", ClipIndices: []int{7}})
	r.awaitState("a", export.Held)
	_, err := r.admin.Retry(t.Context(), "a", export.RetryOptions{SubmittedAs: "task-1"}) // it has clips 0 and 1
	must(t, err)
	rec := r.await("a", "held as foreign", func(rec *export.Record) bool { return rec.Problem.Reason == export.ReasonTaskForeign })
	if got := r.receipt("a"); rec.State != export.Held || rec.ExportTaskID != "" || got.State != storage.ReceiptIntent {
		t.Errorf("%s as %q, the receipt says %s of %q", rec.State, rec.ExportTaskID, got.State, got.ExportTaskID)
	}
	// Whose it is may have it.
	other, known, err := r.admin.Import(t.Context(), admin.Import{Kind: export.TaskExport, Task: "task-1", AccountName: worker.DefaultAccount})
	must(t, err)
	if known {
		t.Fatalf("it is still that of %s", other.ID)
	}
	r.awaitState(other.ID, export.Archived)
}

// grantedGate calls granted when a submit gets its turn.
type grantedGate struct {
	worker.Gate
	granted func()
}

func (g grantedGate) Wait(ctx context.Context, r budget.Request) (*budget.Turn, error) {
	turn, err := g.Gate.Wait(ctx, r)
	if err == nil && r.Kind == budget.Submit {
		g.granted()
	}
	return turn, err
}

// The answer to a paid request is lost, and so is what Redis knew of it: all, or
// its last moments (a failover).
func TestADoubtOutlivesRedis(t *testing.T) {
	t.Parallel()
	e := tasks.Export{JobID: "a", ProjectID: "proj"}
	for _, name := range []string{"flushed", "lost its last second"} {
		t.Run(name, func(t *testing.T) {
			r := holding(t)
			lost, queued := r.provider.submit, ""
			r.provider.submit = func(n int, body json.RawMessage) error {
				ctx := context.Background()
				switch {
				case n > 1:
				case name == "flushed":
					must(t, r.rdb.FlushAll(ctx).Err())
				default:
					must(t, r.rdb.RestoreReplace(ctx, ledger.Key("a"), 0, queued).Err())
				}
				return lost(n, body)
			}
			a := r.options.Accounts[worker.DefaultAccount]
			a.Gate = grantedGate{a.Gate, func() { queued, _ = r.rdb.Dump(context.Background(), ledger.Key("a")).Result() }}
			r.options.Accounts[worker.DefaultAccount] = a
			r.work()
			r.enqueue(e)
			rec := r.awaitState("a", export.Held)
			if rec.Doubts != 1 || rec.IntentAt.IsZero() {
				t.Errorf("%d doubts, sent at %s", rec.Doubts, rec.IntentAt)
			}
			r.enqueue(e)
			never(t, 2*time.Second, "hold, a doubt that the worker saw, and yet sent twice", func() bool { return r.provider.submits() > 1 })
		})
	}
}

// The worker and Redis are both lost while a paid request is under way: what was
// written ahead of it tells of it.
func TestADoubtThatOnlyS3KnowsOfIsSettledByPolicy(t *testing.T) {
	t.Parallel()
	e := tasks.Export{JobID: "a", ProjectID: "proj"}
	for policy, want := range map[export.Policy]export.State{export.Hold: export.Held, export.Resubmit: export.Archived} {
		t.Run(string(policy), func(t *testing.T) {
			r := newRig(t)
			r.options.InDoubt = policy
			sent := time.Now().Add(-time.Minute).UTC().Truncate(time.Second)
			_, err := r.archive.WriteReceipt(t.Context(), storage.Receipt{
				ID: "a", ProjectID: "proj", Request: e.Body(), Submitted: sent, Intent: "token", State: storage.ReceiptIntent,
			}, storage.Receipt{})
			must(t, err)
			r.work()
			r.enqueue(e)
			rec := r.awaitState("a", want)
			if rec.Doubts != 1 || policy == export.Hold && !rec.IntentAt.Equal(sent) {
				t.Errorf("%d doubts, sent at %s", rec.Doubts, rec.IntentAt)
			}
		})
	}
}

// A request that was refused leaves no doubt behind, whatever becomes of Redis.
func TestARefusedRequestLeavesNoDoubt(t *testing.T) {
	e := tasks.Export{JobID: "a", ProjectID: "proj"}
	r := newRig(t)
	r.options.InDoubt = export.Hold
	r.provider.submit = func(int, json.RawMessage) error { return refusal(provider.Rejected, fault.Terminal, "no such project") }
	r.work()
	r.enqueue(e)
	r.awaitState("a", export.Failed)
	r.await("a", "closed", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptFailed })
	if got := r.receipt("a"); got.State != storage.ReceiptFailed || got.ExportTaskID != "" {
		t.Errorf("the receipt says %s of %q", got.State, got.ExportTaskID)
	}
	must(t, r.rdb.FlushAll(context.Background()).Err())
	r.provider.mu.Lock()
	r.provider.submit = nil
	r.provider.mu.Unlock()
	r.enqueue(e)
	if rec := r.awaitState("a", export.Archived); rec.Doubts != 0 {
		t.Errorf("%d doubts", rec.Doubts)
	}
}

// A refusal that passes leaves a receipt of which nobody makes a doubt either: recover has
// the export wait in line again.
func TestARefusalThatPassesLeavesNoDoubt(t *testing.T) {
	t.Parallel()
	for _, kind := range []provider.Kind{provider.OutOfUnits, provider.Forbidden, provider.RateLimited, provider.NotSent} {
		t.Run(string(kind), func(t *testing.T) {
			r := newRig(t)
			r.options.InDoubt = export.Hold
			r.provider.submit = func(int, json.RawMessage) error { return refusal(kind, fault.Retry, "not now") }
			stop := r.work()
			r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj"})
			r.await("a", "put back", func(rec *export.Record) bool { return rec.State == export.Queued && rec.Round > 0 })
			r.awaitReceipt("a", storage.ReceiptUnsent)
			stop()
			must(t, r.rdb.FlushAll(context.Background()).Err())
			_, err := r.recovery.Recover(t.Context(), r.archive, nil)
			must(t, err)
			if rec := r.awaitState("a", export.Queued); rec.Doubts != 0 || !rec.Problem.None() {
				t.Errorf("%d doubts, %+v", rec.Doubts, rec.Problem)
			}
			r.provider.mu.Lock()
			r.provider.submit = nil
			r.provider.mu.Unlock()
			r.work()
			if rec := r.awaitState("a", export.Archived); rec.Doubts != 0 {
				t.Errorf("%d doubts", rec.Doubts)
			}
		})
	}
}

// lostUpdate is a Redis that fails so often to store a record that holds the text.
type lostUpdate struct {
	redis.Hook
	left atomic.Int64
	text string
}

func (l *lostUpdate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (l *lostUpdate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (l *lostUpdate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.Contains(fmt.Sprintf("%s", cmd.Args()), l.text) && l.left.Add(-1) >= 0 {
			return errors.New("connection reset by peer")
		}
		return next(ctx, cmd)
	}
}

// failingGate fails once, after the intent was written ahead.
type failingGate struct {
	worker.Gate
	failed func()
	once   *sync.Once
}

func (g failingGate) Wait(ctx context.Context, r budget.Request) (turn *budget.Turn, err error) {
	if r.Kind == budget.Submit {
		g.once.Do(func() {
			if err = r.Prepare(ctx); err == nil {
				g.failed()
				err = errors.New("the budget can't be read")
			}
		})
	}
	if err != nil {
		return nil, err
	}
	return g.Gate.Wait(ctx, r)
}

// Redis fails twice while an export waits for its turn: that its intent was not acted
// upon is recorded all the same.
func TestAnIntentThatWasNotSentIsNoDoubtThoughRedisFails(t *testing.T) {
	r := newRig(t)
	r.waitsForNothing()
	r.options.InDoubt = export.Hold
	lost := &lostUpdate{text: "settled_intents"}
	r.rdb.AddHook(lost)
	a := r.options.Accounts[worker.DefaultAccount]
	a.Gate = failingGate{a.Gate, func() { lost.left.Store(12) }, new(sync.Once)}
	r.options.Accounts[worker.DefaultAccount] = a
	r.work()
	r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj"})
	rec := r.await("a", "through", func(rec *export.Record) bool { return rec.State.Final() })
	if rec.State != export.Archived || rec.Doubts != 0 || lost.left.Load() >= 0 {
		t.Errorf("%s with %d doubts: %+v", rec.State, rec.Doubts, rec.Problem)
	}
}

// Redis is lost while a request is refused: the receipt that is left names no doubt.
func TestARefusalClosesTheReceiptOfALostRecord(t *testing.T) {
	t.Parallel()
	for says, refused := range map[storage.ReceiptState]error{
		storage.ReceiptFailed: refusal(provider.Rejected, fault.Terminal, "no such project"),
		storage.ReceiptUnsent: refusal(provider.NotSent, fault.Retry, "no connection"),
	} {
		t.Run(string(says), func(t *testing.T) {
			r := newRig(t)
			r.options.InDoubt = export.Hold
			r.provider.submit = func(int, json.RawMessage) error {
				must(t, r.rdb.FlushAll(context.Background()).Err())
				return refused
			}
			stop := r.work()
			r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj"})
			r.awaitReceipt("a", says)
			stop()
		})
	}
}

// What the provider accepted in a form that nobody can read is a person's to see to, also
// where another request has got its id since: it is neither overwritten nor paid again.
func TestAnAcceptanceThatNobodyCanReadIsNotOverwritten(t *testing.T) {
	paid, newcomer := tasks.Export{JobID: "a", ProjectID: "proj"}, tasks.Export{JobID: "a", ProjectID: "other"}
	r := newRig(t)
	_, err := r.archive.WriteReceipt(t.Context(), storage.Receipt{
		ID: "a", ProjectID: "proj", Request: paid.Body(), Submitted: time.Now().UTC(), Intent: "token", Answer: `{"result":"x1"}`, State: storage.ReceiptIntent,
	}, storage.Receipt{})
	must(t, err)
	r.work()
	r.enqueue(newcomer)
	rec := r.awaitState("a", export.Held)
	if rec.ProjectID != "proj" || rec.Problem.Reason != export.ReasonNotUnderstood || !strings.Contains(rec.Problem.Detail, "x1") {
		t.Errorf("held is project %s: %+v", rec.ProjectID, rec.Problem)
	}
	if got := r.receipt("a"); got.Answer == "" || r.provider.submits() != 0 {
		t.Errorf("sent %d times; the receipt keeps %q", r.provider.submits(), got.Answer)
	}
}

// The worker that got such an answer died before its account knew of it.
func TestAnswersThatDeadWorkersGotHaltTheAccount(t *testing.T) {
	r := newRig(t)
	for _, id := range []string{"a", "b"} {
		e, sent := tasks.Export{JobID: id, ProjectID: "proj-" + id}, time.Now().UTC()
		rec := export.New(id, e.Body(), e.Digest(), e.ProjectID, sent)
		must(t, rec.Intend(sent, "token-"+id))
		_, err := r.ledger.Create(t.Context(), rec)
		must(t, err)
		_, err = r.archive.WriteReceipt(t.Context(), storage.Receipt{
			ID: id, ProjectID: e.ProjectID, Request: e.Body(), Submitted: sent, Intent: "token-" + id, Answer: `{"result":"x1"}`, State: storage.ReceiptIntent,
		}, storage.Receipt{})
		must(t, err)
	}
	r.work()
	for _, id := range []string{"a", "b"} {
		r.awaitState(id, export.Held)
	}
	r.awaitHalt(pace.HaltAnswers)
}
