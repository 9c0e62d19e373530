package storage

import (
	"context"
	"sync"
	"time"
)

// pacer is how many parts of one file are under way: fewer as soon as one side
// pushes back, slowly more while it does not.
type pacer struct {
	share *bufferShare
	most  int

	mu      sync.Mutex
	width   int
	calm    int
	changed time.Time
}

func newPacer(share *bufferShare, most int) *pacer {
	return &pacer{share: share, most: most, width: most}
}

// slower halves the width, at most once a second: the parts under way all hear
// of the same overload.
func (p *pacer) slower() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calm = 0
	if now := time.Now(); now.Sub(p.changed) > time.Second {
		p.changed = now
		p.width = max(1, p.width/2)
		p.share.setWidth(p.width)
	}
}

// faster widens by one after two rounds without trouble.
func (p *pacer) faster() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.width >= p.most {
		return
	}
	if p.calm++; p.calm >= 2*p.width {
		p.calm = 0
		p.width++
		p.share.setWidth(p.width)
	}
}

// paced notifies a file's pacer of how S3 takes each attempt to put one of its parts.
type paced struct{ next sender }

func (s paced) do(ctx context.Context, r request) error {
	err := s.next.do(ctx, r)
	switch {
	case r.pace == nil:
	case err == nil:
		r.pace.faster()
	case isPushback(err):
		r.pace.slower()
	}
	return err
}
