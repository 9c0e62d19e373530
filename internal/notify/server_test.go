package notify

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/redistest"
)

// TestOnARealServer: an asynq server runs what Ended enqueued, the first call
// fails, the second, scheduled one arrives.
func TestOnARealServer(t *testing.T) {
	pauses[0] = time.Millisecond
	t.Cleanup(func() { pauses[0] = 5 * time.Second })
	rdb := redistest.Start(t).Client()
	f := newFixture(t, func(o *Options) {
		o.Redis, o.Ledger = rdb, ledger.New(ledger.Options{Redis: rdb})
		o.Observe = nil
		o.Now = nil
	})
	f.ledger = ledger.New(ledger.Options{Redis: rdb})
	arrived := make(chan struct{})
	to := newReceiver(t)
	to.answers = []http.HandlerFunc{status(500), func(http.ResponseWriter, *http.Request) { close(arrived) }}
	srv := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Queues: map[string]int{queue.Notify: 1}, LogLevel: asynq.FatalLevel,
		TaskCheckInterval: 50 * time.Millisecond, DelayedTaskCheckInterval: 100 * time.Millisecond,
	})
	if err := srv.Start(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error { return f.Deliver(ctx, t.Payload(), t.Headers()) })); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	if err := f.Ended(t.Context(), f.archived("order-17", `{"webhook":"`+to.URL+`/hook"}`)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	select {
	case <-arrived:
	case <-ctx.Done():
		t.Fatal("no second call came")
	}
	calls := to.calls()
	if len(calls) != 2 || calls[0].body != calls[1].body || calls[0].header.Get("webhook-id") != calls[1].header.Get("webhook-id") {
		t.Errorf("%d calls, not the same", len(calls))
	}
}
