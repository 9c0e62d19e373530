// Package worker carries exports along: it submits them, reads them until the
// provider is done, mirrors their clips into S3 and seals the archive. It is
// the one room, beside tasks, that knows Asynq's semantics.
//
// A handler may run twice, late, or at the same time as another run of itself.
// So each one loads the record, leaves if its step is not the current one
// (after making sure that the current one has its task), decides by
// compare-and-swap, acts, and records. Waiting is never an error: the next step
// is a new task, due at a time of ours. Asynq's own retries are left for what
// it alone can see, a Redis that fails.
package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/breaker"
	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/storage"
)

// Provider is the Clips Export API. Its errors are faults that wrap a *provider.Error.
type Provider interface {
	Submit(ctx context.Context, body json.RawMessage) (provider.Task, error)
	Read(ctx context.Context, taskID string) (provider.Task, error)
}

// Gate hands out the provider's budget, see package budget.
type Gate interface {
	Wait(ctx context.Context, r budget.Request) (*budget.Turn, error)
	Hold(ctx context.Context, export string, since time.Time, resolution string, clips int) error
	Release(ctx context.Context, export string) error
	NextRead(ctx context.Context, export string) (time.Time, error)
	Slots(ctx context.Context) ([]string, error)
}

// Archive is where clips, receipts and manifests go, see package storage.
type Archive interface {
	Mirror(ctx context.Context, job storage.Job) (storage.Result, error)
	Folder(projectID, exportTaskID string) string
	PutReceipt(ctx context.Context, r storage.Receipt) error
	Receipt(ctx context.Context, id string) (storage.Receipt, bool, error)
	CloseReceipt(ctx context.Context, id, task string, outcome storage.ReceiptState, manifest string) error
	ReopenReceipt(ctx context.Context, id, task string) error
	PutDoubt(ctx context.Context, r storage.Receipt, settled string) error
	ClearDoubt(ctx context.Context, id, intent string) error
	PutManifest(ctx context.Context, m storage.Manifest) (string, error)
	ManifestKey(projectID, exportTaskID string) string
	ReadManifest(ctx context.Context, key string) (storage.Manifest, bool, error)
	AbortOrphans(ctx context.Context, olderThan time.Duration) (int, error)
	// Check asks whether the bucket answers.
	Check(ctx context.Context) error
}

// Notifier is told when an export has reached a final state. It is called at
// least once, possibly more often, and keeps its own retries.
// One that is an asynq.Handler as well is given [queue.TypeNotify].
type Notifier interface {
	Ended(ctx context.Context, r *export.Record) error
	// ForReceipt returns what the export's receipt holds of whom to tell, and
	// FromReceipt whom to tell from that, as the record holds it; nil for nobody.
	ForReceipt(id string, notify json.RawMessage) json.RawMessage
	FromReceipt(id string, receipt json.RawMessage) (json.RawMessage, error)
}

