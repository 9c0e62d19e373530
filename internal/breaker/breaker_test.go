package breaker

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/clipferry/clipferry/internal/redistest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

var (
	noon    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	errDown = errors.New("down")
)

// fleet is two workers' breakers on one Redis whose clock the test sets.
type fleet struct {
	t     *testing.T
	redis *miniredis.Miniredis
	a, b  *Breaker
	now   time.Time
}

func newFleet(t *testing.T) *fleet {
	m := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	f := &fleet{t: t, redis: m, a: New(rdb, "s3"), b: New(rdb, "s3"), now: noon}
	f.a.now, f.b.now = f.clock, f.clock
	f.pass(0)
	return f
}

func (f *fleet) pass(d time.Duration) {
	f.now = f.now.Add(d)
	f.redis.SetTime(f.now)
	if d > 0 {
		f.redis.FastForward(d)
	}
}

func (f *fleet) clock() time.Time { return f.now }

func (f *fleet) open() {
	f.t.Helper()
	for n := range threshold {
		if opened := f.a.Failed(f.t.Context(), 0); (opened == OpenedForAll) != (n == threshold-1) {
			f.t.Fatalf("failure %d opened it: %v", n+1, opened)
		}
	}
}

func (f *fleet) status() Status {
	f.t.Helper()
	s, err := f.b.Status(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

// asks asserts what a worker that asks is told.
func (f *fleet) asks(b *Breaker, wantWait, wantProbe bool) {
	f.t.Helper()
	wait, probe := b.ask(f.t.Context())
	if wait > 0 != wantWait || probe != wantProbe {
		f.t.Fatalf("asked at %s: wait %s, probe %t", f.now.Format(time.TimeOnly), wait, probe)
	}
}

func TestItOpensForAllAfterFailuresInARow(t *testing.T) {
	f := newFleet(t)
	ctx := t.Context()
	for range threshold - 1 {
		f.a.Failed(ctx, 0)
	}
	f.asks(f.b, false, false)
	f.b.Succeeded(ctx) // begins the count anew
	f.a.self.succeeded()
	f.pass(signFor + time.Second)
	f.open()
	f.asks(f.b, true, false)
	if s := f.status(); !s.Open || !s.Since.Equal(f.now) || s.Probe.Sub(f.now) < firstWait/2 || s.Probe.Sub(f.now) > firstWait {
		t.Errorf("status %+v", s)
	}
	f.pass(firstWait)
	f.asks(f.a, false, true)
	f.asks(f.b, true, false) // one probe in the fleet
	f.pass(probeFor)
	f.asks(f.b, false, true) // the prober died
}

func TestProbesBecomeRarer(t *testing.T) {
	f := newFleet(t)
	f.open()
	longest := time.Duration(0)
	for n := range 10 {
		until := f.status().Probe.Sub(f.now)
		want := min(firstWait<<n, maxWait)
		if until < want/2 || until > want {
			t.Errorf("probe %d after %s, want %s to %s", n, until, want/2, want)
		}
		longest = max(longest, until)
		f.pass(until)
		if f.a.probe(t.Context(), func(context.Context) error { return errDown }) {
			t.Fatal("a failed probe succeeded")
		}
	}
	// What was sent before it opened and fails late changes nothing.
	was := f.status()
	for range 20 {
		f.a.Failed(t.Context(), 0)
	}
	if f.status() != was {
		t.Errorf("late failures moved the probe: %+v, then %+v", was, f.status())
	}
}

func TestAProbeLetsAllTryAndASuccessCloses(t *testing.T) {
	f := newFleet(t)
	ctx := t.Context()
	f.open()
	f.pass(firstWait)
	f.asks(f.a, false, true)
	if !f.a.probe(ctx, func(context.Context) error { return nil }) {
		t.Fatal("the probe failed")
	}
	f.asks(f.a, false, false)
	f.asks(f.b, false, false)
	f.pass(time.Second)
	f.b.Failed(ctx, 0)
	if f.a.Failed(ctx, 0) != OpenedForAll { // the probe's success meant nothing
		t.Error("one failure after a probe did not open it again")
	}
	if s := f.status(); !s.Since.Equal(f.now) || s.Probe.Sub(f.now) < firstWait {
		t.Errorf("opened again with %+v at %s: the wait must have doubled", s, f.now)
	}
	f.pass(2 * firstWait)
	f.asks(f.b, false, true)
	f.b.probe(ctx, func(context.Context) error { return nil })
	f.asks(f.a, false, false)
	f.a.Succeeded(ctx)
	if got := f.redis.HGet("clipferry:{breaker:s3}", "failures") + f.redis.HGet("clipferry:{breaker:s3}", "wait"); got != "" {
		t.Errorf("something is left of an outage that is over: %s", got)
	}
	f.pass(keep + time.Second)
	if f.redis.Exists("clipferry:{breaker:s3}") {
		t.Error("something is left of a fleet that is gone")
	}
}

func TestRareFailuresAreNoOutage(t *testing.T) {
	f := newFleet(t)
	for range 3 * threshold {
		if f.a.Failed(t.Context(), 0) != OpenedForNobody {
			t.Fatal("opened")
		}
		f.pass(keep + time.Second)
	}
}

func TestTheWaitThatIsAskedForIsHonored(t *testing.T) {
	f := newFleet(t)
	for range threshold {
		f.a.Failed(t.Context(), time.Hour)
	}
	if got := f.status().Probe.Sub(f.now); got != maxAsked {
		t.Errorf("next probe in %s", got)
	}
}

// The rest runs on a real Redis, in real time, and asserts on none.

func TestThoseWhoWaitGoOnOnceItIsBack(t *testing.T) {
	s := redistest.Start(t)
	breakers := []*Breaker{New(s.Client(), "s3"), New(s.Client(), "s3")}
	for range threshold {
		breakers[0].Failed(t.Context(), 0)
	}
	var probes, atOnce atomic.Int32
	back := make(chan struct{})
	probe := func(context.Context) error {
		if atOnce.Add(1) > 1 {
			t.Error("two probes at once")
		}
		defer atOnce.Add(-1)
		if probes.Add(1) < 2 {
			return errDown
		}
		select {
		case <-back:
		default:
			close(back)
		}
		return nil
	}
	through := make(chan error)
	for n := range 16 {
		go func() {
			_, err := breakers[n%2].Wait(t.Context(), probe)
			through <- err
		}()
	}
	for range 16 {
		if err := <-through; err != nil {
			t.Error(err)
		}
		select {
		case <-back:
		default:
			t.Error("let through before the server was back")
		}
	}
	if n := probes.Load(); n != 2 {
		t.Errorf("%d probes", n)
	}
}

func TestTheEndOfTheContextEndsTheWait(t *testing.T) {
	s := redistest.Start(t)
	b := New(s.Client(), "s3")
	for range threshold {
		b.Failed(t.Context(), time.Minute)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := b.Wait(ctx, func(context.Context) error { return nil })
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestWithoutRedisNobodyIsStopped(t *testing.T) {
	s := redistest.Start(t)
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, DialerRetries: 1})
	defer rdb.Close()
	b := New(rdb, "s3")
	for range threshold {
		b.Failed(t.Context(), time.Minute)
	}
	s.Kill()
	waited, err := b.Wait(t.Context(), func(context.Context) error { t.Error("a probe"); return nil })
	if waited || err != nil {
		t.Errorf("waited: %t; %v", waited, err)
	}
	b.Succeeded(t.Context())
	if b.Failed(t.Context(), 0) != OpenedForNobody {
		t.Error("opened without Redis")
	}
	if _, err := b.Status(t.Context()); err == nil {
		t.Error("a status without Redis")
	}
}
