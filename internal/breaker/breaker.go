// Package breaker is a circuit breaker that a whole fleet shares, in Redis: a
// server that fails everybody is left alone by everybody, and is asked by one
// of them now and then whether it is back. (M. Nygard, Release It!, 2007.) One
// that fails a single process, while others reach it, is left alone by that one.
//
// It is a courtesy, never a condition: what must not wait goes ahead without
// asking, and a Redis that does not answer stops nobody here. It is not for the
// provider, whose requests are few and counted (package budget).
//
// One hash, clipferry:{breaker:<name>}: failures in a row, wait and time of the
// next probe, since when it is open; when each process was there last, and whether
// it failed then. Redis's clock decides.
package breaker

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/retry"
)

const (
	// threshold is how many failures in a row, with no success of anybody in
	// between, open the breaker.
	threshold = 5
	// The wait for the first probe and, doubled by each that fails, the longest;
	// a random half is taken off.
	firstWait = time.Second
	maxWait   = 30 * time.Second
	// maxAsked bounds the wait that the other side may ask for.
	maxAsked = 2 * time.Minute
	// probeFor is how long a probe may take before another caller makes the next.
	probeFor = 10 * time.Second
	// lookEvery is how often those who wait look whether the breaker has closed.
	lookEvery = 2 * time.Second
	// keep is how long failures are remembered: rare ones with nothing in
	// between are no outage.
	keep = 10 * time.Minute
	// A process leaves a sign that it is there so often at most, and for so long
	// it counts: as long as one has a fresh sign and doesn't fail, the server is
	// not down.
	signEvery = 5 * time.Second
	signFor   = 30 * time.Second
)

var (
	//go:embed ask.lua
	askSource string
	//go:embed fail.lua
	failSource string
	//go:embed pass.lua
	passSource string

	askScript  = redis.NewScript(askSource)
	failScript = redis.NewScript(failSource)
	passScript = redis.NewScript(passSource)
)

// Bucket names the breaker in front of the archive's bucket.
const Bucket = "s3"

// ErrHere means that the server does not answer this process, and others: what
// waits for it does better elsewhere.
var ErrHere = errors.New("the server answers others, and not this process")

// Breaker stands in front of one server. It is safe for concurrent use.
type Breaker struct {
	rdb redis.UniversalClient
	key string
	id  string // of the process
	now func() time.Time
	// suspect is set while failures of anybody are known of: only then a success
	// is told at once.
	suspect atomic.Bool
	self    alone

	mu    sync.Mutex
	told  time.Time // when a success was told last
	stood time.Time // until when the next probe is left to others; long ago for not at all
	lost  bool      // the last probe was this process's, and failed
}

// New returns the breaker of that name. Each process has one.
func New(rdb redis.UniversalClient, name string) *Breaker {
	return &Breaker{rdb: rdb, key: "clipferry:{breaker:" + name + "}", id: uuid.NewString()[:8], now: time.Now}
}

// Wait returns when the server may be asked: at once as long as it is believed
// to answer. While it is not, one of those who wait, anywhere in the fleet, is
// given a probe to make now and then, which ends the wait when it succeeds. It
// reports whether there was a wait. The error is ctx's own, or ErrHere, which
// takes a moment as well.
func (b *Breaker) Wait(ctx context.Context, probe func(context.Context) error) (waited bool, err error) {
	for ; ; waited = true {
		if ctx.Err() != nil {
			return waited, context.Cause(ctx)
		}
		if alone, asked := b.alone(ctx, probe); alone && ctx.Err() == nil {
			return true, ErrHere
		} else if asked {
			continue
		}
		wait, mine := b.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return waited, context.Cause(ctx)
		case mine:
			if b.probe(ctx, probe) {
				return true, nil
			}
		case wait == 0:
			return waited, nil
		default:
			_ = retry.Wait(ctx, min(wait, lookEvery)+rand.N(lookEvery/20))
		}
	}
}

// ask returns how long to wait, zero for not at all, and whether to probe.
func (b *Breaker) ask(ctx context.Context) (wait time.Duration, probe bool) {
	may := 0
	if b.mayProbe() {
		may = 1
	}
	values, err := askScript.Run(ctx, b.rdb, []string{b.key}, threshold, probeFor.Milliseconds(), b.id,
		signEvery.Milliseconds(), keep.Milliseconds(), may).Int64Slice()
	if err != nil || len(values) != 3 {
		return 0, false
	}
	if values[0] > 0 {
		b.suspect.Store(true)
	}
	if values[2] == 2 {
		return b.standDown(), false
	}
	return time.Duration(values[1]) * time.Millisecond, values[2] == 1
}

// A process whose probe failed leaves the next one to others who wait, for as long
// as they may take to look: what it can't reach, they may.
func (b *Breaker) mayProbe() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.lost || !b.stood.IsZero() && !b.now().Before(b.stood)
}

