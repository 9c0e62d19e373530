package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/pace"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// unspecific is a refusal that names nothing of the request.
func unspecific() error {
	return fault.New(fault.Terminal, "refused", &provider.Error{Kind: provider.Rejected, Op: "submit", Status: 400, Message: "Operation not allowed"})
}

func (r *rig) halted() string {
	r.t.Helper()
	h, err := r.options.Accounts[worker.DefaultAccount].Gate.Health(r.t.Context())
	must(r.t, err)
	return h.Halted
}

func (r *rig) awaitHalt(why string) {
	r.t.Helper()
	for end := time.Now().Add(30 * time.Second); r.halted() != why; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("halted: %q, want %q", r.halted(), why)
		}
	}
}

func (r *rig) enqueueNine() (ids []string) {
	for i := range 9 {
		ids = append(ids, r.enqueue(tasks.Export{ProjectID: fmt.Sprintf("proj-%d", i)}))
	}
	return ids
}

// failing has every submit fail until it is called off.
func (s *script) failing(err error) (asked *atomic.Int32, callOff func()) {
	asked = &atomic.Int32{}
	var off atomic.Bool
	s.submit = func(int, json.RawMessage) error {
		if off.Load() {
			return nil
		}
		asked.Add(1)
		return err
	}
	return asked, func() { off.Store(true) }
}

func TestAnAccountOutOfUnitsFailsNothing(t *testing.T) {
	r := newRig(t)
	r.patience = 2 * time.Minute
	asked, callOff := r.provider.failing(refusal(provider.OutOfUnits, fault.Retry, "Insufficient credits"))
	r.work()
	ids := r.enqueueNine()
	r.awaitHalt(pace.HaltUnits)
	never(t, 8*time.Second, "an export is over", func() bool {
		for _, id := range ids {
			if rec, err := r.admin.Get(t.Context(), id); err == nil && rec.State != export.Queued && rec.State != export.Submitting {
				return true
			}
		}
		return false
	})
	if n := asked.Load(); n > 2 { // one for each place
		t.Errorf("asked %d times within the first seconds of the halt", n)
	}
	callOff()
	for _, id := range ids {
		r.awaitState(id, export.Archived)
	}
}

// One bad project whose refusal has a word of ours in it, but not about the account's
// units, halts the account once and is then failed, with the provider's words.
func TestAWordOfUnitsAmongGoodProjectsIsTheProjectsOwn(t *testing.T) {
	r := newRig(t)
	r.patience = 2 * time.Minute
	var bad atomic.Int32
	r.provider.submit = func(_ int, body json.RawMessage) error {
		if strings.Contains(string(body), `"bad"`) {
			bad.Add(1)
			return fault.New(fault.Retry, "refused", &provider.Error{
				Kind: provider.OutOfUnits, Unsure: true, Op: "submit", Status: 400, Message: "check the plan of your source",
			})
		}
		return nil
	}
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "bad"})
	r.await(id, "refused", func(rec *export.Record) bool { return rec.Problem.Reason == export.ReasonOutOfUnits })
	for _, good := range r.enqueueNine() {
		r.awaitState(good, export.Archived)
	}
	rec := r.awaitState(id, export.Failed)
	if bad.Load() != 2 || rec.Problem.Reason != export.ReasonRequestRejected || !strings.Contains(view.Sentence(rec, view.CLI), "check the plan") {
		t.Errorf("asked %d times: %+v", bad.Load(), rec.Problem)
	}
}

