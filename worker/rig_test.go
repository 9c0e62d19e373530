package worker_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/catalog"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/recovery"
	"github.com/clipferry/clipferry/internal/redistest"
	"github.com/clipferry/clipferry/internal/s3test"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// rig is a fleet on a real Redis and a real S3 server, against a provider that
// does what the test says.
type rig struct {
	t        *testing.T
	redis    *redistest.Server
	rdb      *redis.Client
	s3       *s3test.Server
	ledger   *ledger.Ledger
	archive  *storage.Archive
	admin    *admin.Service
	recovery *recovery.Service
	client   *tasks.Client
	provider *script
	options  worker.Options // changed by a test before work
	patience time.Duration  // of await, a minute when zero
}

// newRig lets the test run beside others: most of its time is waiting.
func newRig(t *testing.T) *rig {
	t.Helper()
	t.Parallel()
	return newRigAlone(t)
}

// newRigAlone is newRig for a test that measures the whole process.
func newRigAlone(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, redis: redistest.Start(t), s3: s3test.Start(t)}
	r.rdb = r.redis.Client()
	r.ledger = ledger.New(ledger.Options{Redis: r.rdb})
	r.archive = newArchive(t, r.s3.Client(), r.ledger)
	r.admin = admin.New(r.rdb, r.ledger, time.Now)
	r.recovery = recovery.New(r.rdb, r.ledger, queue.New(r.rdb), time.Now)
	r.client = tasks.NewClientFromRedis(r.rdb)
	r.provider = newScript(t)
	gate, err := budget.New(budget.Options{Redis: r.rdb, Account: worker.DefaultAccount, MaxActive: 5, Logger: quiet()})
	must(t, err)
	t.Cleanup(gate.Close)
	r.options = worker.Options{
		Redis: r.rdb, Ledger: r.ledger, Archive: r.archive, Catalog: catalog.NewStore(r.archive), Logger: quiet(),
		Accounts:        map[string]worker.Account{worker.DefaultAccount: {Provider: r.provider, Gate: soonGate{gate}}},
		ShutdownTimeout: 10 * time.Second, PollInterval: pollInterval, ImportQuiet: importQuiet,
	}
	return r
}

// pollInterval lets a step be taken up soon after it is due.
const pollInterval = 100 * time.Millisecond

// soonGate has an export read again soon. When a read is worth its request is for
// the tests of package pace to prove.
type soonGate struct{ *budget.Gate }

func (soonGate) NextRead(context.Context, string) (time.Time, error) {
	return time.Now().Add(200 * time.Millisecond), nil
}

// waitsForNothing gives the workers a clock that is behind, so that whatever they
// put off is due at once.
func (r *rig) waitsForNothing() {
	r.options.Now = func() time.Time { return time.Now().Add(-24 * time.Hour) }
}

// putReceipt stores text where the receipt of id belongs, whatever it says.
func (r *rig) putReceipt(id, text string) {
	r.t.Helper()
	_, err := r.s3.Client().PutObject(r.t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(s3test.Bucket), Key: aws.String("exports/_receipts/" + id + ".json"), Body: strings.NewReader(text),
	})
	must(r.t, err)
}

