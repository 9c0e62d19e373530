// Package worker carries exports along: it submits them, reads them until the
// provider is done, mirrors their clips into S3 and seals the archive. Each step
// is one file, to be read from top to bottom.
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
	"maps"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/recovery"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/internal/verification"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

// Provider is the Clips Export API. Its errors are faults that wrap a *provider.Error.
type Provider interface {
	Submit(ctx context.Context, body json.RawMessage) (provider.Task, error)
	Read(ctx context.Context, kind, taskID string) (provider.Task, error)
}

// Gate hands out the provider's budget, see package budget.
type Gate interface {
	Wait(ctx context.Context, r budget.Request) (*budget.Turn, error)
	Hold(ctx context.Context, export string, since time.Time, resolution string, clips int) error
	Release(ctx context.Context, export string) error
	NextRead(ctx context.Context, export string) (time.Time, error)
	Slots(ctx context.Context) ([]string, error)
	Health(ctx context.Context) (budget.Health, error)
	RecallOdd(ctx context.Context, export string, sent time.Time) error
}

// Archive is where clips, receipts and manifests go, see package storage.
type Archive interface {
	Mirror(ctx context.Context, job storage.Job) (storage.Result, error)
	Folder(projectID, exportTaskID string) string
	recovery.Receipts
	recovery.BatchKeeper
	ForgetBatch(ctx context.Context, name string) error
	SyncReceipt(ctx context.Context, r storage.Receipt) error
	PutManifest(ctx context.Context, m storage.Manifest) (string, error)
	AbortOrphans(ctx context.Context, olderThan time.Duration) (int, error)
	// Health is how S3 has answered this process of late; Check asks it.
	Health() storage.Health
	Check(ctx context.Context) error
	// MayOrder returns nil if the export's clips would be archived.
	MayOrder(export string) error
}

// Catalog is the list of all archived clips, see package catalog.
type Catalog interface {
	// Add adds the export whose manifest is under key, once or again.
	Add(ctx context.Context, key string) error
	Merge(ctx context.Context) (int, error)
	// Health is how S3 has answered for the catalog of late.
	Health() storage.Health
}

// Verifier verifies the archive part by part, see package verification.
type Verifier interface {
	// Next verifies the part that is due, if one is.
	Next(ctx context.Context) error
	State(ctx context.Context) (verification.State, error)
	Every() time.Duration
}

// Notifier notifies when an export has reached a final state. It is called at
// least once, possibly more often, and keeps its own retries.
// One that is a [Deliverer] as well is given the tasks of [queue.TypeNotify].
type Notifier interface {
	Ended(ctx context.Context, r *export.Record) error
	// ForReceipt returns what the export's receipt holds of whom to notify, and
	// FromReceipt whom to notify from that, as the record holds it; nil for nobody.
	ForReceipt(id string, notify json.RawMessage) json.RawMessage
	FromReceipt(id string, receipt json.RawMessage) (json.RawMessage, error)
}

// Deliverer carries out what a Notifier has put into the queue.
type Deliverer interface {
	// Signs reports whether it can: a receiver believes no call without a signature.
	Signs() bool
	Deliver(ctx context.Context, payload []byte, headers map[string]string) error
}

