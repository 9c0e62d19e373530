package worker_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/units"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// account adds an account with a provider of its own to the fleet.
func (r *rig) account(name string, slots int) *script {
	r.t.Helper()
	provider := newScript(r.t)
	gate, err := budget.New(budget.Options{Redis: r.rdb, Account: name, MaxActive: slots, Logger: quiet()})
	must(r.t, err)
	r.t.Cleanup(gate.Close)
	r.options.Accounts[name] = worker.Account{Name: name, Provider: provider, Gate: gate, Units: units.New(r.rdb, name, 0)}
	return provider
}

// endless lets renders go on for ever.
func endless(s *script) {
	s.read = func(_ int, task *provider.Task) error {
		task.Status, task.Clips = provider.StatusOngoing, nil
		return nil
	}
}

func (s *script) projects() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, body := range s.accepted {
		var e tasks.Export
		must(s.t, json.Unmarshal(body, &e))
		ids = append(ids, e.ProjectID)
	}
	return ids
}

func TestAFullAccountStandsInNobodysWay(t *testing.T) {
	r := newRig(t)
	eu, us := r.account("eu", 1), r.account("us", 1)
	endless(eu)
	endless(r.provider)
	// Both eu and the default account have more waiting than a worker has places
	// for, all of it before us.
	for i := range 6 {
		r.enqueue(tasks.Export{ProjectID: fmt.Sprintf("eu-%d", i), Account: "eu"})
	}
	for i := range 9 {
		r.enqueue(tasks.Export{ProjectID: fmt.Sprintf("default-%d", i)})
	}
	var ids, want []string
	for i := range 4 {
		project := fmt.Sprintf("us-%d", i)
		ids, want = append(ids, r.enqueue(tasks.Export{ProjectID: project, Account: "us"})), append(want, project)
	}
	r.work()
	for _, id := range ids {
		rec := r.awaitState(id, export.Archived)
		if rec.Account != "us" || view.Of(rec, view.CLI).Account != "us" {
			t.Errorf("account %q", rec.Account)
		}
		receipt, _, err := r.archive.Receipt(t.Context(), id)
		must(t, err)
		if receipt.Account != "us" {
			t.Errorf("the receipt names account %q", receipt.Account)
		}
	}
	// First come, first served, but for two that reach the gate in one moment.
	for i, project := range us.projects() {
		if n := slices.Index(want, project); n < i-1 || n > i+1 {
			t.Errorf("us was asked for %v, want %v", us.projects(), want)
		}
	}
	if got := eu.projects(); len(got) != 1 {
		t.Errorf("eu was asked for %v", got)
	}
	if n := r.provider.submits(); n != 5 {
		t.Errorf("the default account was asked %d times", n)
	}
	if body := string(us.accepted[3]); !strings.HasPrefix(body, `{"project_id":"us-`) || strings.Contains(body, "account") {
		t.Errorf("sent %s", body)
	}
	day, err := units.New(r.rdb, "us", 0).Today(t.Context(), time.Now())
	must(t, err)
	if day.Spent != 4*48 {
		t.Errorf("us spent %g units", day.Spent)
	}
}

func TestAnExportInAnotherAccountsQueueIsMoved(t *testing.T) {
	r := newRig(t)
	eu := r.account("eu", 5)
	r.work()
	bare := asynq.NewClientFromRedisClient(r.rdb)
	for id, c := range map[string]struct{ queue, payload string }{
		"a": {"clipferry-submit", `{"project_id":"p","account":"eu","priority":"high"}`},
		"b": {"clipferry-submit.eu", `{"project_id":"q"}`},
		"c": {"clipferry-submit.eu", `{"project_id":"r","account":"eu"}`},
	} {
		_, err := bare.Enqueue(asynq.NewTask(tasks.TypeSubmit, []byte(c.payload)),
			asynq.TaskID(tasks.SubmitTaskID(id)), asynq.Queue(c.queue), asynq.MaxRetry(25), asynq.Timeout(24*time.Hour))
		must(t, err)
	}
	for _, id := range []string{"a", "b", "c"} {
		r.awaitState(id, export.Archived)
	}
	got := eu.projects()
	slices.Sort(got)
	if !slices.Equal(got, []string{"p", "r"}) || !slices.Equal(r.provider.projects(), []string{"q"}) {
		t.Errorf("eu %v, default %v", got, r.provider.projects())
	}
}

