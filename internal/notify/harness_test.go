package notify

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testSecret is the one of the specification's example.
const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

var t0 = time.Date(2026, 4, 7, 12, 0, 0, 123_456_789, time.UTC)

// received is one call that a receiver got.
type received struct {
	header http.Header
	body   string
}

// receiver is a producer's web server; it answers what it is told to, 204 by default.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	got     []received
	answers []http.HandlerFunc
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got = append(r.got, received{req.Header.Clone(), string(body)})
		answer := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
		if len(r.answers) > 0 {
			answer, r.answers = r.answers[0], r.answers[1:]
		}
		r.mu.Unlock()
		answer(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) calls() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got
}

func status(code int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
	}
}

// fixture is a Notifier on a Redis and a ledger of its own.
type fixture struct {
	*Notifier
	t        *testing.T
	rdb      *redis.Client
	ledger   *ledger.Ledger
	inspect  *asynq.Inspector
	log      *bytes.Buffer
	clock    time.Time
	outcomes []Outcome
}

func newFixture(t *testing.T, change ...func(*Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, log: &bytes.Buffer{}, clock: t0}
	f.rdb = redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	f.ledger = ledger.New(ledger.Options{Redis: f.rdb})
	f.inspect = asynq.NewInspectorFromRedisClient(f.rdb)
	o := Options{
		Redis: f.rdb, Ledger: f.ledger, Logger: slog.New(slog.NewTextHandler(f.log, nil)), Secrets: []string{testSecret},
		AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Observe:      func(out Outcome) { f.outcomes = append(f.outcomes, out) },
		Now:          func() time.Time { return f.clock },
	}
	for _, c := range change {
		c(&o)
	}
	var err error
	if f.Notifier, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(); _ = f.rdb.Close() })
	return f
}

// archived stores the record of an export with two archived clips.
func (f *fixture) archived(id, notify string) *export.Record {
	f.t.Helper()
	r := export.New(id, []byte(`{"project_id":"proj_1"}`), "d", "proj_1", t0.Add(-time.Hour))
	r.Notify = []byte(notify)
	r.Trace = map[string]string{"traceparent": "00-abc"}
	step := func(err error) {
		if err != nil {
			f.t.Fatal(err)
		}
	}
	step(r.Accept(t0.Add(-time.Hour), "export_task_xyz789", "sample export task", "CREATED"))
	var clips []export.Clip
	for i := range 2 {
		clips = append(clips, export.Clip{
			Idx: i, Title: fmt.Sprintf("Clip <%d>", i), Link: "https://cdn.example.com/x.mp4?sig=hush", Thumbnail: "https://cdn.example.com/x.jpg?sig=hush",
		})
	}
	step(r.Answer(t0, r.ExportTaskID, r.Step, export.Reading{
		Status: "SUCCEEDED", Succeeded: true, ExpireAt: t0.Add(72 * time.Hour), CostUsage: 48, Clips: clips,
	}, t0))
	for i := range 2 {
		object := export.Object{Key: fmt.Sprintf("exports/proj_1/export_task_xyz789/clip-%03d.mp4", i), Size: 123, SHA256: "abcd"}
		step(r.ClipDone(t0, r.ExportTaskID, i, r.Clips[i].Round, object, nil, ""))
	}
	step(r.Seal(t0, "exports/proj_1/export_task_xyz789/manifest.json"))
	f.store(r)
	return r
}

func (f *fixture) store(r *export.Record) {
	f.t.Helper()
	if created, err := f.ledger.Create(f.t.Context(), r); err != nil || !created {
		f.t.Fatalf("created %v, %v", created, err)
	}
}

// in returns the tasks that are in a queue, pending or scheduled.
func (f *fixture) in(queue string) []*asynq.TaskInfo {
	f.t.Helper()
	var all []*asynq.TaskInfo
	for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){f.inspect.ListPendingTasks, f.inspect.ListScheduledTasks} {
		infos, err := list(queue)
		if err == nil {
			all = append(all, infos...)
		}
	}
	return all
}

// run takes the one task out of the webhooks' queue and runs it, as a worker does.
func (f *fixture) run() (*asynq.TaskInfo, error) {
	f.t.Helper()
	infos := f.in(queue.Notify)
	if len(infos) != 1 {
		f.t.Fatalf("%d tasks are in the queue, want 1", len(infos))
	}
	if err := f.inspect.DeleteTask(queue.Notify, infos[0].ID); err != nil {
		f.t.Fatal(err)
	}
	return infos[0], f.Deliver(context.Background(), infos[0].Payload, infos[0].Headers)
}
