package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/retry"
)

// moves measures in what time what killed workers had goes on in others.
type moves struct {
	h  *house
	wg sync.WaitGroup

	mu       sync.Mutex
	followed map[queue.Lease]bool
	took     map[bool][]time.Duration // of orders, and of all else
}

// movesWithin is for how long a step is waited for.
const movesWithin = 2 * time.Minute

// dead is after how long a lease that was not extended was a killed worker's: those that
// live extend theirs every five seconds.
const dead = 6 * time.Second

// watch measures what the worker had that is being killed.
func (m *moves) watch() {
	m.wg.Go(func() { m.followAll(time.Now()) })
}

func (m *moves) followAll(killed time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), movesWithin)
	defer cancel()
	q := queue.New(m.h.rdb)
	before, err := q.Leases(ctx, queue.All())
	if err != nil || retry.Wait(ctx, dead) != nil {
		return // Redis is away at the moment
	}
	now, err := q.Leases(ctx, queue.All())
	if err != nil {
		return
	}
	var all sync.WaitGroup
	for name, leases := range before {
		for _, l := range leases {
			id, step, ok := stepIn(l.TaskID)
			if ok && slices.Contains(now[name], l) && m.first(l) {
				all.Go(func() { m.follow(ctx, id, step, killed) })
			}
		}
	}
	all.Wait()
}

// first reports whether the lease is not followed yet, because of an earlier kill.
func (m *moves) first(l queue.Lease) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.followed[l]
	m.followed[l] = true
	return !was
}

// stepIn reads a TaskID of ours.
func stepIn(task string) (id string, s export.Step, ok bool) {
	parts := strings.Split(task, ":")
	kinds := map[string]struct {
		kind    export.Kind
		numbers int
	}{"submit": {export.StepSubmit, 0}, "resubmit": {export.StepSubmit, 1}, "poll": {export.StepPoll, 1}, "mirror": {export.StepMirror, 2}, "seal": {export.StepSeal, 1}}
	is, known := kinds[parts[0]]
	if !known || len(parts) != 2+is.numbers { // ids in a run hold no colons
		return "", s, false
	}
	s.Kind = is.kind
	if is.numbers > 0 {
		s.N, _ = strconv.Atoi(parts[len(parts)-1])
	}
	if is.numbers > 1 {
		s.Clip, _ = strconv.Atoi(parts[2])
	}
	return parts[1], s, true
}

// follow waits until another worker has the step, or what comes after it.
func (m *moves) follow(ctx context.Context, id string, step export.Step, killed time.Time) {
	if r, err := m.h.ledger.Load(ctx, id); err != nil || !export.IsDue(r, step) {
		return // it was through, or nobody can tell
	}
	lease := ledger.Key(id) + ":lease:submit"
	before := m.h.rdb.Get(ctx, lease).Val()
	for retry.Wait(ctx, 200*time.Millisecond) == nil {
		r, err := m.h.ledger.Load(ctx, id)
		if err != nil || export.IsDue(r, step) {
			continue // Redis is away, or the step has not been taken over
		}
		order := step.Kind == export.StepSubmit
		next := slices.IndexFunc(export.Due(r), func(s export.Step) bool { return s.Kind == step.Kind && s.Clip == step.Clip })
		moved := next < 0
		switch holder := m.h.rdb.Get(ctx, lease).Val(); {
		case moved:
		case order:
			moved = holder != "" && holder != before
		default:
			task := queue.Of(r, export.Due(r)[next])
			moved = m.h.rdb.ZScore(ctx, queue.LeaseKey(task.Queue), task.ID).Err() == nil
		}
		if moved {
			m.mu.Lock()
			m.took[order] = append(m.took[order], time.Since(killed))
			m.mu.Unlock()
			return
		}
	}
}

// said is the figure of orders, or of all else.
func (m *moves) said(orders bool) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	took := slices.Sorted(slices.Values(m.took[orders]))
	if len(took) == 0 {
		return "none was under way"
	}
	at := func(share float64) time.Duration {
		return took[int(share*float64(len(took)-1))].Round(100 * time.Millisecond)
	}
	return fmt.Sprintf("median %s, p95 %s, longest %s of %d", at(0.5), at(0.95), at(1), len(took))
}