func newArchive(t testing.TB, client *s3.Client, l *ledger.Ledger) *storage.Archive {
	t.Helper()
	links, err := link.New(link.Options{AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	must(t, err)
	t.Cleanup(links.Close)
	a, err := storage.New(storage.Options{
		Client: client, Bucket: s3test.Bucket, Prefix: "exports", Source: links, Checkpoints: l.Checkpoints(), Logger: quiet(),
	})
	must(t, err)
	return a
}

// quiet is the log of a test: errors are asserted on, not read.
func quiet() *slog.Logger {
	if os.Getenv("CLIPFERRY_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// work runs a worker until stop is called or the test ends.
func (r *rig) work() (stop func()) {
	r.t.Helper()
	w, err := worker.New(r.options)
	must(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("worker: %v", err)
		}
	})
	r.t.Cleanup(func() {
		stop()
		<-w.Drained() // before the client is closed
	})
	return stop
}

func (r *rig) enqueue(e tasks.Export) string {
	r.t.Helper()
	id, err := r.client.Enqueue(r.t.Context(), e)
	must(r.t, err)
	return id
}

// await waits until the export satisfies the condition.
func (r *rig) await(id, what string, ok func(*export.Record) bool) *export.Record {
	r.t.Helper()
	patience := cmp.Or(r.patience, time.Minute)
	deadline := time.Now().Add(patience)
	var last *export.Record
	for time.Now().Before(deadline) {
		rec, err := r.admin.Get(r.t.Context(), id)
		if err == nil {
			if last = rec; ok(rec) {
				return rec
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	text, _ := json.Marshal(last)
	r.t.Fatalf("export %s: not %s within %s: %.4000s", id, what, patience, text)
	return nil
}

func (r *rig) awaitState(id string, s export.State) *export.Record {
	r.t.Helper()
	return r.await(id, string(s), func(rec *export.Record) bool { return rec.State == s })
}

// never asserts that the condition does not come true for a while.
func never(t *testing.T, d time.Duration, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if cond() {
			t.Fatal(what)
		}
	}
}

// receipt returns the export's receipt, which must stand.
func (r *rig) receipt(id string) storage.Receipt {
	r.t.Helper()
	receipt, found, err := r.archive.Receipt(context.Background(), id)
	must(r.t, err)
	if !found {
		r.t.Fatalf("no receipt of %s", id)
	}
	return receipt
}

// awaitReceipt waits until the export's receipt says so.
func (r *rig) awaitReceipt(id string, says storage.ReceiptState) {
	r.t.Helper()
	var got storage.Receipt
	for end := time.Now().Add(cmp.Or(r.patience, time.Minute)); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var err error
		if got, _, err = r.archive.Receipt(context.Background(), id); err == nil && got.State == says {
			return
		}
	}
	r.t.Fatalf("the receipt of %s says %s, not %s", id, got.State, says)
}

// archived asserts that the clip's object is the file, byte for byte.
func (r *rig) archived(c *export.Clip, want []byte) {
	r.t.Helper()
	got, err := os.ReadFile(filepath.Join(r.s3.Dir, s3test.Bucket, c.Object.Key))
	must(r.t, err)
	if string(got) != string(want) {
		r.t.Errorf("clip %d: %d bytes archived differ from the %d of its source", c.Idx, len(got), len(want))
	}
}

// script is the provider as a test tells it to be: each export renders in reads
// reads, and hooks may take over any call.
type script struct {
	t   *testing.T
	cdn *httptest.Server

	mu         sync.Mutex
	accepted   []json.RawMessage // bodies of the accepted submits, in order
	reads      map[string]int    // by task
	files      map[string][]byte // by path of the CDN
	dead       map[string]bool   // paths that answer 403
	generation int

	clips    int                                     // clips of an export, 2 when zero
	size     int                                     // bytes of media in a clip, 70,000 when zero
	readsFor int                                     // reads until it succeeds, 2 when zero
	submit   func(n int, body json.RawMessage) error // n counts from 1
	read     func(n int, task *provider.Task) error  // may change the answer
	serve    func(w http.ResponseWriter, r *http.Request, file []byte) bool
}

func newScript(t *testing.T) *script {
	s := &script{t: t, reads: map[string]int{}, files: map[string][]byte{}, dead: map[string]bool{}, clips: 2, readsFor: 2}
	s.cdn = httptest.NewServer(http.HandlerFunc(s.serveFile))
	t.Cleanup(s.cdn.Close)
	return s
}

func (s *script) serveFile(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	file, ok, dead, hook := s.files[r.URL.Path], s.files[r.URL.Path] != nil, s.dead[r.URL.RequestURI()], s.serve
	s.mu.Unlock()
	switch {
	case !ok:
		http.NotFound(w, r)
	case dead:
		w.WriteHeader(http.StatusForbidden)
	case hook != nil && hook(w, r, file):
	default:
		w.Header().Set("ETag", fmt.Sprintf("%q", r.URL.Path))
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(file)))
	}
}

// Submit accepts an export unless the test's hook says otherwise.
func (s *script) Submit(_ context.Context, body json.RawMessage) (provider.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.accepted) + 1
	s.accepted = append(s.accepted, body)
	if s.submit != nil {
		if err := s.submit(n, body); err != nil {
			if provider.KindOf(err) != provider.InDoubt {
				s.accepted = s.accepted[:n-1]
			}
			return provider.Task{}, err
		}
	}
	return provider.Task{ExportTaskID: fmt.Sprintf("task-%d", n), Name: "scripted", Status: provider.StatusCreated}, nil
}

// Read answers with one more clip at each read.
func (s *script) Read(_ context.Context, _, id string) (provider.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads[id]++
	n := s.reads[id]
	task := provider.Task{
		ExportTaskID: id, Status: provider.StatusOngoing, ExpireAt: time.Now().Add(72 * time.Hour), CostUsage: 48,
		Raw: json.RawMessage(fmt.Sprintf(`{"export_task_id":%q,"reads":%d}`, id, n)),
	}
	ready := s.clips * n / s.readsFor
	if n >= s.readsFor {
		ready, task.Status = s.clips, provider.StatusSucceeded
	}
	for idx := range ready {
		path := fmt.Sprintf("/%s/%d.mp4", id, idx)
		if s.files[path] == nil {
			s.files[path] = film(id, idx, cmp.Or(s.size, 70_000))
		}
		task.Clips = append(task.Clips, provider.Clip{
			Idx: idx, Title: fmt.Sprintf("Clip Nº %d", idx), BeginMS: 0, EndMS: 30_000, Tags: []string{"a"},
			ExportLink: fmt.Sprintf("%s%s?signature=secret-%d", s.cdn.URL, path, s.generation),
		})
	}
	if s.read != nil {
		if err := s.read(n, &task); err != nil {
			return provider.Task{}, err
		}
	}
	return task, nil
}

// rendersIn changes after how many reads an export succeeds.
func (s *script) rendersIn(reads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readsFor = reads
}

func (s *script) submits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.accepted)
}

func (s *script) file(task string, idx int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files[fmt.Sprintf("/%s/%d.mp4", task, idx)]
}

// refusal is what the provider's client returns for a failure of that kind.
func refusal(kind provider.Kind, class fault.Class, message string) error {
	return fault.New(class, message, &provider.Error{Kind: kind, Op: "test", Message: message, Specific: kind == provider.Rejected})
}

// film is a structurally whole MP4 of about that size, different for each name.
func film(name string, idx, size int) []byte {
	noise := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32.32s", fmt.Sprintf("%d-%s", idx, name)))))
	box := func(kind string, n int) []byte {
		b := make([]byte, 8+n)
		binary.BigEndian.PutUint32(b, uint32(len(b)))
		copy(b[4:], kind)
		_, _ = io.ReadFull(noise, b[8:])
		return b
	}
	ftyp := append([]byte{0, 0, 0, 20}, "ftypisom\x00\x00\x02\x00isom"...)
	return append(append(ftyp, box("moov", 600)...), box("mdat", size)...)
}
