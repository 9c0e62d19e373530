package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/retry"
)

// play is a whole run: servers, fleet, producers and faults, then the drain
// without faults, then the checker.
func play(ctx context.Context, st *stage, cfg config) (rep *report, err error) {
	err = guard(func() error {
		rep, err = playGuarded(ctx, st, cfg)
		return err
	})
	return rep, err
}

func playGuarded(ctx context.Context, st *stage, cfg config) (*report, error) {
	h, err := newHouse(ctx, st, cfg)
	if err != nil {
		return nil, err
	}
	f := newFleet(h)
	st.Cleanup(func() { f.close(syscall.SIGKILL) })
	f.startAll()

	all, t, p := wishes(cfg), &tormentor{h: h, fleet: f}, &producers{h: h}
	h.Logf("%d exports in %s, %d workers, seed %d", cfg.exports, cfg.duration, cfg.workers, cfg.seed)
	stopWatch := h.watch(ctx)
	defer stopWatch()
	operator := &operator{h: h}
	stopOperator := operator.start(ctx)
	defer stopOperator()
	var wg sync.WaitGroup
	wg.Go(func() { p.run(ctx, all) })
	wg.Go(func() { t.run(ctx, schedule(cfg)) })
	wg.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if st.Failed() {
		return nil, errors.New("the servers themselves failed, see above")
	}
	rep := newReport(cfg)
	if err := h.drain(ctx, f, all, rep); err != nil {
		return nil, err
	}
	stopWatch()
	stopOperator()
	rep.taken, rep.resent = operator.taken, operator.resent
	f.close(syscall.SIGTERM)
	h.judge(ctx, rep, f, t, p, all)
	return rep, nil
}

// drain waits, without faults, until everything is settled or the time is up.
func (h *house) drain(ctx context.Context, f *fleet, all []wish, rep *report) error {
	last := time.Now()
	h.Logf("the last fault is over")
	if h.cfg.lapse {
		f.close(syscall.SIGKILL)
		if err := h.lapse(ctx); err != nil {
			return err
		}
		f.reopen()
	}
	ids := make([]string, 0, len(all))
	for _, w := range all {
		ids = append(ids, w.export.JobID)
	}
	for said := time.Now(); ; {
		left, err := h.unsettled(ctx, ids)
		rep.settled = time.Since(last)
		switch {
		case err != nil:
			return fmt.Errorf("see what is left to do: %w", err)
		case left == "":
			return nil
		case rep.settled > h.cfg.within:
			rep.breach("not settled %s after the last fault: %s", rep.settled.Round(time.Second), left)
			return nil
		case time.Since(said) > 15*time.Second:
			said = time.Now()
			h.Logf("draining: %s", left)
		}
		if retry.Wait(ctx, 500*time.Millisecond) != nil {
			return ctx.Err()
		}
	}
}

// judge fills the report.
func (h *house) judge(ctx context.Context, rep *report, f *fleet, t *tormentor, p *producers, all []wish) {
	h.Logf("checking")
	rep.enqueued, rep.repeated = p.enqueued, p.repeated
	rep.started, rep.killed, rep.stopped, rep.skipped, rep.gaveUp = f.started, f.killed, f.stopped, f.skipped, f.gaveUp
	rep.slowestStop = f.slowest
	f.moves.wg.Wait()
	rep.ordersMoved, rep.othersMoved = f.moves.said(true), f.moves.said(false)
	rep.requests = h.provider.State().Requests
	rep.letters = h.deadLetters()
	for _, w := range t.windows {
		rep.faults[w.stream+": "+w.what]++
	}
	for _, b := range append(f.breaches, p.breaches...) {
		rep.breach("%s", b)
	}
	if p.enqueued != len(all) {
		rep.breach("%d of %d exports could be enqueued", p.enqueued, len(all))
	}
	a := newAudit(h, rep, f, t)
	a.exports(ctx, all)
	a.archive(ctx, all)
	a.uploads(ctx)
}

// watch logs now and then how the run stands.
func (h *house) watch(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for retry.Wait(ctx, 30*time.Second) == nil {
			counts, err := h.ledger.Counts(ctx)
			if err != nil {
				continue // Redis is killed at the moment
			}
			h.Logf("         exports: %s; %d charged", listedCounts(counts), len(h.provider.State().Submits))
		}
	}()
	return func() { cancel(); <-done }
}

// lapse lets the leases of workers that are all dead end at once: asynq's,
// which it would notice after a minute, and ours.
func (h *house) lapse(ctx context.Context) error {
	keys, err := h.rdb.Keys(ctx, "asynq:*:lease").Result()
	if err != nil {
		return err
	}
	past := float64(time.Now().Add(-time.Hour).Unix())
	for _, key := range keys {
		held, err := h.rdb.ZRange(ctx, key, 0, -1).Result()
		if err != nil {
			return err
		}
		for _, task := range held {
			if err := h.rdb.ZAdd(ctx, key, redis.Z{Member: task, Score: past}).Err(); err != nil {
				return err
			}
		}
	}
	ours, err := h.rdb.Keys(ctx, "clipferry:*:lease:*").Result()
	if err != nil || len(ours) == 0 {
		return err
	}
	return h.rdb.Del(ctx, ours...).Err()
}
