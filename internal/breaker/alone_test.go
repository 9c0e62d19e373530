package breaker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/redistest"
)

func succeeds(context.Context) error { return nil }

func fails(context.Context) error { return errDown }

// One process that can't reach the server stops itself, not those that can.
func TestAProcessThatFailsAloneStopsItselfOnly(t *testing.T) {
	f := newFleet(t)
	ctx := t.Context()
	f.asks(f.b, false, false) // it is there
	for n := range 3 * threshold {
		want := OpenedForNobody
		if n == threshold-1 {
			want = OpenedHere
		}
		if got := f.a.Failed(ctx, 0); got != want {
			t.Fatalf("failure %d: %v", n+1, got)
		}
	}
	f.asks(f.b, false, false)
	if f.status().Open {
		t.Error("the fleet was stopped")
	}
	if wait, probe := f.a.self.ask(f.now); wait != firstWait || probe {
		t.Errorf("the one that fails: wait %s, probe %t", wait, probe)
	}
	f.pass(firstWait)
	if _, probe := f.a.self.ask(f.now); !probe {
		t.Error("it may not look whether it has become better")
	}
	f.a.probeAlone(ctx, fails)
	if wait, probe := f.a.self.ask(f.now); wait != 2*firstWait || probe {
		t.Errorf("after a probe that failed: wait %s, probe %t", wait, probe)
	}
	f.pass(2 * firstWait)
	f.b.Succeeded(ctx)
	f.a.probeAlone(ctx, succeeds)
	if wait, _ := f.a.self.ask(f.now); wait != 0 {
		t.Errorf("after one that succeeded: wait %s", wait)
	}
	if got := f.a.Failed(ctx, 0); got != OpenedHere {
		t.Errorf("one failure after it: %v", got)
	}
	f.a.Succeeded(ctx)
	if got := f.a.Failed(ctx, 0); got != OpenedForNobody {
		t.Errorf("one failure after a success: %v", got)
	}
}

// Once the others fail as well, the server is down for all; and an idle process,
// of which nobody has heard for a while, is no proof that it is not.
func TestTheLastThatFailsOpensItForAll(t *testing.T) {
	f := newFleet(t)
	ctx := t.Context()
	f.asks(f.b, false, false)
	for range threshold {
		f.a.Failed(ctx, 0)
	}
	if f.b.Failed(ctx, 0); f.status().Open {
		t.Error("opened before a failure of them all in a row")
	}
	if got := f.a.Failed(ctx, 0); got != OpenedForAll {
		t.Errorf("when all had failed: %v", got)
	}

	f = newFleet(t)
	f.asks(f.b, false, false)
	f.pass(signFor + time.Second)
	f.open()
}

// What a process did not reach is tried by another one next, if one waits.
func TestProbesGoRound(t *testing.T) {
	f := newFleet(t)
	ctx := t.Context()
	f.open()
	f.pass(firstWait)
	f.asks(f.a, false, true)
	f.a.probe(ctx, fails)
	f.pass(f.status().Probe.Sub(f.now))
	f.asks(f.a, true, false)
	f.pass(lookEvery)
	f.asks(f.a, true, false)
	f.asks(f.b, false, true)
	f.b.probe(ctx, fails)
	f.pass(f.status().Probe.Sub(f.now))
	f.asks(f.a, false, true) // its turn again
	f.a.probe(ctx, fails)
	f.pass(f.status().Probe.Sub(f.now))
	f.asks(f.a, true, false)
	f.pass(lookEvery + lookEvery/10)
	f.asks(f.a, false, true) // nobody else came
}

func TestAProcessThatFailsAloneGoesOnOnceItReachesTheServer(t *testing.T) {
	s := redistest.Start(t)
	good, bad := New(s.Client(), "s3"), New(s.Client(), "s3")
	good.Succeeded(t.Context())
	for range threshold {
		bad.Failed(t.Context(), 0)
	}
	if waited, err := good.Wait(t.Context(), fails); waited || err != nil {
		t.Errorf("the one that reaches it waited: %t, %v", waited, err)
	}
	tries := 0
	for {
		waited, err := bad.Wait(t.Context(), func(context.Context) error {
			if tries++; tries < 2 {
				return errDown
			}
			return nil
		})
		if err == nil {
			break
		}
		if !waited || !errors.Is(err, ErrHere) || tries > 1 {
			t.Fatalf("waited %t, %v, after %d probes", waited, err, tries)
		}
	}
	if tries != 2 {
		t.Errorf("%d probes", tries)
	}
}