// Options configures a Worker.
type Options struct {
	Redis   redis.UniversalClient
	Ledger  *ledger.Ledger
	Archive Archive
	// Accounts are the keys by name.
	Accounts map[string]Account
	// Default names the account of exports that name none; [DefaultAccount] when empty.
	Default string
	// Tenants are the shares of those that have queues of their own. All others together
	// are [tasks.DefaultTenant], with a share of 1 if it has none here.
	Tenants  map[string]int
	Catalog  Catalog  // may be nil
	Verifier Verifier // may be nil
	Notifier Notifier // may be nil
	Passed   Passed   // may be nil: what was passed through is for other processes
	Observer Observer // may be nil
	Logger   *slog.Logger

	// InDoubt says what to do with a paid request whose answer was lost.
	InDoubt export.Policy
	// MirrorConcurrency is how many clips are transferred at once; 8 when zero.
	MirrorConcurrency int
	// SubmitConcurrency is how many exports of an account and tenant wait for their turn
	// in this worker; the others stay visible in their queue. 2 when zero.
	SubmitConcurrency int
	// ReadConcurrency is how many running exports wait for a read in this
	// worker; it should be at least the number of slots. 32 when zero.
	ReadConcurrency int
	// PollInterval is how often a server at rest looks for new tasks; reads are looked
	// for four times as often. Each time costs Redis a few commands for each
	// queue, busy or not: with 1 s, which is meant by zero, a worker at rest stays
	// under a hundred a second.
	PollInterval time.Duration
	// ShutdownTimeout is how long a stopping worker waits for its handlers; it
	// should be under the platform's grace period. 28 s when zero.
	ShutdownTimeout time.Duration
	// ImportQuiet is for how long nothing new may come of a task that was made
	// elsewhere before it counts as complete; 15 minutes when zero.
	ImportQuiet time.Duration
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Worker runs the handlers. Make one with [New].
type Worker struct {
	o     Options
	log   *slog.Logger
	watch Observer
	now   func() time.Time
	queue *queue.Queue
	// lastRead is the last task that was read well, by account.
	lastRead sync.Map
	unknown  unknownTasks
	waiting  *waiting

	firstReads *budget.Places // of the imports that wait here for their first read

	stopping chan struct{}   // closed when no new work is begun
	drained  chan struct{}   // closed when the servers are down
	lifetime context.Context // ends when the process is about to
	endLife  context.CancelFunc
}

// New returns a Worker.
func New(o Options) (*Worker, error) {
	if o.Redis == nil || o.Ledger == nil || o.Archive == nil || o.Logger == nil {
		return nil, errors.New("worker: Redis, Ledger, Archive and Logger are needed")
	}
	o.setDefaults()
	if _, ok := o.Accounts[o.Default]; !ok {
		return nil, fmt.Errorf("worker: account %q is needed", o.Default)
	}
	lifetime, end := context.WithCancel(context.Background())
	stopping := make(chan struct{})
	return &Worker{
		o: o, log: o.Logger, watch: o.Observer, now: o.Now, queue: queue.New(o.Redis), waiting: newWaiting(o.SubmitConcurrency),
		firstReads: budget.NewPlaces(o.ReadConcurrency / 2), // other reads have the greater part of this worker's
		stopping:   stopping, drained: make(chan struct{}), lifetime: lifetime, endLife: end,
	}, nil
}

func (o *Options) setDefaults() {
	setDefault(&o.InDoubt, export.Resubmit)
	setDefault(&o.MirrorConcurrency, 8)
	setDefault(&o.SubmitConcurrency, 2)
	setDefault(&o.PollInterval, time.Second)
	setDefault(&o.Default, DefaultAccount)
	setDefault(&o.ReadConcurrency, 32)
	setDefault(&o.ShutdownTimeout, 28*time.Second)
	setDefault(&o.ImportQuiet, 15*time.Minute)
	if o.Observer == nil {
		o.Observer = noopObserver{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Accounts = maps.Clone(o.Accounts)
	for name, a := range o.Accounts {
		a.Name = name
		o.Accounts[name] = a
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Units counts what an account is charged a day, see package units.
type Units interface {
	Add(ctx context.Context, task string, accepted time.Time, units float64) error
	// Wait returns when the day ends if its cap is reached, else the zero time.
	Wait(ctx context.Context, now time.Time) (time.Time, error)
	// Learn remembers what a task was charged for so many seconds of video.
	Learn(ctx context.Context, task, resolution string, now time.Time, seconds, units float64) error
}

// DefaultAccount is the account of exports that name none, unless [Options.Default]
// says otherwise.
const DefaultAccount = tasks.DefaultAccount

// Account is one key at the provider with its budget. Its exports wait in
// queues of their own (see [tasks.AccountQueue]), which a server of their own
// serves: so the exports of an account whose slots are all taken wait without
// standing in the way of another's, each account is first come, first served,
// and nothing is taken out of a queue only to be put back.
type Account struct {
	Name     string // its key in [Options.Accounts]
	Provider Provider
	Gate     Gate
	Units    Units // may be nil: nothing is counted
}

// account returns the account of the export.
func (w *Worker) account(r *export.Record) (Account, error) {
	a, ok := w.o.Accounts[w.accountName(r)]
	if !ok {
		return Account{}, fmt.Errorf("export %s is to be ordered with the account %q, which this worker does not have; "+
			"see CLIPFERRY_API_KEYS", r.ID, r.Account)
	}
	return a, nil
}

func (w *Worker) accountName(r *export.Record) string {
	if r.Account == "" || r.Account == DefaultAccount {
		return w.o.Default
	}
	return r.Account
}

// pin names the account in a record that is about to be paid for with it, where
// the default account has a name of its own.
func (a Account) pin(r *export.Record) {
	if a.Name != DefaultAccount {
		r.Account = a.Name
	}
}

// heldUntil returns when the account may spend again, the zero time for now.
func (a Account) heldUntil(ctx context.Context, now time.Time) (time.Time, error) {
	if a.Units == nil {
		return time.Time{}, nil
	}
	return a.Units.Wait(ctx, now)
}

// charge counts what the provider charged. A count that fails now is made by
// the next read or the sweeper.
func (w *Worker) charge(ctx context.Context, r *export.Record) {
	if r.CostUsage <= 0 || r.ExportTaskID == "" || r.Imported() && !r.Passed { // who made it, and when, is not known
		return
	}
	account, err := w.account(r)
	if err == nil && account.Units != nil {
		err = account.Units.Add(ctx, r.ExportTaskID, r.SubmittedAt, r.CostUsage)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		w.log.Warn("what an export cost could not be counted; trying again within a minute", logkey.Export, r.ID, logkey.Error, err)
	}
}
