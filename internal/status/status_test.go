package status_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/pace"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/status"
	"github.com/clipferry/clipferry/internal/units"
	"github.com/clipferry/clipferry/tasks"
)

// purse is an account whose budget a test makes up.
type purse struct {
	status budget.Status
	each   time.Duration // between two starts
	asked  int
	err    error
	day    units.Day
}

func (p *purse) Status(context.Context) (budget.Status, error)       { return p.status, p.err }
func (p *purse) Today(context.Context, time.Time) (units.Day, error) { return p.day, nil }
func (p *purse) Starts(_ context.Context, ahead ...int) ([]time.Duration, error) {
	p.asked++
	var out []time.Duration
	for _, n := range ahead {
		out = append(out, time.Duration(n)*p.each)
	}
	return out, nil
}

type watch struct {
	*admin.Service
	rdb    *redis.Client
	ledger *ledger.Ledger
	client *tasks.Client
	purses map[string]*purse
	reader *status.Reader
}

func newWatch(t *testing.T, served ...string) *watch {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	l := ledger.New(ledger.Options{Redis: rdb})
	w := &watch{
		Service: admin.New(rdb, l, time.Now), rdb: rdb, ledger: l, client: tasks.NewClientFromRedis(rdb),
		purses: map[string]*purse{},
	}
	for _, name := range []string{"default", "eu"} {
		w.purses[name] = &purse{each: 90 * time.Second, status: budget.Status{At: time.Now(), RequestsPerMinute: 15, MaxActive: 5, Slots: 5, Credit: 3}}
	}
	w.reader = status.NewReader(w.rdb, func(name string) status.Account {
		if name == "" {
			name = "default"
		}
		return status.Account{Name: name, Budget: w.purses[name], Units: w.purses[name]}
	}, time.Now)
	if len(served) > 0 {
		w.serve(t, served...)
	}
	return w
}