// Options configures a Worker.
type Options struct {
	Redis   redis.UniversalClient
	Ledger  *ledger.Ledger
	Archive Archive
	// Accounts are the keys by name. [DefaultAccount] is needed; it may stand for
	// one that is there under its own name as well.
	Accounts map[string]Account
	Notifier Notifier // may be nil
	Observer Observer // may be nil
	Logger   *slog.Logger

	// InDoubt says what to do with a paid request whose answer was lost.
	InDoubt export.Policy
	// MirrorConcurrency is how many clips are transferred at once; 8 when zero.
	MirrorConcurrency int
	// SubmitConcurrency is how many exports of an account wait for their turn in
	// this worker; the others stay visible in their queue. 2 when zero.
	SubmitConcurrency int
	// ReadConcurrency is how many running exports wait for a read in this
	// worker; it should be at least the number of slots. 32 when zero.
	ReadConcurrency int
	// Look is how often a server at rest looks for new tasks; reads are looked
	// for four times as often. Each look costs Redis a few commands for each
	// queue, busy or not: with 1 s, which is meant by zero, a worker at rest stays
	// under a hundred a second.
	Look time.Duration
	// ShutdownTimeout is how long a stopping worker waits for its handlers; it
	// should be under the platform's grace period. 28 s when zero.
	ShutdownTimeout time.Duration
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// The time that a paid request may take. A lease covers it with a margin, so
// that no second run can believe the first one dead while it still waits.
const (
	postTimeout = 25 * time.Second
	leaseTime   = time.Minute
)

// Worker runs the handlers. Make one with [New].
type Worker struct {
	o      Options
	log    *slog.Logger
	watch  Observer
	now    func() time.Time
	queue  *queue.Queue
	bucket *breaker.Breaker

	stopping chan struct{}   // closed when no new work is begun
	drained  chan struct{}   // closed when the servers are down
	life     context.Context // ends when the process is about to
	endLife  context.CancelFunc
}

// New returns a Worker.
func New(o Options) (*Worker, error) {
	if o.Redis == nil || o.Ledger == nil || o.Archive == nil || o.Logger == nil {
		return nil, errors.New("worker: Redis, Ledger, Archive and Logger are needed")
	}
	if _, ok := o.Accounts[DefaultAccount]; !ok {
		return nil, fmt.Errorf("worker: account %q is needed", DefaultAccount)
	}
	o.setDefaults()
	life, end := context.WithCancel(context.Background())
	stopping := make(chan struct{})
	return &Worker{
		o: o, log: o.Logger, watch: o.Observer, now: o.Now, queue: queue.New(o.Redis),
		bucket:   breaker.New(o.Redis, breaker.Bucket),
		stopping: stopping, drained: make(chan struct{}), life: life, endLife: end,
	}, nil
}

func (o *Options) setDefaults() {
	setDefault(&o.InDoubt, export.Resubmit)
	setDefault(&o.MirrorConcurrency, 8)
	setDefault(&o.SubmitConcurrency, 2)
	setDefault(&o.Look, time.Second)
	setDefault(&o.ReadConcurrency, 32)
	setDefault(&o.ShutdownTimeout, 28*time.Second)
	if o.Observer == nil {
		o.Observer = blind{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Run works until ctx ends, then drains: no new work, paid requests waited
// for, transfers checkpointed. It returns nil after a clean stop, at the latest
// a moment after ShutdownTimeout: Asynq says goodbye to Redis in many words, each
// of which waits long for a Redis that is away, and none of which matters then.
func (w *Worker) Run(ctx context.Context) error {
	defer w.endLife()
	servers := w.servers()
	for i, s := range servers {
		if err := s.start(); err != nil {
			shutdown(servers[:i])
			return fmt.Errorf("start the %s server: %w", s.name, err)
		}
	}
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		w.sweepLoop(ctx)
	}()
	w.log.Info("worker started")
	<-ctx.Done()
	w.log.Info("worker stops: no new work, waiting for what is under way")
	close(w.stopping)
	go func() {
		defer close(w.drained)
		shutdown(servers)
		<-swept
	}()
	select {
	case <-w.drained:
		w.log.Info("worker stopped")
	case <-time.After(w.o.ShutdownTimeout + goodbye):
		w.log.Warn("worker stops though Redis has not taken its goodbye; what it had goes on elsewhere in a minute")
	}
	return nil
}

// Drained is closed when nothing of a worker that ran uses Redis any more. Until
// then its client must not be closed, not even after Run: Asynq reads from a
// subscription that would then end, and panics (v0.26.0).
func (w *Worker) Drained() <-chan struct{} { return w.drained }

// goodbye is how long Asynq may take to tell a Redis that is well of the end.
const goodbye = time.Second

func shutdown(servers []server) {
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(s.asynq.Shutdown)
	}
	wg.Wait()
}

// Draining reports whether the worker is stopping.
func (w *Worker) Draining() bool {
	select {
	case <-w.stopping:
		return true
	default:
		return false
	}
}

// untilStop returns a context that ends when ctx does or the worker stops: for
// waiting, and for work that can go on elsewhere.
func (w *Worker) untilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := make(chan struct{})
	go func() {
		select {
		case <-w.stopping:
			cancel(errStopping)
		case <-stop:
		}
	}()
	return ctx, sync.OnceFunc(func() { close(stop); cancel(context.Canceled) })
}

// toTheEnd returns a context that neither a stop nor a lost asynq lease ends,
// only the process's own end: for a paid request and for recording its answer.
func (w *Worker) toTheEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(w.life, cancel)
	return ctx, func() { unhook(); cancel() }
}
