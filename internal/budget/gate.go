// Package budget spends the provider's limits for a whole fleet: so many
// requests a minute and so many exports at once, for each account, however
// many workers there are. Whoever wants to talk to the provider asks a [Gate]
// for a [Turn], sends exactly one request, and says what came of it.
//
// Package pace decides who is next; this package keeps its state for the fleet. One
// account's state is a number of small records in Redis under one version. Every
// worker that waits holds a copy and follows the changes as they are published, so
// all come to the same decision without asking. The worker whose waiter is chosen
// claims the turn by compare-and-swap, field by field: two changes that write
// different fields don't conflict.
//
// A turn costs three round trips (join, claim, done), two when no other waits, and a
// fleet in which none waits costs none. The slot of a submit that prepares comes with
// the change that freed it, and that it has prepared is stored with its claim, or
// before the next request may go.
//
// A change is made once. It carries its worker's name and a number, by which Redis
// recognizes one that the client sends again because the answer was lost, and the
// worker one whose answer it never got.
//
// Redis's clock decides. A worker estimates it from its last round trip. It uses the
// early bound to decide whether a request may go, and the late one as the time at
// which a request was answered; Redis checks both.
//
// # What is lost, and what then
//
//   - A worker dies with a request in flight: the request counts until its lease
//     ends (45 s) and a minute more; a submit's slot is kept for 15 minutes.
//   - A worker dies while it waits: the others skip it after a second, once it
//     is its turn; while it prepares a submit, after 35 seconds.
//   - Redis loses its last moments, or everything, under a running fleet: the
//     first worker to notice writes its own copy back.
//   - The whole fleet starts again: two requests are assumed that the state may
//     not know of.
//   - Everything is lost, fleet and state: an empty state looks like a
//     first start, and a first start mustn't idle. So spending begins at once,
//     unless an export turns up whose render began before ([Gate.Hold], or
//     a read of one that nobody knows): that means a loss, and nothing is
//     sent until the state is a minute old. Call Hold for all such exports
//     before the first Wait.
//
// It is not for retries (the caller's), nor for what an answer means to an
// export (package export).
package budget

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/pace"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// What requests are for, how urgent they are and how they end is said by
// package pace; these are its types.
type (
	// Kind is what a request is for.
	Kind = pace.Kind
	// Priority orders the submits that wait.
	Priority = pace.Priority
	// Result is how a request ended.
	Result = pace.Result
	// Outcome is what came of a request.
	Outcome = pace.Outcome
	// Refusal is a refusal that may be the account's fault.
	Refusal = pace.Refusal
)

// The values of [Kind], [Priority] and [Result].
const (
	Submit  = pace.Submit
	Read    = pace.Read
	Refresh = pace.Refresh
	Other   = pace.Other

	Low    = pace.Low
	Normal = pace.Normal
	High   = pace.High

	Answered      = pace.Answered
	Refused       = pace.Refused
	Forbidden     = pace.Forbidden
	OutOfUnits    = pace.OutOfUnits
	NotUnderstood = pace.NotUnderstood
	Failed        = pace.Failed
	NotSent       = pace.NotSent
	InDoubt       = pace.InDoubt
)

// PassedPrefix begins the names of what is passed through, see [pace.Passed].
const PassedPrefix = pace.PassedPrefix

// ErrClosed is returned to those who wait when the gate is closed.
var ErrClosed = errors.New("the budget gate is closed")