// standDown leaves the probe that is due to others, and returns for how long.
func (b *Breaker) standDown() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stood.IsZero() {
		b.stood = b.now().Add(lookEvery + lookEvery/10)
	}
	return max(b.stood.Sub(b.now()), time.Millisecond)
}

// probe makes the fleet's probe and reports whether it succeeded.
func (b *Breaker) probe(ctx context.Context, probe func(context.Context) error) bool {
	err := b.try(ctx, probe)
	b.mu.Lock()
	b.lost, b.stood = err != nil, time.Time{}
	b.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil { // else another one makes it
			b.fail(ctx, true, 0)
		}
		return false
	}
	// It lets everybody try again: one failure more opens the breaker anew, with a
	// longer wait, and one success closes it for good.
	_ = b.pass(ctx, threshold-1) // the next probe says it again
	return true
}

// alone reports whether this process alone does not reach the server, after a
// moment or a probe of its own, and whether it asked for that.
func (b *Breaker) alone(ctx context.Context, probe func(context.Context) error) (alone, asked bool) {
	switch wait, mine := b.self.ask(b.now()); {
	case mine:
		b.probeAlone(ctx, probe)
	case wait > 0:
		_ = retry.Wait(ctx, min(wait, lookEvery)+rand.N(lookEvery/20))
	default:
		return false, false
	}
	return b.self.isHalted(), true
}

// probeAlone makes a probe for this process, which alone does not reach the server.
func (b *Breaker) probeAlone(ctx context.Context, probe func(context.Context) error) {
	err := b.try(ctx, probe)
	b.self.probed(b.now(), err == nil)
	if err != nil && ctx.Err() == nil {
		b.fail(ctx, false, 0) // the others may fail by now as well
	}
}

func (b *Breaker) try(ctx context.Context, probe func(context.Context) error) error {
	within, cancel := context.WithTimeout(ctx, probeFor/2)
	defer cancel()
	return probe(within)
}

// Succeeded says that the server did what it was asked.
func (b *Breaker) Succeeded(ctx context.Context) {
	failed := b.self.succeeded()
	b.mu.Lock()
	tell := failed || b.suspect.Load() || b.now().Sub(b.told) >= signEvery
	if tell {
		b.told = b.now()
	}
	b.mu.Unlock()
	if tell && b.pass(ctx, 0) == nil {
		b.suspect.Store(false)
	}
}

func (b *Breaker) pass(ctx context.Context, left int) error {
	return passScript.Run(ctx, b.rdb, []string{b.key}, b.id, keep.Milliseconds(), left).Err()
}

// Opened says whether, and for whom, a failure opened the breaker.
type Opened int

// What a failure may open.
const (
	// OpenedForNobody means that the server may still be asked.
	OpenedForNobody Opened = iota
	// OpenedForAll means that the whole fleet leaves the server alone.
	OpenedForAll
	// OpenedHere means that this process does, since others reach it.
	OpenedHere
)

// Failed says that the server failed, and what wait it asked for, zero for
// none. It returns what that opened.
func (b *Breaker) Failed(ctx context.Context, asked time.Duration) Opened {
	b.suspect.Store(true)
	b.self.failed(b.now())
	switch b.fail(ctx, false, asked) {
	case 1:
		return OpenedForAll
	case 2:
		if b.self.open(b.now(), min(asked, maxAsked)) {
			return OpenedHere
		}
	}
	return OpenedForNobody
}

// fail records a failure. It returns what the script does, 0 without Redis.
func (b *Breaker) fail(ctx context.Context, probe bool, asked time.Duration) int64 {
	flag := 0
	if probe {
		flag = 1
	}
	n, err := failScript.Run(ctx, b.rdb, []string{b.key}, threshold, flag, firstWait.Milliseconds(), maxWait.Milliseconds(),
		strconv.FormatFloat(0.5+rand.Float64()/2, 'f', 3, 64), min(asked, maxAsked).Milliseconds(), keep.Milliseconds(),
		b.id, b.self.inARow(), signFor.Milliseconds()).Int64()
	if err != nil {
		return 0
	}
	return n
}

// Status is how a breaker stands.
type Status struct {
	Open bool
	// Since is when it opened, Probe when the server is asked next if anybody
	// waits for it; zero while it is closed.
	Since, Probe time.Time
}

// Status reads how the breaker stands.
func (b *Breaker) Status(ctx context.Context) (Status, error) {
	values, err := b.rdb.HMGet(ctx, b.key, "failures", "since", "probe").Result()
	if err != nil {
		return Status{}, fmt.Errorf("look at the breaker: %w", err)
	}
	number := func(i int) int64 {
		text, _ := values[i].(string)
		n, _ := strconv.ParseInt(text, 10, 64)
		return n
	}
	if number(0) < threshold {
		return Status{}, nil
	}
	return Status{Open: true, Since: time.UnixMilli(number(1)), Probe: time.UnixMilli(number(2))}, nil
}
