package passthrough

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/redistest"
	"github.com/clipferry/clipferry/internal/s3test"
	"github.com/clipferry/clipferry/internal/secret"
	"github.com/clipferry/clipferry/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ourKey = "our-own-key-at-the-provider"

// rig is a service on a real Redis, in front of the emulated provider. Its clock, and
// the provider's, move only when a test says so; the budget's is real.
type rig struct {
	*Service
	t        *testing.T
	redis    *redistest.Server
	rdb      *redis.Client
	gate     *budget.Gate
	archive  *storage.Archive
	emulator *emulator.Server
	log      *bytes.Buffer

	mu       sync.Mutex
	at       time.Time
	saw      http.Header // of the last request at the provider
	answered func()      // is called once the provider has made a task, before its answer leaves
	accepted []Accepted
}

func (r *rig) time() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = r.at.Add(d)
}

func newRig(t *testing.T, change ...func(*Options)) *rig {
	t.Helper()
	t.Parallel()
	server := redistest.Start(t)
	r := &rig{t: t, redis: server, rdb: server.Client(), log: &bytes.Buffer{}, at: time.Date(2026, 4, 7, 12, 0, 0, 0, time.UTC)}
	var err error
	r.emulator, err = emulator.New(emulator.Options{Keys: []string{ourKey}, Now: r.time, Render: emulator.Render{Fixed: 100 * time.Second}})
	must(t, err)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		r.saw = q.Header.Clone()
		r.mu.Unlock()
		r.emulator.ServeHTTP(w, q)
		if r.answered != nil && q.Method == http.MethodPost {
			r.answered()
		}
	}))
	t.Cleanup(api.Close)
	client, err := provider.New(provider.Options{BaseURL: api.URL, Key: secret.String(ourKey)})
	must(t, err)
	t.Cleanup(client.Close)
	links, err := link.New(link.Options{MaxSize: 1 << 20})
	must(t, err)
	t.Cleanup(links.Close)
	r.archive, err = storage.New(storage.Options{Client: s3test.StartEmbedded(t).Client(), Bucket: s3test.Bucket, Prefix: "exports", Source: links})
	must(t, err)
	log := slog.New(slog.NewTextHandler(&locked{w: r.log}, nil))
	r.gate, err = budget.New(budget.Options{Redis: r.rdb, Account: "default", MaxActive: 2, Logger: log})
	must(t, err)
	t.Cleanup(r.gate.Close)
	o := Options{
		Redis: r.rdb, Ledger: ledger.New(ledger.Options{Redis: r.rdb}), Receipts: r.archive, Logger: log, Account: "default",
		Provider: client, Gate: r.gate, Wait: 5 * time.Second, Now: r.time,
		TakeUp: func(_ context.Context, a Accepted) (string, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.accepted = append(r.accepted, a)
			return "", nil
		},
	}
	for _, c := range change {
		c(&o)
	}
	r.Service, err = New(o)
	must(t, err)
	return r
}

type locked struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// do sends a request of a tenant; headers may hold an Idempotency-Key.
func (r *rig) do(tenant, method, path, body string, key ...string) (Answer, error) {
	path, query, _ := strings.Cut(path, "?")
	q := Request{
		Tenant: tenant, Method: method, Path: "/api/v2/" + path, Query: query, Body: strings.NewReader(body), Length: int64(len(body)),
		Header: http.Header{"X-Wayinvideo-Api-Version": {"v2"}, "Authorization": {"Bearer the-clients-own"}, "Content-Type": {"application/json"}},
	}
	if len(key) > 0 {
		q.Key = key[0]
	}
	return r.Do(r.t.Context(), q)
}

// refused is do where a refusal of ours is expected.
func (r *rig) refused(tenant, method, path, body string, key ...string) *Refusal {
	r.t.Helper()
	a, err := r.do(tenant, method, path, body, key...)
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		r.t.Fatalf("%s %s: %d %s, %v", method, path, a.Status, a.Body, err)
	}
	return refusal
}

// told is what an answer says.
type told struct {
	Data struct {
		ID     string `json:"id"`
		Status string `json:"status"`
		Clips  []struct {
			ExportLink string `json:"export_link"`
		} `json:"clips"`
	} `json:"data"`
}

// must is do where a good answer is expected.
func (r *rig) must(tenant, method, path, body string, key ...string) (Answer, told) {
	r.t.Helper()
	a, err := r.do(tenant, method, path, body, key...)
	var said told
	if err != nil || a.Status != 200 || json.Unmarshal(a.Body, &said) != nil {
		r.t.Fatalf("%s %s: %d %s, %v", method, path, a.Status, a.Body, err)
	}
	return a, said
}

// steps runs what is in the queue, due or not, and reports how much there was.
func (r *rig) steps() int {
	r.t.Helper()
	inspector := asynq.NewInspectorFromRedisClient(r.rdb)
	scheduled, err := inspector.ListScheduledTasks(queue.Passed)
	if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
		r.t.Fatal(err)
	}
	pending, _ := inspector.ListPendingTasks(queue.Passed)
	for _, task := range append(scheduled, pending...) {
		must(r.t, inspector.DeleteTask(queue.Passed, task.ID))
		must(r.t, r.Step(r.t.Context(), task.Payload))
		if bytes.Contains(task.Payload, []byte("http")) {
			r.t.Errorf("a link in a payload: %s", task.Payload)
		}
	}
	return len(scheduled) + len(pending)
}

func (r *rig) slots() int {
	r.t.Helper()
	held, err := r.gate.Slots(r.t.Context())
	must(r.t, err)
	return len(held)
}

// sent is how many requests of the route the provider has answered.
func (r *rig) sent(route string) int {
	n := 0
	for _, by := range r.emulator.State().Requests[route] {
		n += by
	}
	return n
}