// Request says who wants to send what.
type Request struct {
	// Export is the export's id, or the name of something passed through, which
	// begins with [PassedPrefix]. For a submit it names the slot, so asking
	// again after a crash takes no second one.
	Export string
	// Project is the export's, for a submit: when orders are refused alike,
	// another project's is tried first.
	Project string
	Kind    Kind
	// Since is, for a submit, when the export was enqueued: first come,
	// first served. For a read it is when rendering began, used only if the
	// state was lost. Zero means now.
	Since    time.Time
	Priority Priority
	// Tenant is, for a submit, with whom it shares the slots that Share counts for: those
	// of one tenant go by Since, tenants by their shares. A zero Share is 1.
	Tenant string
	Share  int
	// Deadline is, for a refresh, when the fresh link is needed at the
	// latest. Until half of the time left has passed it only takes what
	// nobody else wants. Zero means at once.
	Deadline time.Time
	// Resolution and Clips (0 = all) say what is known of the render before
	// the provider says more, for the estimate of its duration.
	Resolution string
	Clips      int
	// Refused is, for a submit, what [Turn.Refused] said of the export's last one:
	// it waits until the account has accepted another since, for a minute at most.
	Refused time.Time
	// Prepare, of a submit, is called once it has its slot and before it asks for
	// its request, so that what takes long holds up nobody else's. Its context
	// ends in time for the slot to be still reserved. If it fails, the slot is
	// given back and Wait returns its error. It may be nil.
	Prepare func(context.Context) error
}

// Options configure a [Gate]. Redis, Account and Logger are required.
type Options struct {
	Redis redis.UniversalClient
	// Account names the key whose limits these are. Gates of one account
	// share one budget.
	Account string
	// RequestsPerMinute and MaxActive are the provider's limits; 0 is none.
	// Without either, nothing is shared but the halt of orders whose answers nobody
	// understands: what is learned, and any other halt, is then each process's own.
	RequestsPerMinute int
	MaxActive         int
	Logger            *slog.Logger
	// Rand returns numbers in [0, 1) to spread probes; default is math/rand.
	Rand func() float64

	store store
}

// Gate is one worker's door to an account's budget. It is safe for concurrent
// use. Close it when nobody waits any more.
type Gate struct {
	log       *slog.Logger
	limits    pace.Limits
	store     store
	unlimited *unlimited // nil for an account with limits
	rand      func() float64
	id        string // of this worker, in the shared state
	linger    time.Duration
	places    *Places // of clients

	ops chan *op

	mu      sync.Mutex
	seq     int
	users   int
	running bool
	closed  bool
	stop    context.CancelFunc
	stopped chan struct{}
	loop    *loop // kept between runs, so that the copy outlives an idle spell
}

