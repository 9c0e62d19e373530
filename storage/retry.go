package storage

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/clipferry/clipferry/internal/fault"
)

const (
	maxBackoffWait = 15 * time.Second
	// maxAskedWait is the longest Retry-After that is sat out with buffers in
	// hand; a longer one is handed up to whoever schedules transfers.
	maxAskedWait = time.Minute
)

// backoff says how long to wait before attempt n (from 1) is repeated.
type backoff struct {
	first time.Duration
	max   time.Duration
}

var defaultBackoff = backoff{first: 250 * time.Millisecond, max: maxBackoffWait}

// wait sleeps before the next attempt. It returns false when there is no use
// in waiting: the context ends before, or the other side asked for too long.
func (b backoff) wait(ctx context.Context, attempt int, err error) bool {
	d := b.first << min(attempt-1, 10)
	d = min(d, b.max)
	d = d/2 + rand.N(d/2+1)
	if asked := fault.RetryAfterOf(err); asked > maxAskedWait {
		return false
	} else if asked > 0 {
		d = asked + rand.N(d)
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
