package budget

import (
	"context"
	"maps"
	"sync"
	"time"
)

// memory is a store in this process: for programs that are a fleet of one, and
// for tests in virtual time, where a socket would keep the clock from moving.
type memory struct {
	mu       sync.Mutex
	version  int64
	fields   map[string]string
	watchers map[chan change]struct{}
	trips    int
	delay    time.Duration // of each round trip
	failing  error
}

func newMemory() *memory {
	return &memory{fields: map[string]string{}, watchers: map[chan change]struct{}{}}
}

func (m *memory) trip(ctx context.Context) error {
	m.mu.Lock()
	m.trips++
	delay, err := m.delay, m.failing
	m.mu.Unlock()
	if delay > 0 {
		time.Sleep(delay)
	}
	if err != nil {
		return err
	}
	return ctx.Err()
}

func (m *memory) Load(ctx context.Context) (snapshot, error) {
	if err := m.trip(ctx); err != nil {
		return snapshot{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now(), nil
}

func (m *memory) now() snapshot {
	return snapshot{Version: m.version, Fields: maps.Clone(m.fields), Time: time.Now().UnixMicro()}
}

func (m *memory) Swap(ctx context.Context, c change) (reply, error) {
	if err := m.trip(ctx); err != nil {
		return reply{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now().UnixMicro()
	want := c.From
	if c.Restore {
		want = c.Expect
	}
	if m.version != want || c.After > 0 && now < c.After || c.Before > 0 && now > c.Before {
		return reply{Time: now, Now: m.now()}, nil
	}
	if c.Reset {
		clear(m.fields)
	}
	maps.Copy(m.fields, c.Set)
	for _, f := range c.Del {
		delete(m.fields, f)
	}
	m.version = c.From + 1
	for w := range m.watchers {
		select {
		case w <- c:
		default: // a slow reader misses it, as with Redis
		}
	}
	return reply{Done: true, Time: now}, nil
}

func (m *memory) Watch(ctx context.Context) (<-chan change, error) {
	w := make(chan change, 64)
	m.mu.Lock()
	m.watchers[w] = struct{}{}
	m.mu.Unlock()
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		delete(m.watchers, w)
		m.mu.Unlock()
		close(w)
	})
	return w, nil
}

// lose forgets everything, as FLUSHALL does.
func (m *memory) lose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.version, m.fields = 0, map[string]string{}
}

// fail makes every round trip fail with err, until it is called with nil.
func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failing = err
}

// count is how many round trips there were.
func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.trips
}

// mute loses what would be told to those who watch now.
func (m *memory) mute() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.watchers)
}