// New returns the gate of an account. It doesn't talk to Redis yet.
func New(o Options) (*Gate, error) {
	var faults []error
	if o.RequestsPerMinute < 0 || o.MaxActive < 0 {
		faults = append(faults, errors.New("the provider's limits can't be negative"))
	}
	if o.Account == "" {
		faults = append(faults, errors.New("an account is required"))
	}
	if o.Logger == nil {
		faults = append(faults, errors.New("a logger is required"))
	}
	if o.Redis == nil && o.store == nil {
		faults = append(faults, errors.New("a Redis client is required"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("budget: %w", err)
	}
	g := &Gate{
		log:    o.Logger.With(logkey.Account, o.Account),
		limits: pace.Limits{PerMinute: o.RequestsPerMinute, Slots: o.MaxActive},
		store:  o.store,
		rand:   o.Rand,
		id:     rand.Text()[:10],
		linger: 30 * time.Second,
		places: NewPlaces(clientPlaces),
		ops:    make(chan *op, 256),
	}
	if g.rand == nil {
		g.rand = mathrand.Float64
	}
	if g.store == nil {
		g.store = newRedisStore(o.Redis, o.Account)
		if o.RequestsPerMinute == 0 && o.MaxActive == 0 {
			g.store, g.unlimited = newMemory(), newUnlimited(o.Redis, o.Account)
		}
	}
	return g, nil
}

// Wait blocks until this export may send exactly one request, or until ctx
// ends; it then leaves the line and returns ctx's error. The turn of a submit
// includes a slot, held by the export until its render ends. Whoever gets a
// turn must send within moments and call [Turn.Done] in every case.
func (g *Gate) Wait(ctx context.Context, r Request) (*Turn, error) {
	for {
		turn, err := g.wait(ctx, r)
		if err != nil || g.unlimited == nil || r.Kind != Submit {
			return turn, err
		}
		if lets, err := g.letsOrder(ctx, turn); lets || err != nil {
			return turn, err
		}
	}
}

// Enter takes a place for a client of the HTTP API, who is to wait for a turn; ok is false
// if too many of this process do.
func (g *Gate) Enter(tenant string) (leave func(), ok bool) { return g.places.Enter(tenant) }

func (g *Gate) wait(ctx context.Context, r Request) (*Turn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.Export == "" {
		return nil, errors.New("budget: a request without an export")
	}
	g.mu.Lock()
	g.seq++
	id := fmt.Sprintf("%s-%d", g.id, g.seq)
	g.mu.Unlock()
	w := &waiting{
		id: id,
		record: pace.Waiter{
			Export: r.Export, Project: r.Project, Refused: pace.At(r.Refused), Kind: r.Kind, Since: pace.At(r.Since), Priority: r.Priority,
			Tenant: r.Tenant, Share: r.Share,
			Deadline: pace.At(r.Deadline), Resolution: r.Resolution, Clips: max(0, r.Clips), Worker: g.id,
		},
		granted:  make(chan pace.Turn, 1),
		reserved: make(chan struct{}, 1),
	}
	if r.Kind == Submit && r.Prepare != nil {
		w.record.Stage = pace.Unslotted
	}
	ctx, w.dismiss = context.WithCancelCause(ctx)
	defer w.dismiss(nil) // nobody asks for the cause any more
	if err := g.enter(ctx, &op{join: w}); err != nil {
		return nil, err
	}
	defer g.exit()
	for {
		select {
		case t := <-w.granted:
			return &Turn{gate: g, id: id, turn: t}, nil
		case <-w.reserved:
			if err := prepare(ctx, r.Prepare); err != nil {
				g.ops <- &op{leave: id}
				return nil, err
			}
			g.ops <- &op{ready: id}
		case <-ctx.Done():
			g.ops <- &op{leave: id}
			if errors.Is(context.Cause(ctx), ErrClosed) {
				return nil, ErrClosed
			}
			return nil, ctx.Err()
		}
	}
}

// prepare runs what a submit does while it holds its slot and no request.
func prepare(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, pace.PrepareTime)
	defer cancel()
	return f(ctx)
}

// Hold makes sure that an export that is being rendered, since the given time
// (zero if unknown), holds a slot and is known to the pace: for a sweeper, and
// after a loss of Redis. It changes nothing for an export that is known, but
// that its slot's lease is renewed.
func (g *Gate) Hold(ctx context.Context, export string, since time.Time, resolution string, clips int) error {
	return g.do(ctx, &op{apply: func(now pace.Instant, s *pace.State) {
		s.Hold(export, pace.At(since), resolution, max(0, clips), now)
	}})
}

// Release frees the export's slot: its render is over, or never started. A
// read whose outcome says Ended has done it already.
func (g *Gate) Release(ctx context.Context, export string) error {
	return g.do(ctx, &op{apply: func(_ pace.Instant, s *pace.State) { s.Release(export) }})
}

// Rename gives the slot of one name to another, with what is known of its render.
func (g *Gate) Rename(ctx context.Context, from, to string) error {
	return g.do(ctx, &op{apply: func(_ pace.Instant, s *pace.State) { s.Rename(from, to) }})
}

// NextRead returns the earliest moment, on this machine's clock, at which a
// read of the export could be worth a request: that is when to start waiting
// for one, rounded up as need be. It is in the past for an overdue export and
// for one that isn't known.
func (g *Gate) NextRead(ctx context.Context, export string) (time.Time, error) {
	var wait time.Duration
	err := g.look(ctx, func(now pace.Instant, s *pace.State) {
		wait = s.NextRead(export, now).Sub(now)
	})
	if err != nil {
		return time.Time{}, err
	}
	return time.Now().Add(wait), nil
}

// Close ends the waiting of all who wait with [ErrClosed], takes them out of
// line, and returns when nothing of the gate runs any more. Turns that were
// granted may still be Done.
func (g *Gate) Close() {
	g.mu.Lock()
	g.closed = true
	stopped := g.stopped
	if g.running {
		g.stop()
	}
	g.mu.Unlock()
	if stopped != nil {
		<-stopped
	}
}
