package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

// Run works until ctx ends, then drains: no new work, paid requests waited
// for, transfers checkpointed. It returns nil after a clean stop, at the latest
// a moment after ShutdownTimeout: Asynq signs off from Redis in many commands, each
// of which waits long for a Redis that is away, and none of which matters then.
func (w *Worker) Run(ctx context.Context) error {
	defer w.endLife()
	if err := w.publishServed(ctx); err != nil { // producers' exports come by the plain queues until then
		w.log.Warn("the tenants could not be published; trying again within a minute", logkey.Error, err)
	}
	servers := w.servers(ctx)
	for i, s := range servers {
		if err := s.start(); err != nil {
			shutdown(servers[:i])
			return fmt.Errorf("start the %s server: %w", s.name, err)
		}
	}
	var background sync.WaitGroup
	background.Go(func() { w.sweepLoop(ctx) })
	background.Go(func() { w.probeLoop(ctx) })
	background.Go(func() { w.verifyLoop(ctx) })
	background.Go(func() { w.probeAccounts(ctx) })
	background.Go(func() { w.takeOverLoop(ctx) })
	w.log.Info("worker started")
	<-ctx.Done()
	w.log.Info("worker stops: no new work, waiting for what is under way")
	close(w.stopping)
	go func() {
		defer close(w.drained)
		shutdown(servers)
		background.Wait()
	}()
	select {
	case <-w.drained:
		w.log.Info("worker stopped")
	case <-time.After(w.o.ShutdownTimeout + shutdownSlack):
		w.log.Warn("worker stops though Redis does not answer; what it had goes on elsewhere")
	}
	return nil
}

// Drained is closed when nothing of a worker that ran uses Redis any more. Until
// then its client must not be closed, not even after Run: Asynq reads from a
// subscription that would then end, and panics (v0.26.0).
func (w *Worker) Drained() <-chan struct{} { return w.drained }

// shutdownSlack is how long Asynq may take to sign off from a Redis that is well.
const shutdownSlack = time.Second

func shutdown(servers []server) {
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(s.asynq.Shutdown)
	}
	wg.Wait()
}

