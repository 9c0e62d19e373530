// Package breaker is a circuit breaker that a whole fleet shares, in Redis: a
// server that fails everybody is left alone by everybody, and is asked by one
// of them now and then whether it is back. (M. Nygard, Release It!, 2007.)
//
// It is a courtesy, never a condition: what must not wait goes ahead without
// asking, and a Redis that does not answer stops nobody here. It is not for the
// provider, whose requests are few and counted (package budget).
//
// One hash, clipferry:{breaker:<name>}: failures in a row, wait and time of the
// next probe, since when it is open. Redis's clock decides.
package breaker

import (
	"context"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
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
)

var (
	//go:embed ask.lua
	askSource string
	//go:embed fail.lua
	failSource string

	askScript  = redis.NewScript(askSource)
	failScript = redis.NewScript(failSource)
	// A probe that succeeds lets everybody try again: one failure more opens the
	// breaker anew, with a longer wait, and one success closes it for good.
	tryScript = redis.NewScript(`
-- KEYS[1] the breaker's hash; ARGV[1] failures in a row that open it
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HDEL', KEYS[1], 'since', 'probe')
  redis.call('HSET', KEYS[1], 'failures', ARGV[1] - 1)
end
return 0`)
)

// Bucket names the breaker in front of the archive's bucket.
const Bucket = "s3"

// Breaker stands in front of one server. It is safe for concurrent use.
type Breaker struct {
	rdb redis.UniversalClient
	key string
	// suspect is set while failures are known of: only then a success is told.
	suspect atomic.Bool
}

// New returns the breaker of that name.
func New(rdb redis.UniversalClient, name string) *Breaker {
	return &Breaker{rdb: rdb, key: "clipferry:{breaker:" + name + "}"}
}

// Wait returns when the server may be asked: at once as long as it is believed
// to answer. While it is not, one of those who wait, anywhere in the fleet, is
// given a probe to make now and then, which ends the wait when it succeeds. It
// reports whether there was a wait; the error is ctx's own.
func (b *Breaker) Wait(ctx context.Context, probe func(context.Context) error) (waited bool, err error) {
	for ; ; waited = true {
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
			pause(ctx, min(wait, lookEvery)+rand.N(lookEvery/20))
		}
	}
}

// ask returns how long to wait, zero for not at all, and whether to probe.
func (b *Breaker) ask(ctx context.Context) (wait time.Duration, probe bool) {
	values, err := askScript.Run(ctx, b.rdb, []string{b.key}, threshold, probeFor.Milliseconds()).Int64Slice()
	if err != nil || len(values) != 3 {
		return 0, false
	}
	if values[0] > 0 {
		b.suspect.Store(true)
	}
	return time.Duration(values[1]) * time.Millisecond, values[2] == 1
}

// probe makes the probe and reports whether it succeeded.
func (b *Breaker) probe(ctx context.Context, probe func(context.Context) error) bool {
	within, cancel := context.WithTimeout(ctx, probeFor/2)
	defer cancel()
	if err := probe(within); err != nil {
		if ctx.Err() == nil { // else another one makes it
			b.fail(ctx, true, 0)
		}
		return false
	}
	_ = tryScript.Run(ctx, b.rdb, []string{b.key}, threshold).Err() // the next probe says it again
	return true
}

// Succeeded says that the server did what it was asked.
func (b *Breaker) Succeeded(ctx context.Context) {
	if b.suspect.Load() && b.rdb.Del(ctx, b.key).Err() == nil {
		b.suspect.Store(false)
	}
}

// Failed says that the server failed, and what wait it asked for, zero for
// none. It reports whether that opened the breaker.
func (b *Breaker) Failed(ctx context.Context, asked time.Duration) bool {
	b.suspect.Store(true)
	return b.fail(ctx, false, asked)
}

func (b *Breaker) fail(ctx context.Context, probe bool, asked time.Duration) bool {
	flag := 0
	if probe {
		flag = 1
	}
	n, err := failScript.Run(ctx, b.rdb, []string{b.key}, threshold, flag, firstWait.Milliseconds(), maxWait.Milliseconds(),
		strconv.FormatFloat(0.5+rand.Float64()/2, 'f', 3, 64), min(asked, maxAsked).Milliseconds(), keep.Milliseconds()).Int64()
	return err == nil && n == 1
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

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
