package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/ledger"
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
	mux := asynq.NewServeMux()
	mux.Use(w.watched)
	mux.HandleFunc(tasks.TypeSubmit, w.submit)
	mux.HandleFunc(tasks.TypePoll, w.poll)
	mux.HandleFunc(tasks.TypeMirror, w.mirror)
	mux.HandleFunc(tasks.TypeSeal, w.seal)
	servers := []server{
		w.server("submit", mux, w.o.SubmitConcurrency, w.o.Look, submitQueues(DefaultAccount)),
		w.server("poll", mux, w.o.ReadConcurrency, w.o.Look/4, map[string]int{tasks.QueuePoll: 1}),
		w.server("mirror", mux, w.o.MirrorConcurrency, w.o.Look, map[string]int{
			tasks.QueueUrgent: 32, tasks.QueueSeal: 16, tasks.QueueMirror: 4, tasks.QueueBulk: 1,
		}),
	}
	for _, name := range w.accountNames() {
		servers = append(servers, w.server("submit "+name, mux, w.o.SubmitConcurrency, w.o.Look, submitQueues(name)))
	}
	if h, ok := w.o.Notifier.(asynq.Handler); ok {
		mux.Handle(tasks.TypeNotify, h)
		servers = append(servers, w.server("notify", mux, notifyConcurrency, w.o.Look, map[string]int{tasks.QueueNotify: 1}))
	}
	return servers
}

// server makes one asynq server. look is how often it looks for new tasks, and
// half as often for tasks that have come due. An export that waits for its slot
// waits in a handler already, so nothing depends on a quick look but reads.
func (w *Worker) server(name string, handler asynq.Handler, concurrency int, look time.Duration, queues map[string]int) server {
	return server{name: name, handler: handler, asynq: asynq.NewServerFromRedisClient(w.brake, asynq.Config{
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
		return backoff(n, 2*time.Second, 2*time.Minute)
	}
}

// failed logs what asynq will retry or archive, and records in the ledger what
// it is about to give up.
func (w *Worker) failed(ctx context.Context, t *asynq.Task, err error) {
	if putOff(err) {
		return
	}
	w.watch.Faulted(ctx, kindOfTask(t.Type()), err)
	id, _ := asynq.GetTaskID(ctx)
	retried, _ := asynq.GetRetryCount(ctx)
	limit, _ := asynq.GetMaxRetry(ctx)
	queue, _ := asynq.GetQueueName(ctx)
	ctx, cancel := w.toTheEnd(ctx)
	defer cancel()
	late := w.late(ctx, t, queue, id, err)
	last := retried >= limit || errors.Is(err, asynq.SkipRetry) || late
	w.log.Error("step failed", logkey.Task, id, logkey.Type, t.Type(), logkey.Retried, retried, logkey.Last, last, logkey.Error, err)
	if !last {
		return
	}
	gone := deadTask{queue: queue, id: id, kind: t.Type(), payload: t.Payload(), headers: t.Headers(), why: err.Error(), late: late}
	if err := w.giveUp(ctx, gone); err != nil {
		w.log.Error("a step that was given up could not be recorded; the sweeper tries again", logkey.Task, id, logkey.Error, err)
	}
}

// late reports whether a submit that no worker has taken up yet has a Deadline that
// is past. Asynq tries it to the end of its retries all the same, without ever
// calling a handler; nobody would know of its export for as long.
func (w *Worker) late(ctx context.Context, t *asynq.Task, queue, id string, err error) bool {
	if t.Type() != tasks.TypeSubmit || !errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	info, err := w.inspect.GetTaskInfo(queue, id)
	if err != nil || info.Deadline.IsZero() || info.Deadline.After(w.now()) {
		return false
	}
	_, err = w.o.Ledger.LoadHead(ctx, exportOf(id, t.Type(), t.Payload()))
	return errors.Is(err, ledger.ErrUnknown)
}

// asynqLog passes asynq's log on.
type asynqLog struct{ log *slog.Logger }

func (l asynqLog) Debug(args ...any) { l.log.Debug(fmt.Sprint(args...)) }
func (l asynqLog) Info(args ...any)  { l.log.Info(fmt.Sprint(args...)) }
func (l asynqLog) Warn(args ...any)  { l.log.Warn(fmt.Sprint(args...)) }
func (l asynqLog) Error(args ...any) { l.log.Error(fmt.Sprint(args...)) }
func (l asynqLog) Fatal(args ...any) { l.log.Error(fmt.Sprint(args...)) }
