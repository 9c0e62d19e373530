package budget

import (
	"context"
	"time"

	"github.com/clipferry/clipferry/internal/pace"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

const (
	// grace is how long a chosen waiter has to claim its turn before the
	// others believe its worker dead.
	grace = time.Second
	// patience is for how long the others needn't know who joined even if a
	// request may go, longestLinger for how long while the next is awaited.
	patience, longestLinger = 50 * time.Millisecond, time.Second
	// quietFlying and quietIdle are after how long without any news the copy
	// is compared with the store, with and without a request in flight.
	quietFlying = 5 * time.Second
	quietIdle   = 30 * time.Second
	// slack is how far the store's clock may be ahead of its estimate.
	slack = time.Second
	// retryFirst and retryLongest bound the wait between attempts to reach
	// a store that fails.
	retryFirst, retryLongest = 250 * time.Millisecond, 5 * time.Second
	// closing is how often a closed gate looks whether everybody has gone.
	closing = 5 * time.Millisecond
	// tries bounds how often one step loses to other workers in a row.
	tries = 50
)

// waiting is somebody of this process who waits.
type waiting struct {
	id       string
	record   pace.Waiter
	granted  chan pace.Turn
	reserved chan struct{} // gets its value once, when it is to prepare
	prepares bool          // it has got it
	ready    bool          // it has prepared
	dismiss  context.CancelCauseFunc
}

// op is something to be done to the state. One of join, ready, leave and apply is set.
type op struct {
	join   *waiting
	ready  string
	leave  string
	finish string // the turn that apply ends
	// look says that apply changes nothing, so the copy may be a moment old.
	look bool
	// apply may run several times, each time on a state in which it hasn't.
	apply func(now pace.Instant, s *pace.State)
	done  chan error
}

// loop is the one goroutine of a gate that touches its copy of the state. It
// runs while somebody waits or was waiting a moment ago.
type loop struct {
	g       *Gate
	state   *pace.State
	version int64
	fresh   bool // the copy is the store's, as far as is known
	heard   time.Time
	clock   clock
	changes <-chan change

	waiters map[string]*waiting
	turns   map[string]pace.Turn // granted to this process, not done
	ops     []*op
	seq     int64     // of the last change that was tried
	unsure  []attempt // to change the state, whose answers were lost
	wake    pace.Instant
	storeBy pace.Instant // when what only lingers has to be stored, zero if nothing does
	backoff time.Duration
	suspect struct {
		waiter string
		since  pace.Instant
	}
}

// enter hands an op to the loop, which it starts if need be, and keeps it
// running until exit is called.
func (g *Gate) enter(ctx context.Context, o *op) error {
	g.mu.Lock()
	if g.closed && o.join != nil {
		g.mu.Unlock()
		return ErrClosed
	}
	g.users++
	if !g.running {
		g.start()
	}
	g.mu.Unlock()
	select {
	case g.ops <- o:
		return nil
	case <-ctx.Done():
		g.exit()
		return ctx.Err()
	}
}

func (g *Gate) exit() {
	g.mu.Lock()
	g.users--
	g.mu.Unlock()
}

// start runs the loop; g.mu is held.
func (g *Gate) start() {
	ctx, cancel := context.WithCancel(context.Background())
	last, stopped := g.stopped, make(chan struct{})
	g.stop, g.stopped, g.running = cancel, stopped, true
	if g.closed {
		cancel() // only what is left is done, then it ends
	}
	if g.loop == nil {
		g.loop = &loop{
			g: g, state: pace.NewState(g.limits),
			waiters: map[string]*waiting{}, turns: map[string]pace.Turn{},
		}
	}
	go func() {
		if last != nil {
			<-last // the run before may still be clearing up
		}
		g.loop.run(ctx, stopped)
	}()
}

// do hands an op to the loop and waits until it is stored.
func (g *Gate) do(ctx context.Context, o *op) error {
	o.done = make(chan error, 1)
	if err := g.enter(ctx, o); err != nil {
		return err
	}
	defer g.exit()
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// look runs f on this worker's copy of the state, if it has one, without
// changing it. What other workers did within the last moments may be missing.
func (g *Gate) look(ctx context.Context, f func(pace.Instant, *pace.State)) error {
	g.mu.Lock()
	running := g.running && !g.closed
	g.mu.Unlock()
	if running {
		return g.do(ctx, &op{apply: f, look: true})
	}
	return g.read(ctx, f)
}

// read runs f on what is stored, in one round trip.
func (g *Gate) read(ctx context.Context, f func(pace.Instant, *pace.State)) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	snap, err := g.store.Load(ctx, g.id)
	if err != nil {
		return err
	}
	s, now := pace.NewState(g.limits), pace.Instant(snap.Time)
	if err := s.Load(snap.Fields); err != nil {
		g.log.Warn("budget state is partly unreadable", logkey.Error, err)
	}
	s.Settle(now)
	f(now, s)
	return nil
}

func (l *loop) run(ctx context.Context, stopped chan struct{}) {
	watching, unwatch := context.WithCancel(context.Background())
	defer func() {
		unwatch()
		if l.changes != nil {
			for range l.changes { // until the watch has ended
			}
		}
		l.changes, l.fresh, l.backoff = nil, false, 0
		close(stopped)
	}()
	idle := time.NewTimer(l.g.linger)
	defer idle.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	done := ctx.Done()
	for {
		select {
		case o := <-l.g.ops:
			l.take(o)
		case c, ok := <-l.changes:
			l.follow(c, ok)
		case <-timer.C:
		case <-idle.C:
		case <-done:
			done = nil
		}
		l.drain()
		if done == nil {
			l.dismiss()
		}
		l.watch(watching)
		l.step()
		if done == nil {
			timer.Reset(closing)
		} else {
			timer.Reset(l.sleep())
		}
		if len(l.waiters)+len(l.turns) > 0 && done != nil {
			idle.Reset(l.g.linger)
			continue
		}
		if l.end(done == nil, idle) {
			return
		}
	}
}

// end says whether the loop is over: nobody needs it, and hasn't for a while
// or the gate is closed.
func (l *loop) end(closed bool, idle *time.Timer) bool {
	l.g.mu.Lock()
	defer l.g.mu.Unlock()
	if len(l.g.ops) > 0 || l.g.users > 0 {
		return false
	}
	if !closed && time.Since(l.heard) < l.g.linger {
		return false
	}
	l.g.running = false
	return true
}

func (l *loop) take(o *op) {
	switch {
	case o.join != nil:
		l.waiters[o.join.id] = o.join
	case o.ready != "":
		if w := l.waiters[o.ready]; w != nil {
			w.ready = true
		}
	case o.leave != "":
		l.leave(o.leave)
	default:
		l.ops = append(l.ops, o)
	}
}

// drain takes everything that is there already, to store it in one change.
func (l *loop) drain() {
	for {
		select {
		case o := <-l.g.ops:
			l.take(o)
		case c, ok := <-l.changes:
			l.follow(c, ok)
			if !ok {
				return
			}
		default:
			return
		}
	}
}

// leave takes a waiter out of line, or gives back its turn if that just came.
func (l *loop) leave(id string) {
	delete(l.waiters, id)
	if t, ok := l.turns[id]; ok {
		l.ops = append(l.ops, &op{finish: id, apply: func(now pace.Instant, s *pace.State) {
			s.Finish(id, t, Outcome{Result: NotSent}, now, 0)
		}})
		return
	}
	l.ops = append(l.ops, &op{apply: func(_ pace.Instant, s *pace.State) { s.Leave(id) }})
}

// dismiss sends everybody away who waits.
func (l *loop) dismiss() {
	for _, w := range l.waiters {
		w.dismiss(ErrClosed) // it leaves by itself
	}
}

// watch sees to it that changes are followed.
func (l *loop) watch(ctx context.Context) {
	if l.changes != nil || l.backoff > 0 {
		return
	}
	changes, err := l.g.store.Watch(ctx)
	if err != nil {
		l.trouble("follow the shared budget", err)
		return
	}
	l.changes, l.fresh = changes, false
}

// follow takes over a change that was published.
func (l *loop) follow(c change, ok bool) {
	switch {
	case !ok:
		l.changes, l.fresh = nil, false
	case len(c.Set)+len(c.Del) == 0 || c.From > l.version:
		l.fresh = false
	case c.From == l.version && l.fresh:
		l.heard = time.Now()
		if c.By == l.g.id {
			l.confirm(c.Seq) // it was stored late
		}
		l.version++
		var err error
		if c.Reset {
			err = l.state.Load(c.Set)
		} else {
			err = l.state.Apply(c.Set, c.Del)
		}
		if err != nil {
			l.g.log.Warn("budget state is partly unreadable", logkey.Error, err)
		}
	}
}

// sleep is how long there is nothing to decide.
func (l *loop) sleep() time.Duration {
	if l.backoff > 0 {
		return l.backoff
	}
	if len(l.waiters)+len(l.turns) == 0 {
		return l.g.linger + time.Millisecond
	}
	quiet := quietIdle
	if len(l.state.Turns) > 0 {
		quiet = quietFlying
	}
	wait := quiet - time.Since(l.heard)
	now := l.clock.low(time.Now())
	next := min(l.wake, l.state.Ends(), l.state.Renewal(l.g.id))
	if next != pace.Never {
		// Slightly later, so that the estimate has surely passed it.
		wait = min(wait, next.Sub(now)+time.Microsecond)
	}
	return max(wait, time.Millisecond)
}

// trouble notes that the store can't be reached.
func (l *loop) trouble(what string, err error) {
	if l.backoff == 0 {
		l.g.log.Warn("can't "+what, logkey.Error, err)
	}
	l.backoff = min(retryLongest, max(retryFirst, 2*l.backoff))
	l.fresh = false
	kept := l.ops[:0]
	for _, o := range l.ops {
		if o.done == nil {
			kept = append(kept, o) // nobody else would try again
			continue
		}
		o.done <- err
	}
	l.ops = kept
}

func (o *op) finished(err error) {
	if o.done != nil {
		o.done <- err
	}
}
