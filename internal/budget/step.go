package budget

import (
	"context"
	"slices"
	"time"

	"github.com/clipferry/clipferry/internal/pace"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// clock estimates the store's clock from the last round trip.
type clock struct {
	at         pace.Instant
	sent, recv time.Time
}

// low is the earliest the store's clock can show at t, high the latest.
func (c clock) low(t time.Time) pace.Instant  { return c.at.Add(t.Sub(c.recv)) }
func (c clock) high(t time.Time) pace.Instant { return c.at.Add(t.Sub(c.sent)) }

// set takes in a round trip. A fast one is kept for a while, because the bounds
// are as far apart as the trip was long, unless the clock has moved.
func (c *clock) set(at int64, sent, recv time.Time) {
	now := pace.Instant(at)
	older := recv.Sub(c.recv) > 30*time.Second
	tighter := recv.Sub(sent) <= c.recv.Sub(c.sent)
	moved := now < c.low(sent) || now > c.high(recv)
	if c.at == 0 || older || tighter || moved {
		*c = clock{at: now, sent: sent, recv: recv}
	}
}

// step brings the state up to date, does what is to be done, gives turns to
// those of this process who are chosen, and stores it all as one change. It
// begins again with what is stored when somebody else was faster.
func (l *loop) step() {
	if len(l.waiters)+len(l.ops)+len(l.turns) == 0 {
		return
	}
	if l.fresh && time.Since(l.heard) > quietIdle ||
		len(l.state.Turns) > 0 && time.Since(l.heard) > quietFlying {
		l.fresh = false
	}
	loaded := false
	for range tries {
		if !l.fresh {
			loaded = true
			if err := l.load(); err != nil {
				l.trouble("reach the shared budget", err)
				return
			}
		}
		l.backoff = 0
		began := time.Now()
		now := l.clock.low(began)
		l.state.Settle(now)
		l.reconcile(now)
		late := l.clock.high(began)
		for _, o := range l.ops {
			if _, open := l.turns[o.finish]; open || o.finish == "" {
				o.apply(late, l.state)
			}
		}
		granted := l.claim(now)
		if len(l.waiters)+len(l.turns) > 0 {
			l.state.Alive(l.g.id, now)
		}
		if !l.state.Dirty() {
			if !loaded && l.changing() {
				// Nothing to change in the copy; but it may be a moment old, and
				// nothing is stored that would show it.
				l.fresh = false
				continue
			}
			l.complete(nil)
			return
		}
		if len(granted) == 0 && l.linger(now) {
			l.complete(nil)
			return
		}
		l.storeBy = 0
		set, del := l.state.Changes()
		done, err := l.swap(change{
			From: l.version, Set: set, Del: del,
			After: int64(now), Before: int64(late.Add(slack)),
		})
		if err != nil {
			l.trouble("reach the shared budget", err)
			return
		}
		if done {
			l.complete(granted)
			return
		}
		l.backOff()
	}
	l.g.log.Warn("the shared budget changes faster than it can be followed")
	l.backoff, l.fresh = retryFirst, false
}

// backOff waits a little before a change that lost to another is tried again, so
// that many of the same moment don't meet again, and takes in what happens
// meanwhile.
func (l *loop) backOff() {
	longest := min(patience, 3*l.clock.recv.Sub(l.clock.sent))
	time.Sleep(time.Duration(l.g.rand() * float64(longest)))
	l.drain()
}

// linger says whether to store later what has changed: somebody joined, has
// prepared, or has renewed a lease, and has to wait anyway. It often goes with the
// next change; the others know of it before the next request may go.
func (l *loop) linger(now pace.Instant) bool {
	if l.changing() || !l.state.OnlyWaits() {
		return false
	}
	by := now.Add(patience)
	if l.wake < now.Add(10*longestLinger) { // a request is missing, not a slot
		by = max(by, min(now.Add(longestLinger), l.wake.Add(-patience)))
	}
	if l.storeBy == 0 || by < l.storeBy {
		l.storeBy = by
	}
	if now >= l.storeBy {
		return false
	}
	l.wake = min(l.wake, l.storeBy)
	return true
}

// changing says whether something is to be done that was meant to change the state.
func (l *loop) changing() bool {
	for _, o := range l.ops {
		if !o.look {
			return true
		}
	}
	return false
}

// complete gives all who wait for it what was stored.
func (l *loop) complete(granted []grant) {
	for _, o := range l.ops {
		if o.finish != "" {
			delete(l.turns, o.finish)
		}
		o.finished(nil)
	}
	l.ops = nil
	for id, w := range l.waiters {
		if stored := l.state.Waiters[id]; stored != nil && stored.Stage == pace.Preparing && !w.prepares {
			w.prepares = true
			w.reserved <- struct{}{}
		}
	}
	for _, g := range granted {
		l.turns[g.waiter] = g.turn
		l.waiters[g.waiter].granted <- g.turn
		delete(l.waiters, g.waiter)
	}
}

// swap stores a change. The copy is then what is stored, made or not.
func (l *loop) swap(c change) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	l.seq++
	c.By, c.Seq = l.g.id, l.seq
	sent := time.Now()
	rep, err := l.g.store.Swap(ctx, c)
	if err != nil {
		l.unsure = append(l.unsure, attempt{seq: c.Seq, ops: slices.Clone(l.ops)})
		return false, err
	}
	recv := time.Now()
	l.clock.set(rep.Time, sent, recv)
	l.heard = recv
	if rep.Done {
		l.unsure = nil
	}
	if rep.Now != nil {
		return rep.Done, l.replace(*rep.Now)
	}
	l.version = c.From + 1
	return true, nil
}