// Draining reports whether the worker is stopping.
func (w *Worker) Draining() bool {
	return isClosed(w.stopping)
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

// detached returns a context that neither a stop nor a lost asynq lease ends,
// only the process's own end: for a paid request and for recording its answer.
func (w *Worker) detached(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(w.lifetime, cancel)
	return ctx, func() { unhook(); cancel() }
}

var (
	// errStopping ends what can go on in another worker.
	errStopping = errors.New("the worker is stopping; another one goes on")
	// errBusy means that another run works on the same step just now.
	errBusy = errors.New("another run of this step is under way")
	// errCrowded means that as many imports wait for their first read as may.
	errCrowded = errors.New("other imports wait for their first read")
	// errElsewhere leaves a step to a worker that reaches S3.
	errElsewhere = errors.New("S3 does not answer this worker; another one goes on")
)

// server is one asynq server: asynq limits concurrency by server, not by queue.
type server struct {
	name    string
	asynq   *asynq.Server
	handler asynq.Handler
}

func (s server) start() error { return s.asynq.Start(s.handler) }

// servers returns the worker's asynq servers: submits wait for their turn
// without standing in the way of reads, reads without that of transfers.
func (w *Worker) servers(ctx context.Context) []server {
	rdb := queue.Throttled(w.o.Redis, w.stopping, w.restsFor, w.waiting.take)
	mux := asynq.NewServeMux()
	mux.Use(w.instrumented)
	mux.HandleFunc(tasks.TypeSubmit, w.submit)
	mux.HandleFunc(queue.TypePoll, w.poll)
	mux.HandleFunc(queue.TypeMirror, w.mirror)
	mux.HandleFunc(queue.TypeSeal, w.seal)
	var servers []server
	if d, ok := w.o.Notifier.(Deliverer); ok && d.Signs() { // first: producers see by its queue whether webhooks are called
		mux.HandleFunc(queue.TypeNotify, func(ctx context.Context, t *asynq.Task) error {
			return d.Deliver(ctx, t.Payload(), t.Headers())
		})
		servers = append(servers, w.server(rdb, "notify", mux, queue.NotifyConcurrency, w.o.PollInterval, map[string]int{queue.Notify: 1}))
	}
	servers = append(servers,
		w.server(rdb, "poll", mux, w.o.ReadConcurrency, w.o.PollInterval/4, map[string]int{queue.Poll: 1}),
		w.server(rdb, "mirror", mux, w.o.MirrorConcurrency, w.o.PollInterval, map[string]int{
			queue.Urgent: 32, queue.Seal: 16, queue.Mirror: 4, queue.Bulk: 1,
		}))
	if w.o.Passed != nil {
		servers = append(servers, passedServer(rdb, w.o.Passed, w.stopping, w.o.PollInterval, w.log))
	}
	for _, name := range slices.Sorted(maps.Keys(w.o.Accounts)) {
		queues := w.orderQueues(ctx, name)
		servers = append(servers, w.server(rdb, "submit "+name, mux, w.o.SubmitConcurrency*lines(queues), w.o.PollInterval, queues))
	}
	return servers
}

// orderWeights are how often each kind of queue is looked into when all have something.
var orderWeights = map[string]int{queue.Front: 64, tasks.QueueSubmitHigh: 16, tasks.QueueSubmit: 4, tasks.QueueSubmitLow: 1}

// orderQueues are the queues that an account's exports are ordered from; those that
// name no account are the default one's, whatever its name.
func (w *Worker) orderQueues(ctx context.Context, account string) map[string]int {
	weights := map[string]int{}
	for _, name := range append(queue.Orders(w.namesOf(account)...), w.tenantQueues(ctx, account)...) {
		kind, _, _ := queue.Kind(name)
		weights[name] = orderWeights[kind]
	}
	return weights
}

// lines counts whose exports wait in the queues.
func lines(queues map[string]int) int {
	found := map[string]bool{}
	for name := range queues {
		found[lineOf(name)] = true
	}
	return len(found)
}

// restsFor reports whether this worker takes nothing out of the queue for now: as many
// exports wait here as may, or S3 fails it, and what needs S3 is for workers that reach
// it.
func (w *Worker) restsFor(name string) bool {
	if queue.IsOrders(name) && w.waiting.full(name) {
		return true
	}
	h := w.o.Archive.Health()
	switch name {
	case queue.Poll, queue.Notify, queue.Passed:
		return false
	case queue.Mirror, queue.Urgent, queue.Bulk: // S3 may refuse just these, and is probed by one then
		return h.Open && !h.WantsClip
	default:
		return h.Open && (!h.WantsOrder || !queue.IsOrders(name))
	}
}

// handsBack reports whether a failure leaves the step to a worker that reaches S3.
func (w *Worker) handsBack(err error) bool {
	return errors.Is(err, storage.ErrUnavailable) && w.o.Archive.Health().Open
}

// outageEvery is how often a worker repeats that S3 fails it.
const outageEvery = 5 * time.Second

// probeLoop has an S3 that fails this worker asked again, which nobody else does
// while the worker takes nothing that needs S3, and reports it to the fleet.
func (w *Worker) probeLoop(ctx context.Context) {
	host, _ := os.Hostname() // as asynq names its servers
	name := queue.WorkerName(host, os.Getpid())
	var said, saidOfCatalog time.Time
	for retry.Wait(ctx, time.Second) == nil {
		if w.o.Archive.Health().Open {
			_ = w.o.Archive.Check(ctx) // what came of it is in Health
		}
		w.reportOutage(ctx, w.o.Archive.Health(), ledger.Outage{Worker: name}, &said)
		if w.o.Catalog != nil {
			w.reportOutage(ctx, w.o.Catalog.Health(), ledger.Outage{Worker: name, Catalog: true}, &saidOfCatalog)
		}
	}
}

// reportOutage has the fleet know of an outage, and of its end; said is when it was
// reported last.
func (w *Worker) reportOutage(ctx context.Context, h storage.Health, o ledger.Outage, said *time.Time) {
	var err error
	switch {
	case h.Open && time.Since(*said) > outageEvery:
		*said = time.Now()
		o.Since, o.Next, o.Sentence, o.SaidAt = h.Since, h.Next, h.Sentence, w.now()
		err = w.o.Ledger.ReportOutage(ctx, o)
	case !h.Open && !said.IsZero():
		*said = time.Time{}
		err = w.o.Ledger.EndOutage(ctx, o)
	}
	if err != nil && ctx.Err() == nil {
		w.log.Warn("how S3 answers this worker could not be reported to the fleet", logkey.Error, err)
	}
}

// server makes one asynq server. interval is how often it looks for new tasks, and
// half as often for tasks that have come due, or a quarter as often where tenants make the
// queues many. An export that waits for its slot waits in a handler already, so nothing
// depends on a short one but reads.
func (w *Worker) server(rdb redis.UniversalClient, name string, handler asynq.Handler, concurrency int, interval time.Duration, queues map[string]int) server {
	due := 2 * interval
	if lines(queues) > 1 {
		due = 4 * interval
	}
	return server{name: name, handler: handler, asynq: asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency:              concurrency,
		Queues:                   queues,
		TaskCheckInterval:        interval,
		DelayedTaskCheckInterval: due,
		ShutdownTimeout:          w.o.ShutdownTimeout,
		// What is only put off burns no retry.
		IsFailure:      func(err error) bool { return !putOff(err) },
		RetryDelayFunc: retryDelay,
		ErrorHandler:   asynq.ErrorHandlerFunc(w.failed),
		Logger:         asynqLog{w.log.With(logkey.Server, name)},
		LogLevel:       asynq.WarnLevel,
	})}
}

