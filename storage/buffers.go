package storage

import (
	"context"
	"slices"
	"sync"
	"time"
)

// idleBuffers is how long buffers are kept after the last transfer ended.
const idleBuffers = 20 * time.Second

// bufferPool is all the memory that parts ever take: total buffers of size
// bytes, shared by all files so that each gets its part and none starves.
type bufferPool struct {
	size  int
	total int

	mu      sync.Mutex
	free    [][]byte
	used    int
	files   int
	waiting []*bufferWait
	idle    *time.Timer
}

type bufferWait struct {
	share *bufferShare
	ready chan []byte
}

// bufferShare is what one file takes of the pool.
type bufferShare struct {
	pool  *bufferPool
	held  int
	width int
}

func newBufferPool(size, total int) *bufferPool { return &bufferPool{size: size, total: total} }

// join counts a file in. It may hold up to width buffers, fewer while others
// need them, but one as soon as it is its turn.
func (p *bufferPool) join(width int) *bufferShare {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files++
	if p.idle != nil {
		p.idle.Stop()
	}
	return &bufferShare{pool: p, width: max(1, width)}
}

// leave counts the file out; it must have given all its buffers back.
func (s *bufferShare) leave() {
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files--
	p.grant()
	if p.files == 0 {
		p.idle = time.AfterFunc(idleBuffers, p.drop)
	}
}

// drop gives the memory back to the system once nobody has used it for a while.
func (p *bufferPool) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.files > 0 {
		return
	}
	for _, b := range p.free {
		discard(b)
	}
}

// setWidth changes how many buffers the file may hold from now on.
func (s *bufferShare) setWidth(n int) {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	s.width = max(1, n)
	s.pool.grant()
}

// acquire waits for a buffer. A file must acquire the buffers of its parts in
// the order of the parts, or it could wait for itself.
func (s *bufferShare) acquire(ctx context.Context) ([]byte, error) {
	p := s.pool
	w := &bufferWait{share: s, ready: make(chan []byte, 1)}
	p.mu.Lock()
	p.waiting = append(p.waiting, w)
	p.grant()
	p.mu.Unlock()
	select {
	case b := <-w.ready:
		return b, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, w); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	} else {
		p.putBack(s, <-w.ready)
	}
	return nil, ctx.Err()
}

// release gives a buffer back.
func (s *bufferShare) release(b []byte) {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	s.pool.putBack(s, b)
}

func (p *bufferPool) putBack(s *bufferShare, b []byte) {
	p.free = append(p.free, b[:p.size])
	p.used--
	s.held--
	p.grant()
}

// grant serves whoever may be served, first come first.
func (p *bufferPool) grant() {
	fair := max(1, p.total/max(1, p.files))
	p.waiting = slices.DeleteFunc(p.waiting, func(w *bufferWait) bool {
		if p.used >= p.total || w.share.held >= min(w.share.width, fair) {
			return false
		}
		p.used++
		w.share.held++
		w.ready <- p.take()
		return true
	})
}

func (p *bufferPool) take() []byte {
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	return allocate(p.size)
}
