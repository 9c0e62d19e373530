package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/tasks"
)

var (
	// errStopping ends what can go on in another worker.
	errStopping = errors.New("the worker is stopping; another one goes on")
	// errBusy means that another run works on the same step just now.
	errBusy = errors.New("another run of this step is under way")
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

// notifyConcurrency is how many webhooks one worker calls at once. A receiver
// that hangs costs one of them 15 s, and never a step of an export.
const notifyConcurrency = 8

// servers returns the worker's asynq servers: submits wait for their turn
// without standing in the way of reads, reads without that of transfers.
func (w *Worker) servers() []server {
	rdb := queue.Throttled(w.o.Redis, w.stopping)
	mux := asynq.NewServeMux()
	mux.Use(w.watched)
	mux.HandleFunc(tasks.TypeSubmit, w.submit)
	mux.HandleFunc(queue.TypePoll, w.poll)
	mux.HandleFunc(queue.TypeMirror, w.mirror)
	mux.HandleFunc(queue.TypeSeal, w.seal)
	servers := []server{
		w.server(rdb, "submit", mux, w.o.SubmitConcurrency, w.o.Look, submitQueues(DefaultAccount)),
		w.server(rdb, "poll", mux, w.o.ReadConcurrency, w.o.Look/4, map[string]int{queue.Poll: 1}),
		w.server(rdb, "mirror", mux, w.o.MirrorConcurrency, w.o.Look, map[string]int{
			queue.Urgent: 32, queue.Seal: 16, queue.Mirror: 4, queue.Bulk: 1,
		}),
	}
	for _, name := range w.accountNames() {
		servers = append(servers, w.server(rdb, "submit "+name, mux, w.o.SubmitConcurrency, w.o.Look, submitQueues(name)))
	}
	if h, ok := w.o.Notifier.(asynq.Handler); ok {
		mux.Handle(queue.TypeNotify, h)
		servers = append(servers, w.server(rdb, "notify", mux, notifyConcurrency, w.o.Look, map[string]int{queue.Notify: 1}))
	}
	return servers
}

// server makes one asynq server. look is how often it looks for new tasks, and
// half as often for tasks that have come due. An export that waits for its slot
// waits in a handler already, so nothing depends on a quick look but reads.
func (w *Worker) server(rdb redis.UniversalClient, name string, handler asynq.Handler, concurrency int, look time.Duration, queues map[string]int) server {
	return server{name: name, handler: handler, asynq: asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency:              concurrency,
		Queues:                   queues,
		TaskCheckInterval:        look,
		DelayedTaskCheckInterval: 2 * look,
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
	return errors.Is(err, errStopping) || errors.Is(err, errBusy) || errors.Is(err, errElsewhere)
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
		return 20 * time.Second
	case errors.Is(err, errElsewhere):
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
	ctx, cancel := w.toTheEnd(ctx)
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