// attempt is a change whose answer was lost: it may have been stored, or may
// still be.
type attempt struct {
	seq int64
	ops []*op
}

// confirm takes in that this worker's change of that number was stored, in case
// its answer was lost: what it was for mustn't be done again.
func (l *loop) confirm(seq int64) {
	for _, a := range l.unsure {
		if a.seq != seq {
			continue
		}
		for _, o := range a.ops {
			delete(l.turns, o.finish)
		}
		l.ops = slices.DeleteFunc(l.ops, func(o *op) bool { return slices.Contains(a.ops, o) })
	}
	l.unsure = slices.DeleteFunc(l.unsure, func(a attempt) bool { return a.seq <= seq })
}

// load reads what is stored.
func (l *loop) load() error {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	sent := time.Now()
	snap, err := l.g.store.Load(ctx, l.g.id)
	if err != nil {
		return err
	}
	recv := time.Now()
	l.clock.set(snap.Time, sent, recv)
	return l.replace(snap)
}

// replace makes what is stored the copy. If the store went back, because it lost
// what it had, it is the copy that is stored again.
func (l *loop) replace(snap snapshot) error {
	now := l.clock.high(time.Now())
	l.confirm(snap.Last)
	if snap.Version < l.version {
		return l.restore(snap.Version, now)
	}
	first := l.version == 0
	if err := l.state.Load(snap.Fields); err != nil {
		l.g.log.Warn("budget state is partly unreadable", logkey.Error, err)
	}
	l.version, l.fresh, l.heard = snap.Version, true, time.Now()
	switch {
	case snap.Version == 0:
		l.state.Create(now)
	case first && l.state.Unattended(now):
		// Nobody has followed it: its last moments may be missing.
		l.state.Restored(now)
	}
	return nil
}

// restored is by how much a version jumps when a lost state is written back, so
// that no copy of the lost one is taken for it.
const restored = 1000

// restore writes the copy back into a store that lost what it had.
func (l *loop) restore(stored int64, now pace.Instant) error {
	l.g.log.Warn("the shared budget was lost from Redis; writing back this worker's copy",
		logkey.Version, l.version, logkey.Found, stored)
	old := time.Since(l.heard) > quietIdle
	l.state.Restored(now)
	if old {
		l.state.Quiesce(now)
	}
	l.state.Changes() // all of it is written
	done, err := l.swap(change{
		From: l.version + restored, Set: l.state.Fields(), Reset: true,
		Restore: true, Expect: stored,
	})
	if err != nil {
		return err
	}
	if done {
		l.fresh = true
	}
	return nil
}

// reconcile sees to it that the state knows those who wait here and what is in
// flight here, whoever may have dropped it.
func (l *loop) reconcile(now pace.Instant) {
	for id, t := range l.state.Turns {
		if t.Worker != l.g.id {
			continue
		}
		if _, ours := l.turns[id]; ours || l.finishing(id) {
			continue
		}
		if w := l.waiters[id]; w != nil {
			// It was claimed, and the answer was lost.
			l.turns[id] = *t
			w.granted <- *t
			delete(l.waiters, id)
			continue
		}
		l.state.Finish(id, *t, Outcome{Result: NotSent}, now, 0)
	}
	for id, w := range l.waiters {
		stored := l.state.Waiters[id]
		switch {
		case stored == nil:
			if w.record.Joined == 0 {
				w.record.Joined = now
			}
			l.state.Join(id, w.record, now)
		case stored.Stage == pace.Preparing && w.ready:
			l.state.Ready(id)
		}
	}
	for id, t := range l.turns {
		if l.state.Turns[id] == nil && t.Until > now && !l.finishing(id) {
			l.state.RestoreTurn(id, t)
		}
	}
}

func (l *loop) finishing(turn string) bool {
	for _, o := range l.ops {
		if o.finish == turn {
			return true
		}
	}
	return false
}

// grant is a turn that a waiter gets once it is stored.
type grant struct {
	waiter string
	turn   pace.Turn
}

// claim gives turns to those who wait here for as long as they are chosen.
func (l *loop) claim(now pace.Instant) (granted []grant) {
	for {
		c := l.state.Next(now)
		l.wake = c.At
		if c.Waiter == "" {
			l.suspect.waiter = ""
			return granted
		}
		w := l.state.Waiters[c.Waiter]
		if w.Worker == l.g.id {
			if l.waiters[c.Waiter] == nil {
				l.state.Leave(c.Waiter) // left over from a wait that ended
				continue
			}
			if w.Stage == pace.Unslotted {
				l.state.Reserve(c.Waiter, now)
				if l.waiters[c.Waiter].ready { // the state had forgotten it
					l.state.Ready(c.Waiter)
				}
				continue
			}
			granted = append(granted, grant{c.Waiter, l.state.Claim(c.Waiter, now)})
			continue
		}
		if w.Stage == pace.Unslotted && l.state.Dirty() && !l.state.OnlyWaits() {
			// Whoever frees a slot gives it away, which saves the other a change.
			l.state.Reserve(c.Waiter, now)
			continue
		}
		if l.suspect.waiter != c.Waiter {
			l.suspect.waiter, l.suspect.since = c.Waiter, now
		}
		l.wake = l.suspect.since.Add(grace)
		if now < l.wake {
			return granted
		}
		l.g.log.Warn("a worker doesn't take its turn; going on without it", logkey.Worker, w.Worker)
		l.state.DropWorker(w.Worker)
	}
}