// An export that costs more than is left is asked for ever more seldom, and halts
// nobody whose orders are accepted.
func TestAnExportThatCostsTooMuchHaltsNobody(t *testing.T) {
	r := newRig(t)
	r.patience = 2 * time.Minute
	var dear atomic.Int32
	r.provider.submit = func(_ int, body json.RawMessage) error {
		if strings.Contains(string(body), `"dear"`) {
			dear.Add(1)
			return refusal(provider.OutOfUnits, fault.Retry, "Insufficient credits")
		}
		return nil
	}
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "dear"})
	r.awaitHalt(pace.HaltUnits)
	r.awaitState(r.enqueue(tasks.Export{ProjectID: "cheap"}), export.Archived)
	rec := r.await(id, "put back", func(rec *export.Record) bool {
		return dear.Load() == 2 && rec.State == export.Queued && rec.Problem.Reason == export.ReasonOutOfUnits
	})
	if halted := r.halted(); halted != "" || time.Until(rec.NotBefore) < 5*time.Second {
		t.Errorf("halted: %q, tried again at %s", halted, rec.NotBefore)
	}
}

// A provider that charges and then answers 500 is paid at most three times, ever
// more seldom, and only while it answers reads.
func TestAnExportInDoubtIsSentAgainTwiceAtMost(t *testing.T) {
	r := newRig(t)
	asked, _ := r.provider.failing(refusal(provider.InDoubt, fault.Terminal, "500"))
	var down atomic.Bool
	down.Store(true)
	r.provider.read = func(int, *provider.Task) error {
		if down.Load() {
			return refusal(provider.Unavailable, fault.Retry, "503")
		}
		return nil
	}
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	r.await(id, "in doubt", func(rec *export.Record) bool { return rec.Doubts == 1 })
	never(t, 9*time.Second, "an outage is probed by an order", func() bool { return asked.Load() > 1 })
	down.Store(false)
	r.patience = 2 * time.Minute
	rec := r.awaitState(id, export.Held)
	if asked.Load() != 3 || rec.Doubts != 3 || rec.Problem.Reason != export.ReasonAnswerLost {
		t.Errorf("paid %d times, %d doubts, %+v", asked.Load(), rec.Doubts, rec.Problem)
	}
}

func TestAcceptancesThatNobodyCanReadPauseTheAccount(t *testing.T) {
	r := newRig(t)
	asked, _ := r.provider.failing(fault.New(fault.Terminal, "accepted", &provider.Error{
		Kind: provider.AcceptedUnknown, Op: "submit", Status: 200, Answer: `{"result":"x1"}`,
	}))
	r.work()
	ids := r.enqueueNine()
	r.awaitHalt(pace.HaltAnswers)
	never(t, 5*time.Second, "ordered on", func() bool { return asked.Load() > 3 })
	held := 0
	for _, id := range ids {
		rec, err := r.admin.Get(t.Context(), id)
		must(t, err)
		if rec.State != export.Held {
			continue
		}
		held++
		if receipt := r.receipt(id); !strings.Contains(receipt.Answer, "x1") || rec.Attempts != 1 {
			t.Errorf("%d attempts, the receipt keeps %q", rec.Attempts, receipt.Answer)
		}
	}
	if held != int(asked.Load()) {
		t.Errorf("%d held of %d that were accepted", held, asked.Load())
	}
}