// An account that no worker has makes no queue, however its exports come, and they say what
// they wait for.
func TestAnAccountThatNobodyHasIsWaitedFor(t *testing.T) {
	r := newRig(t)
	r.waitsForNothing() // or it would be tried again in a minute
	stop := r.work()
	await(t, func() bool {
		served, err := tasks.LoadServed(t.Context(), r.rdb)
		must(t, err)
		return len(served) > 0
	})
	ids := []string{r.enqueue(tasks.Export{ProjectID: "p", Account: "eu"}), "bare"}
	_, err := asynq.NewClientFromRedisClient(r.rdb).Enqueue(tasks.NewTask(tasks.Export{ProjectID: "p", Account: "eu", Tenant: "t"}, "bare", nil))
	must(t, err)
	r.awaitState(r.enqueue(tasks.Export{ProjectID: "q"}), export.Archived)
	for _, id := range ids {
		r.await(id, "put back", func(rec *export.Record) bool {
			return rec.Round > 0 && rec.Problem.Reason == export.ReasonAccountUnknown
		})
	}
	must(t, errOf(r.admin.Cancel(t.Context(), "bare")))
	must(t, errOf(r.admin.Retry(t.Context(), "bare", export.RetryOptions{})))
	names, err := asynq.NewInspectorFromRedisClient(r.rdb).Queues()
	must(t, err)
	if slices.ContainsFunc(names, func(name string) bool { return strings.ContainsAny(name, ".@") }) {
		t.Errorf("queues %v", names)
	}
	stop()
	eu := r.account("eu", 1)
	r.work()
	for _, id := range ids {
		r.awaitState(id, export.Archived)
	}
	if n := eu.submits(); n != 2 || r.provider.submits() != 1 {
		t.Errorf("eu was asked %d times, the default account %d", n, r.provider.submits())
	}
}

func errOf(_ *export.Record, err error) error { return err }

// A record whose account is gone says so, is tried ever more rarely, and goes
// on once the account is back.
func TestAnAccountThatIsGoneIsSaid(t *testing.T) {
	r := newRig(t)
	r.account("eu", 1)
	id := r.enqueue(tasks.Export{ProjectID: "p", Account: "eu"})
	eu := r.options.Accounts["eu"]
	// The default account's queues hold it, as after a `retry` by an older version.
	rec, err := r.admin.Get(t.Context(), id)
	must(t, err)
	rec.Round = 1
	_, err = r.ledger.Create(t.Context(), rec)
	must(t, err)
	_, err = asynq.NewClientFromRedisClient(r.rdb).Enqueue(asynq.NewTask(tasks.TypeSubmit, fmt.Appendf(nil, `{"id":%q,"round":1}`, id)),
		asynq.TaskID("resubmit:"+id+":1"), asynq.Queue(queue.Front))
	must(t, err)
	delete(r.options.Accounts, "eu")
	stop := r.work()
	rec = r.await(id, "put back", func(rec *export.Record) bool { return rec.Round > 1 })
	if wait := time.Until(rec.NotBefore); rec.State != export.Queued || wait < 30*time.Second || wait > 10*time.Minute {
		t.Errorf("%s, again in %s", rec.State, wait)
	}
	if want := `the export is to be ordered with account eu, which the worker does not have; see CLIPFERRY_API_KEYS`; view.Sentence(rec, view.CLI) != want {
		t.Errorf("it says %q", view.Sentence(rec, view.CLI))
	}
	stop()
	r.options.Accounts["eu"] = eu
	_, err = r.ledger.Update(t.Context(), id, func(rec *export.Record) error {
		return rec.PutBack(time.Now(), "", time.Now(), export.Problem{})
	})
	must(t, err)
	r.work() // the sweeper finds its task missing
	r.awaitState(id, export.Archived)
}

func TestTheDefaultAccountIsPinnedWhenItPays(t *testing.T) {
	r := newRig(t)
	eu := r.account("eu", 1)
	delete(r.options.Accounts, worker.DefaultAccount)
	r.options.Default = "eu"
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "p"})
	rec := r.awaitState(id, export.Archived)
	receipt, _, err := r.archive.Receipt(t.Context(), id)
	must(t, err)
	if rec.Account != "eu" || receipt.Account != "eu" || eu.submits() != 1 || r.provider.submits() != 0 {
		t.Errorf("account %q, receipt %q", rec.Account, receipt.Account)
	}
}

func TestADaysUnitsHoldFurtherExports(t *testing.T) {
	r := newRig(t)
	var ahead atomic.Int64
	r.options.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	a := r.options.Accounts[worker.DefaultAccount]
	a.Units = units.New(r.rdb, worker.DefaultAccount, 48)
	r.options.Accounts[worker.DefaultAccount] = a
	eu := r.account("eu", 1)
	r.work()
	first := r.enqueue(tasks.Export{ProjectID: "first"})
	r.awaitState(first, export.Archived)
	second := r.enqueue(tasks.Export{ProjectID: "second"})
	r.awaitState(r.enqueue(tasks.Export{ProjectID: "other", Account: "eu"}), export.Archived)
	r.await(second, "taken up", func(*export.Record) bool {
		day, err := units.New(r.rdb, worker.DefaultAccount, 0).Today(t.Context(), r.options.Now())
		must(t, err)
		return day.Reached() // a worker has found it so
	})
	if rec := r.awaitState(second, export.Queued); rec.Attempts != 0 || r.provider.submits() != 1 || eu.submits() != 1 {
		t.Errorf("it was ordered: %+v", rec)
	}
	ahead.Store(int64(24 * time.Hour))
	r.await(second, "ordered", func(rec *export.Record) bool { return rec.ExportTaskID != "" })
}
