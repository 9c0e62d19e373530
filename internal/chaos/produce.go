package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/tasks"
)

// wish is one export to be asked for.
type wish struct {
	at     time.Duration
	export tasks.Export
	twice  time.Duration // asked for once more so much later; 0 is not
	fails  bool          // the provider can't render it
}

// wishes draws what the producers ask for, over the first nine tenths of the run.
func wishes(cfg config) []wish {
	r := rand.New(rand.NewPCG(cfg.seed, 100))
	resolutions := []string{"", "SD_480", "HD_720", "FHD_1080"}
	priorities := []string{"", "", tasks.PriorityHigh, tasks.PriorityLow}
	span := cfg.duration * 9 / 10
	out := make([]wish, 0, cfg.exports)
	for i := range cfg.exports {
		render := 3 + r.IntN(12)
		w := wish{
			at: time.Duration(r.Int64N(int64(span))),
			export: tasks.Export{
				ProjectID:  fmt.Sprintf("p-%05d~clips=%d~render=%ds", i, 1+r.IntN(4), render),
				JobID:      fmt.Sprintf("job-%d-%05d", cfg.seed, i),
				Resolution: resolutions[r.IntN(len(resolutions))],
				Priority:   priorities[r.IntN(len(priorities))],
			},
		}
		switch n := r.IntN(100); {
		case n < 8:
			w.export.ProjectID = fmt.Sprintf("%s%05d~clips=1~size=12MB~render=%ds", big, i, render)
		case n < 11:
			w.fails = true
			w.export.ProjectID += "~fail=no such source"
		case n < 16:
			w.export.ProjectID += "~titles=hostile"
		case n < 26:
			w.twice = time.Duration(1 + r.Int64N(int64(min(30*time.Second, cfg.duration/10))))
		}
		out = append(out, w)
	}
	return out
}

// producers enqueue all wishes, each again and again until it is taken, as a
// program with an idempotency key may.
type producers struct {
	h *house

	mu       sync.Mutex
	enqueued int
	repeated int
	breaches []string
}

func (p *producers) run(ctx context.Context, all []wish) {
	rdb := redis.NewClient(&redis.Options{Addr: p.h.wire.addr()})
	defer func() { _ = rdb.Close() }()
	client := tasks.NewClientFromRedis(rdb)
	began := time.Now()
	var wg sync.WaitGroup
	for _, w := range all {
		wg.Go(func() {
			if retry.Wait(ctx, time.Until(began.Add(w.at))) == nil && p.enqueue(ctx, client, w.export) {
				p.count(&p.enqueued)
			}
			if w.twice > 0 && retry.Wait(ctx, w.twice) == nil && p.enqueue(ctx, client, w.export) {
				p.count(&p.repeated)
			}
		})
	}
	wg.Wait()
}

func (p *producers) count(n *int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*n++
}

func (p *producers) enqueue(ctx context.Context, client *tasks.Client, e tasks.Export) bool {
	for {
		id, err := client.Enqueue(ctx, e)
		switch {
		case err == nil && id == e.JobID:
			return true
		case err == nil || errors.Is(err, tasks.ErrDifferentBody):
			p.mu.Lock()
			p.breaches = append(p.breaches, fmt.Sprintf("enqueue of %s: id %s, %v", e.JobID, id, err))
			p.mu.Unlock()
			return false
		}
		if retry.Wait(ctx, 500*time.Millisecond) != nil {
			return false
		}
	}
}