// A flush while no worker runs forgets the halt, and the receipts bring it back before
// more is paid for.
func TestReceiptsBringBackTheHaltOfAnswers(t *testing.T) {
	for name, again := range map[string]func(*rig, []tasks.Export){
		"enqueued again": func(r *rig, exports []tasks.Export) {
			for _, e := range exports {
				r.enqueue(e)
			}
		},
		"recovered, twice": func(r *rig, _ []tasks.Export) {
			r.recovery.Recall = func(ctx context.Context, _, export string, sent time.Time) error {
				return r.options.Accounts[worker.DefaultAccount].Gate.RecallOdd(ctx, export, sent)
			}
			for range 2 {
				_, err := r.recovery.Recover(r.t.Context(), r.archive, nil)
				must(r.t, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { receiptsBringBackTheHalt(t, again) })
	}
}

func receiptsBringBackTheHalt(t *testing.T, again func(*rig, []tasks.Export)) {
	t.Helper()
	r := newRig(t)
	asked, _ := r.provider.failing(fault.New(fault.Terminal, "accepted", &provider.Error{
		Kind: provider.AcceptedUnknown, Op: "submit", Status: 200, Answer: `{"result":"x1"}`,
	}))
	stop := r.work()
	exports := []tasks.Export{{JobID: "a", ProjectID: "a"}, {JobID: "b", ProjectID: "b"}}
	for _, e := range exports {
		r.awaitState(r.enqueue(e), export.Held)
	}
	r.awaitHalt(pace.HaltAnswers)
	stop()
	gate, err := budget.New(budget.Options{Redis: r.rdb, Account: worker.DefaultAccount, MaxActive: 5, Logger: quiet()}) // another process's, which knows nothing
	must(t, err)
	t.Cleanup(gate.Close)
	account := r.options.Accounts[worker.DefaultAccount]
	account.Gate.(soonGate).Close()
	account.Gate = soonGate{gate}
	r.options.Accounts[worker.DefaultAccount] = account
	must(t, r.rdb.FlushAll(t.Context()).Err())
	again(r, exports)
	r.work()
	r.awaitHalt(pace.HaltAnswers)
	r.enqueue(tasks.Export{ProjectID: "c"})
	never(t, 3*time.Second, "paid for more", func() bool { return asked.Load() > 2 })
	for _, e := range exports {
		r.awaitState(e.JobID, export.Held)
	}
}

// Reads whose form has changed give nothing up, and no order goes until they are
// understood again.
func TestReadsThatNobodyUnderstandsPauseTheAccount(t *testing.T) {
	r := newRig(t)
	var odd atomic.Bool
	r.provider.read = func(int, *provider.Task) error {
		if odd.Load() {
			return refusal(provider.NotUnderstood, fault.Retry, "the answer has an unknown form")
		}
		return nil
	}
	r.provider.rendersIn(1000)
	r.work()
	ids := []string{r.enqueue(tasks.Export{ProjectID: "a"}), r.enqueue(tasks.Export{ProjectID: "b"})}
	for _, id := range ids {
		r.await(id, "read", func(rec *export.Record) bool { return rec.Polls > 0 })
	}
	odd.Store(true)
	r.awaitHalt(pace.HaltAnswers)
	ids = append(ids, r.enqueue(tasks.Export{ProjectID: "c"}))
	never(t, 3*time.Second, "an order is sent, or an export ends", func() bool {
		for _, id := range ids {
			if rec, err := r.admin.Get(t.Context(), id); err == nil && rec.State.Final() {
				return true
			}
		}
		return r.provider.submits() > 2
	})
	r.provider.rendersIn(1)
	odd.Store(false)
	r.patience = 2 * time.Minute
	for _, id := range ids {
		r.awaitState(id, export.Archived)
	}
}

// A status that nobody knows ends nothing: what it lists is archived, its exports say
// what is wrong, and after the second nothing more is ordered until one is understood.
func TestResultsOfAnUnknownFormPauseOrders(t *testing.T) {
	r := newRig(t)
	var odd atomic.Bool
	odd.Store(true)
	r.provider.read = func(_ int, task *provider.Task) error {
		if odd.Load() && task.Status.Ended() {
			task.Status, task.Odd = "COMPLETED", `its status is "COMPLETED", which is none that is known`
		}
		return nil
	}
	r.work()
	ids := []string{r.enqueue(tasks.Export{ProjectID: "a"}), r.enqueue(tasks.Export{ProjectID: "b"})}
	for _, id := range ids {
		rec := r.await(id, "fetched", func(rec *export.Record) bool { return rec.ArchivedCount == 2 })
		if rec.State != export.Rendering || rec.Problem.Reason != export.ReasonNotUnderstood || !strings.Contains(view.Sentence(rec, view.CLI), "COMPLETED") {
			t.Errorf("%s: %s", rec.State, view.Sentence(rec, view.CLI))
		}
	}
	r.awaitHalt(pace.HaltResults)
	ids = append(ids, r.enqueue(tasks.Export{ProjectID: "c"}))
	never(t, 3*time.Second, "ordered on", func() bool { return r.provider.submits() > 2 })
	odd.Store(false)
	r.patience = 2 * time.Minute
	for _, id := range ids {
		r.awaitState(id, export.Archived)
	}
}

// A refusal that names nothing of the request ends an export only the second time,
// and only once the account was seen to accept another.
func TestAnExportThatIsRefusedForNoReasonIsAskedOnceMore(t *testing.T) {
	r := newRig(t)
	r.patience = 2 * time.Minute
	var bad atomic.Int32
	r.provider.submit = func(_ int, body json.RawMessage) error {
		if strings.Contains(string(body), `"bad"`) {
			bad.Add(1)
			return unspecific()
		}
		return nil
	}
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "bad"})
	r.awaitState(r.enqueue(tasks.Export{ProjectID: "good"}), export.Archived)
	rec := r.awaitState(id, export.Failed)
	if bad.Load() != 2 || !strings.Contains(view.Sentence(rec, view.CLI), "Operation not allowed") {
		t.Errorf("asked %d times: %s", bad.Load(), view.Sentence(rec, view.CLI))
	}
}

