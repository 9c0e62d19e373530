package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// Backlog returns a function for [Options.Waiting]: it counts the exports that
// wait in the submit queues, through a pool that stays the caller's to close.
func Backlog(rdb redis.UniversalClient) func(context.Context) (int, error) {
	return queue.New(rdb).Backlog
}

// backlogAge is how old a count may be. A few exports too many do no harm; a
// count for each of them would.
const backlogAge = time.Second

// backlogCache is the last count. While somebody counts, it does for all others.
type backlogCache struct {
	counting sync.Mutex
	last     atomic.Pointer[backlogCount]
}

type backlogCount struct {
	at      time.Time
	waiting int
}

// checkWaiting refuses an export while too many wait. An unknown number refuses
// nothing: the queue itself will say what is wrong.
func (a *API) checkWaiting(ctx context.Context) error {
	if a.o.MaxWaiting == 0 {
		return nil
	}
	if n := a.countWaiting(ctx); n >= a.o.MaxWaiting {
		return &failure{
			status: http.StatusTooManyRequests, retryAfter: 30 * time.Second,
			message: fmt.Sprintf("%d exports wait already, and CLIPFERRY_HTTP_MAX_WAITING is %d; try again later", n, a.o.MaxWaiting),
		}
	}
	return nil
}

// countWaiting returns how many exports wait, or waited a moment ago. Nobody waits
// for another's count: a Redis that hangs would hold all of them up in turn.
func (a *API) countWaiting(ctx context.Context) int {
	last := a.waiting.last.Load()
	if (last == nil || a.now().Sub(last.at) >= backlogAge) && a.waiting.counting.TryLock() {
		defer a.waiting.counting.Unlock()
		n, err := a.o.Waiting(ctx)
		if err != nil {
			a.log.WarnContext(ctx, "the waiting exports could not be counted", logkey.Error, err)
			n = 0
		}
		last = &backlogCount{a.now(), n}
		a.waiting.last.Store(last)
	}
	if last == nil {
		return 0
	}
	return last.waiting
}
