package telemetry

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errSlow is returned while a source takes longer than a scrape may wait.
var errSlow = errors.New("the source does not answer in time")

// cached is a value that is read from elsewhere at most once in a while,
// however many ask for it, and never by two at once: scrapes must not become a
// load on what they measure, least of all when that is slow already.
type cached[T any] struct {
	load    func(context.Context) (T, error)
	fresh   time.Duration // for how long a value, or a failure, is good
	timeout time.Duration // how long one who asks waits
	now     func() time.Time

	mu     sync.Mutex
	value  T
	err    error
	at     time.Time
	flight chan struct{} // closed when the load under way has ended; nil without one
}

// get returns the value, from memory while it is fresh.
func (c *cached[T]) get() (T, error) {
	c.mu.Lock()
	if !c.at.IsZero() && c.now().Sub(c.at) < c.fresh {
		defer c.mu.Unlock()
		return c.value, c.err
	}
	if c.flight == nil {
		c.flight = make(chan struct{})
		go c.fly(c.flight)
	}
	flight := c.flight
	c.mu.Unlock()

	timer := time.NewTimer(c.timeout)
	defer timer.Stop()
	select {
	case <-flight:
	case <-timer.C:
		var none T
		return none, errSlow
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value, c.err
}

// fly loads once. A source that ignores the context delays the next load, not
// those who ask.
func (c *cached[T]) fly(landed chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	value, err := c.load(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.value, c.err, c.at, c.flight = value, err, c.now(), nil
	close(landed)
}