func TestProjectsThatAreRefusedAlikePauseTheAccount(t *testing.T) {
	r := newRig(t)
	r.patience = 2 * time.Minute
	_, callOff := r.provider.failing(unspecific())
	r.work()
	ids := r.enqueueNine()
	r.awaitHalt(pace.HaltRefusals)
	callOff()
	for _, id := range ids {
		r.awaitState(id, export.Archived)
	}
}

// oneTask accepts every export as the same task.
type oneTask struct{ *script }

func (p oneTask) Submit(ctx context.Context, body json.RawMessage) (provider.Task, error) {
	task, err := p.script.Submit(ctx, body)
	task.ExportTaskID = "task-1"
	return task, err
}

func TestATaskBelongsToOneExport(t *testing.T) {
	r := newRig(t)
	account := r.options.Accounts[worker.DefaultAccount]
	account.Provider = oneTask{r.provider}
	r.options.Accounts[worker.DefaultAccount] = account
	r.work()
	first := r.enqueue(tasks.Export{ProjectID: "proj"})
	r.awaitState(first, export.Archived)
	rec := r.awaitState(r.enqueue(tasks.Export{ProjectID: "proj", Resolution: "HD_720"}), export.Failed)
	if rec.Problem.Reason != export.ReasonTaskTaken || !strings.Contains(view.Sentence(rec, view.CLI), first) || rec.ArchivedCount != 0 {
		t.Errorf("%+v: %s", rec.Problem, view.Sentence(rec, view.CLI))
	}
}

// An outage in which nobody waits to read is probed by reads all the same.
func TestAnOutageIsProbedByReads(t *testing.T) {
	r := newRig(t)
	r.patience = 2 * time.Minute
	gate, err := budget.New(budget.Options{Redis: r.rdb, Account: "outage", MaxActive: 5, Logger: quiet()})
	must(t, err)
	t.Cleanup(gate.Close)
	account := r.options.Accounts[worker.DefaultAccount]
	account.Gate = gate
	r.options.Accounts[worker.DefaultAccount] = account
	for range 5 { // nothing is answered
		turn, err := gate.Wait(t.Context(), budget.Request{Export: "x", Kind: budget.Refresh})
		must(t, err)
		must(t, turn.Done(t.Context(), budget.Outcome{Result: budget.Failed}))
	}
	asked, callOff := r.provider.failing(errors.New("sent into the outage"))
	var reads atomic.Int32
	r.provider.read = func(int, *provider.Task) error {
		if reads.Add(1) == 1 {
			return refusal(provider.Unavailable, fault.Retry, "503")
		}
		callOff()
		return nil
	}
	r.work()
	r.awaitState(r.enqueue(tasks.Export{ProjectID: "proj"}), export.Archived)
	if asked.Load() != 0 {
		t.Errorf("%d orders were sent into the outage", asked.Load())
	}
}
