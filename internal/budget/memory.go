package budget

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// memory is a store in this process: for programs that are a fleet of one, and
// for tests in virtual time, where a socket would keep the clock from moving.
type memory struct {
	mu       sync.Mutex
	version  int64
	recent   [][]string // what the last changes wrote, latest last
	fields   map[string]string
	last     map[string]int64 // number of each worker's last change
	watchers map[chan change]struct{}
}

func newMemory() *memory {
	return &memory{fields: map[string]string{}, last: map[string]int64{}, watchers: map[chan change]struct{}{}}
}

func (m *memory) Load(ctx context.Context, worker string) (snapshot, error) {
	if err := ctx.Err(); err != nil {
		return snapshot{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.now(worker), nil
}

func (m *memory) now(worker string) *snapshot {
	return &snapshot{
		Version: m.version, Fields: maps.Clone(m.fields), Time: time.Now().UnixMicro(), Last: m.last[worker],
	}
}

// fits says whether the change may be made to what is stored at now.
func (m *memory) fits(c change, now int64) bool {
	since := m.version - c.From
	switch {
	case m.last[c.By] >= c.Seq || c.After > 0 && now < c.After || c.Before > 0 && now > c.Before:
		return false
	case c.Restore:
		return m.version == c.Expect
	case since < 0 || since > int64(len(m.recent)):
		return false
	}
	for _, wrote := range m.recent[len(m.recent)-int(since):] {
		for _, f := range wrote {
			if _, set := c.Set[f]; set || slices.Contains(c.Del, f) {
				return false
			}
		}
	}
	return true
}

func (m *memory) Swap(ctx context.Context, c change) (reply, error) {
	if err := ctx.Err(); err != nil {
		return reply{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now().UnixMicro()
	if !m.fits(c, now) {
		return reply{Done: m.last[c.By] == c.Seq, Time: now, Now: m.now(c.By)}, nil
	}
	if c.Reset {
		clear(m.fields)
		m.recent = nil
	}
	m.recent = append(m.recent, slices.AppendSeq(slices.Clone(c.Del), maps.Keys(c.Set)))
	m.recent = m.recent[max(0, len(m.recent)-recent):]
	maps.Copy(m.fields, c.Set)
	for _, f := range c.Del {
		delete(m.fields, f)
	}
	upon := m.version
	if c.Restore {
		upon = c.From
	}
	m.version = upon + 1
	m.last[c.By] = c.Seq
	rep := reply{Done: true, Time: now}
	if upon != c.From {
		rep.Now = m.now(c.By)
	}
	c.From = upon
	for w := range m.watchers {
		select {
		case w <- c:
		default: // a slow reader misses it, as with Redis
		}
	}
	return rep, nil
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