func putOff(err error) bool {
	return errors.Is(err, errStopping) || errors.Is(err, errBusy) || errors.Is(err, errCrowded) || errors.Is(err, errElsewhere) || errors.Is(err, queue.ErrLater)
}

// elsewhere is how long a step stays in its queue that another worker is to do.
const elsewhere = 3 * time.Second

// retryDelay is for failures that only asynq can carry, such as a Redis that
// fails in the middle of a step.
func retryDelay(n int, err error, _ *asynq.Task) time.Duration {
	switch {
	case errors.Is(err, errStopping):
		return 0
	case errors.Is(err, errBusy):
		return 5 * time.Second
	case errors.Is(err, errCrowded):
		return 15 * time.Second
	case errors.Is(err, errElsewhere), errors.Is(err, queue.ErrLater):
		return elsewhere
	default:
		return retry.Backoff(n, 2*time.Second, 2*time.Minute)
	}
}

// failed logs what asynq will retry or archive, and records in the ledger what
// it is about to give up.
func (w *Worker) failed(ctx context.Context, t *asynq.Task, err error) {
	if putOff(err) {
		return
	}
	w.watch.Faulted(ctx, kindOfTask(t.Type()), err)
	d := queue.DeadLetter{Type: t.Type(), Payload: t.Payload(), Headers: t.Headers(), Why: err.Error()}
	d.ID, _ = asynq.GetTaskID(ctx)
	d.Queue, _ = asynq.GetQueueName(ctx)
	retried, _ := asynq.GetRetryCount(ctx)
	limit, _ := asynq.GetMaxRetry(ctx)
	ctx, cancel := w.detached(ctx)
	defer cancel()
	late := w.late(ctx, d, err)
	last := retried >= limit || errors.Is(err, asynq.SkipRetry) || late
	w.log.Error("step failed", logkey.Task, d.ID, logkey.Type, t.Type(), logkey.Retried, retried, logkey.Last, last, logkey.Error, err)
	if !last {
		return
	}
	if err := w.giveUp(ctx, d, late); err != nil {
		w.log.Error("a step that was given up could not be recorded; the sweeper tries again", logkey.Task, d.ID, logkey.Error, err)
	}
}

// late reports whether a submit that no worker has taken up yet has a Deadline that
// is past. Asynq tries it to the end of its retries all the same, without ever
// calling a handler; nobody would know of its export for as long.
func (w *Worker) late(ctx context.Context, d queue.DeadLetter, err error) bool {
	if d.Type != tasks.TypeSubmit || !errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	deadline := w.queue.Deadline(d.Queue, d.ID)
	if deadline.IsZero() || deadline.After(w.now()) {
		return false
	}
	_, err = w.o.Ledger.LoadHead(ctx, d.Export())
	return errors.Is(err, ledger.ErrUnknown)
}

// asynqLog passes asynq's log on.
type asynqLog struct{ log *slog.Logger }

func (l asynqLog) Debug(args ...any) { l.log.Debug(fmt.Sprint(args...)) }
func (l asynqLog) Info(args ...any)  { l.log.Info(fmt.Sprint(args...)) }
func (l asynqLog) Warn(args ...any)  { l.log.Warn(fmt.Sprint(args...)) }
func (l asynqLog) Error(args ...any) { l.log.Error(fmt.Sprint(args...)) }
func (l asynqLog) Fatal(args ...any) { l.log.Error(fmt.Sprint(args...)) }