// serve runs an asynq server that says that it serves the queues. They are
// paused meanwhile, so that it takes nothing.
func (w *watch) serve(t *testing.T, queues ...string) {
	t.Helper()
	inspector := asynq.NewInspectorFromRedisClient(w.rdb)
	weights := map[string]int{}
	for _, q := range queues {
		weights[q] = 1
		// Asynq knows a queue from its first task on.
		must(t, w.rdb.SAdd(t.Context(), "asynq:queues", q).Err())
		must(t, inspector.PauseQueue(q))
	}
	s := asynq.NewServerFromRedisClient(w.rdb, asynq.Config{Queues: weights, LogLevel: asynq.FatalLevel})
	must(t, s.Start(asynq.NotFoundHandler()))
	t.Cleanup(s.Shutdown)
	for range 100 {
		if servers, err := inspector.Servers(); err == nil && len(servers) > 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.Stop() // it is still there, and takes nothing
	for _, q := range queues {
		must(t, inspector.UnpauseQueue(q))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *watch) waiting(t *testing.T, ids ...string) []string {
	t.Helper()
	var records []*export.Record
	for _, id := range ids {
		r, err := w.Get(t.Context(), id)
		must(t, err)
		records = append(records, r)
	}
	out, err := w.reader.Read(t.Context(), records)
	must(t, err)
	var texts []string
	for _, id := range ids {
		texts = append(texts, out.WaitingFor[id].Text)
	}
	return texts
}

// The place in line is that which the shares give, not that in the queue.
func TestThePlaceInLineGoesByShares(t *testing.T) {
	w := newWatch(t, append(tasks.SubmitQueues(), queue.Front, "clipferry-submit@news", "clipferry-submit@sport")...)
	if err := tasks.PublishServed(t.Context(), w.rdb, "default", []string{"news", "sport"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	w.reader.WithTenants(map[string]int{"news": 3, "sport": 1})
	for i := range 40 {
		w.enqueue(t, tasks.Export{JobID: fmt.Sprint("n", i), ProjectID: "p", Tenant: "news"})
	}
	for i := range 4 {
		w.enqueue(t, tasks.Export{JobID: fmt.Sprint("s", i), ProjectID: "p", Tenant: "sport"})
	}
	w.purses["default"].status.Line, w.purses["default"].status.Lines = []string{"g0", "g1"}, map[string]int{"news": 2}
	for id, want := range map[string]string{"s0": "4th", "s3": "16th", "n0": "4th", "n36": "43rd"} {
		if got := w.waiting(t, id)[0]; !strings.Contains(got, want+" in line") {
			t.Errorf("%s: %q, want %s", id, got, want)
		}
	}
}

func TestAQueuedExportsPlaceAndStart(t *testing.T) {
	w := newWatch(t, append(tasks.SubmitQueues(), queue.Front, "clipferry-submit.eu")...)
	for i := range 12 {
		w.enqueue(t, tasks.Export{JobID: fmt.Sprint("n", i), ProjectID: "p"})
	}
	w.enqueue(t, tasks.Export{JobID: "h0", ProjectID: "p", Priority: tasks.PriorityHigh})
	w.enqueue(t, tasks.Export{JobID: "l0", ProjectID: "p", Priority: tasks.PriorityLow})
	w.enqueue(t, tasks.Export{JobID: "e0", ProjectID: "p", Account: "eu"})
	w.enqueue(t, tasks.Export{JobID: "e1", ProjectID: "p", Account: "eu"})
	w.purses["default"].status.Line, w.purses["default"].status.Lines = []string{"g0", "g1"}, map[string]int{"default": 2}
	got := w.waiting(t, "h0", "n0", "n8", "n11", "l0", "e0", "e1")
	for i, want := range []string{
		"a slot, 3rd in line, starts in about 3 min",
		"a slot, 4th in line, starts in about 5 min",
		"a slot, 12th in line, starts in about 17 min",
		"a slot, 15th in line, starts in about 21 min",
		"a slot, 16th in line, starts in about 23 min",
		"a slot, 1st in line, starts in a moment",
		"a slot, 2nd in line, starts in about 90 s",
	} {
		if got[i] != want {
			t.Errorf("%d: %q, want %q", i, got[i], want)
		}
	}
	if n := w.purses["default"].asked; n != 1 {
		t.Errorf("the budget was asked %d times", n)
	}
	// One that waits in a worker has its place in the gate.
	w.purses["default"].status.Line = []string{"g0", "n3"}
	if got := w.waiting(t, "n3")[0]; got != "a slot, 2nd in line, starts in about 90 s" {
		t.Error(got)
	}
	// Of very many, only some are looked for.
	var many []string
	for i := range 130 {
		many = append(many, fmt.Sprint("m", i))
		w.enqueue(t, tasks.Export{JobID: many[i], ProjectID: "p"})
	}
	got = w.waiting(t, many...)
	if got[0] != "a slot, 16th in line, starts in about 23 min" || got[129] != "a slot" {
		t.Errorf("%q … %q", got[0], got[129])
	}
	w.purses["eu"].status.Slots = 0
	if got := w.waiting(t, "e0")[0]; got != "a request, 1st in line, starts in a moment" {
		t.Error(got)
	}
}

func TestWhatHoldsAQueuedExportUp(t *testing.T) {
	w := newWatch(t)
	w.enqueue(t, tasks.Export{JobID: "a", ProjectID: "p"})
	w.enqueue(t, tasks.Export{JobID: "e", ProjectID: "p", Account: "eu"})
	says := func(id, want string) {
		t.Helper()
		if got := w.waiting(t, id)[0]; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	says("a", "a worker: none is running")

	w.serve(t, tasks.QueueSubmit, queue.Front)
	w.reader = status.NewReader(w.rdb, func(string) status.Account {
		return status.Account{Name: "default", Budget: w.purses["default"], Units: w.purses["default"]}
	}, time.Now)
	says("e", "a worker with account eu: none of those running has it")
	inspector := asynq.NewInspectorFromRedisClient(w.rdb)
	must(t, inspector.PauseQueue(tasks.QueueSubmit))
	says("a", "queue clipferry-submit, which is paused")
	must(t, inspector.UnpauseQueue(tasks.QueueSubmit))

	p := w.purses["default"]
	p.status.Halted, p.status.Probe = "key_refused", p.status.At.Add(4*time.Minute)
	says("a", "the provider to accept the API key again, which it refuses (401 or 403); next try in 4 min")
	p.status.Halted = "provider_unavailable"
	says("a", "the provider, which does not answer; next try in 4 min")
	p.day = units.Day{Spent: 5040.5, Cap: 5000, Ends: time.Now().Add(3*time.Hour + 10*time.Second)}
	says("a", "the next day, in 3 h 0 min: account default has spent 5040.5 of its 5000 units of today")

	r, err := w.Get(t.Context(), "a")
	must(t, err)
	must(t, r.PutBack(time.Now(), "", time.Now().Add(39*time.Second), export.Problem{Reason: export.ReasonProviderUnavailable, Detail: "refused"}))
	_, err = w.ledger.Create(t.Context(), r)
	must(t, err)
	says("a", "another try in 40 s")
	p.status, p.day = budget.Status{Slots: 5}, units.Day{}
	_, err = w.ledger.Update(t.Context(), "a", func(r *export.Record) error { return r.PutBack(time.Now(), "", time.Now(), export.Problem{}) })
	must(t, err)
	says("a", "its turn in a worker")
}

func TestWhatARunningExportWaitsFor(t *testing.T) {
	w := newWatch(t, queue.Poll)
	now := time.Now()
	w.purses["default"].status.Held = []budget.Slot{{Export: "x", Expected: w.purses["default"].status.At.Add(3 * time.Minute)}}
	for want, change := range map[string]func(*export.Record){
		"the provider's answer to the order":                              func(r *export.Record) { r.State = export.Submitting },
		"its render, likely done in about 3 min; read again within 30 s":  func(r *export.Record) { r.State, r.ReadAt = export.Rendering, now.Add(25*time.Second-pace.Gap) },
		"its render, likely done in about 3 min; read again within 2 min": func(r *export.Record) { r.State, r.SubmittedAt = export.Rendering, now },
		"its render, likely done in about 3 min; read again within 5 min": func(r *export.Record) { r.State, r.PollAt = export.Rendering, now.Add(5*time.Minute) },
		"2 clips on their way":                              func(r *export.Record) { r.State, r.ClipCount, r.ArchivedCount = export.Mirroring, 5, 3 },
		"a fresh link from the provider, 1 clip on its way": func(r *export.Record) { r.State, r.ClipCount, r.Read = export.Mirroring, 1, export.ReadRefresh },
		"further clips: the last came at 09:30 UTC, and it is complete once none has for CLIPFERRY_IMPORT_QUIET": func(r *export.Record) {
			r.State, r.ClipCount, r.ArchivedCount, r.Read = export.Mirroring, 2, 2, export.ReadSettle
			r.NewsAt = time.Date(2026, 4, 7, 9, 30, 0, 0, time.UTC)
		},
		"links that the provider has not given yet": func(r *export.Record) { r.State, r.Read = export.Mirroring, export.ReadMissing },
		"its manifest": func(r *export.Record) { r.State, r.ClipCount, r.ArchivedCount = export.Mirroring, 2, 2 },
	} {
		r := export.New("x", json.RawMessage(`{}`), "", "p", now)
		change(r)
		out, err := w.reader.Read(t.Context(), []*export.Record{r})
		must(t, err)
		if got := out.WaitingFor["x"].Text; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, s := range export.States() {
		r := export.New("x", json.RawMessage(`{}`), "", "p", now)
		r.State = s
		out, err := w.reader.Read(t.Context(), []*export.Record{r})
		must(t, err)
		if got := out.WaitingFor["x"].Text; (got == "") != s.Final() {
			t.Errorf("%s waits for %q", s, got)
		}
	}
}

// Nobody must wait for a render or a transfer that nobody will look after.
func TestARunningExportTellsWhatIsInTheWay(t *testing.T) {
	now := time.Now()
	states := map[string]func(*export.Record){
		"submitting": func(r *export.Record) { r.State = export.Submitting },
		"rendering":  func(r *export.Record) { r.State, r.SubmittedAt = export.Rendering, now },
		"clip":       func(r *export.Record) { r.State, r.ClipCount = export.Mirroring, 1 },
		"link":       func(r *export.Record) { r.State, r.Read = export.Mirroring, export.ReadRefresh },
		"manifest":   func(r *export.Record) { r.State = export.Mirroring },
	}
	look := func(w *watch) status.Snapshot {
		t.Helper()
		var records []*export.Record
		for id, change := range states {
			r := export.New(id, json.RawMessage(`{}`), "", "p", now)
			change(r)
			records = append(records, r)
		}
		out, err := w.reader.Read(t.Context(), records)
		must(t, err)
		return out
	}

	idle := look(newWatch(t))
	for id := range states {
		if got := idle.WaitingFor[id].Text; !strings.HasSuffix(got, "; no worker is running") || strings.Contains(got, "read again") {
			t.Errorf("without a worker %s waits for %s", id, got)
		}
	}
	if got := idle.Fleet; len(got) != 1 || !strings.HasPrefix(got[0], "NO WORKER is running") {
		t.Errorf("without a worker: %q", got)
	}

	w := newWatch(t, queue.Poll)
	if got := look(w).Fleet; len(got) > 0 {
		t.Errorf("nothing is in the way: %q", got)
	}
	inspector := asynq.NewInspectorFromRedisClient(w.rdb)
	for queue, waits := range map[string][]string{
		queue.Poll: {"rendering", "link"}, queue.Mirror: {"clip"}, queue.Urgent: {"clip"}, queue.Bulk: {"clip"},
		queue.Seal: {"manifest"}, queue.Notify: nil,
	} {
		must(t, inspector.PauseQueue(queue))
		out := look(w)
		must(t, inspector.UnpauseQueue(queue))
		for id := range states {
			if got := strings.HasSuffix(out.WaitingFor[id].Text, "; queue "+queue+" is paused"); got != slices.Contains(waits, id) {
				t.Errorf("%s is paused: %s waits for %s", queue, id, out.WaitingFor[id].Text)
			}
		}
		if got := out.Fleet; len(got) != 1 || got[0] != "PAUSED, until `clipferry resume`: "+queue {
			t.Errorf("%s is paused: %q", queue, got)
		}
	}
}

func TestABucketThatIsDownIsWhatAllWaitFor(t *testing.T) {
	w := newWatch(t, tasks.QueueSubmit, queue.Front)
	w.enqueue(t, tasks.Export{JobID: "a", ProjectID: "p"})
	queued, err := w.Get(t.Context(), "a")
	must(t, err)
	var records []*export.Record
	for _, s := range []export.State{export.Submitting, export.Rendering, export.Mirroring} {
		r := export.New(string(s), json.RawMessage(`{}`), "", "p", time.Now())
		r.State, r.ClipCount = s, 2
		records = append(records, r)
	}
	records = append(records, queued)
	host, err := os.Hostname()
	must(t, err)
	down := func(worker string) status.Snapshot {
		t.Helper()
		must(t, ledger.New(ledger.Options{Redis: w.rdb}).ReportOutage(t.Context(), ledger.Outage{
			Worker: worker, Since: time.Now(), Next: time.Now().Add(time.Minute), Sentence: "S3 fails all writes of this process since noon: AccessDenied", SaidAt: time.Now(),
		}))
		out, err := w.reader.Read(t.Context(), records)
		must(t, err)
		return out
	}
	if out := down("another:1"); strings.HasPrefix(out.WaitingFor["a"].Text, "S3") || len(out.Outages) != 1 {
		t.Errorf("one worker of two lacks S3: %+v, %s", out.Outages, out.WaitingFor["a"].Text)
	}
	out := down(queue.WorkerName(host, os.Getpid()))
	for id, waits := range map[string]bool{"a": true, "mirroring": true, "rendering": false, "submitting": false} {
		if strings.HasPrefix(out.WaitingFor[id].Text, "S3, which fails all writes since noon: AccessDenied") != waits {
			t.Errorf("%s waits for %s", id, out.WaitingFor[id].Text)
		}
	}
	if len(out.Outages) != 2 || !strings.HasSuffix(out.WaitingFor["a"].Text, "; next try in 60 s") {
		t.Errorf("%+v, %s", out.Outages, out.WaitingFor["a"].Text)
	}
}

func TestTheRealBudgetIsEnough(t *testing.T) {
	w := newWatch(t, tasks.QueueSubmit)
	gate, err := budget.New(budget.Options{Redis: w.rdb, Account: "default", RequestsPerMinute: 15, MaxActive: 5, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	defer gate.Close()
	look := status.NewReader(w.rdb, func(string) status.Account {
		return status.Account{Name: "default", Budget: gate, Units: units.New(w.rdb, "default", 0)}
	}, time.Now)
	w.enqueue(t, tasks.Export{JobID: "a", ProjectID: "p"})
	r, err := w.Get(t.Context(), "a")
	must(t, err)
	out, err := look.Read(t.Context(), []*export.Record{r})
	must(t, err)
	if got := out.WaitingFor["a"].Text; got != "a slot, 1st in line, starts in a moment" {
		t.Error(got)
	}
}

func (w *watch) enqueue(t *testing.T, e tasks.Export) {
	t.Helper()
	_, err := w.client.Enqueue(t.Context(), e)
	must(t, err)
}
