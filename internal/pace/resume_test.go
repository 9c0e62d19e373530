package pace

import (
	"testing"
	"time"
)

// TestResumeLetsOneRequestThrough that nothing else would.
func TestResumeLetsOneRequestThrough(t *testing.T) {
	a := newAccount()
	a.Resume(a.now)
	if a.Gate.Halted() != (Halt{}) {
		t.Fatalf("%+v", a.Gate.Halted())
	}
	a.send(submitOf("a"), Outcome{Result: NotUnderstood})
	a.send(submitOf("b"), Outcome{Result: NotUnderstood})
	for _, o := range []Outcome{{Result: NotUnderstood}, accepted} {
		a.now = a.now.Add(24 * time.Hour)
		a.Join("c", submitOf("c"), a.now)
		if c := a.Next(a.now); c.Waiter != "" || c.At != Never {
			t.Fatalf("%+v", c)
		}
		if starts := a.Starts(a.now, []int{0}); starts[0] > time.Hour {
			t.Errorf("starts in %v", starts[0])
		}
		a.Resume(a.now)
		if c := a.Next(a.now); c.Waiter != "c" {
			t.Fatalf("%+v", c)
		}
		a.Finish("c", a.Claim("c", a.now), o, a.now, 0.5)
		if halted := a.Gate.Halted().Why != ""; halted == o.Accepted {
			t.Errorf("halted after %+v: %v", o, halted)
		}
	}
}

// TestAnOperatorsWordIsForOneOrder that is sent: not for one that costs nothing, and not
// for a second one, whatever becomes of the first.
func TestAnOperatorsWordIsForOneOrder(t *testing.T) {
	for name, c := range map[string]struct {
		first Outcome
		again bool // another may go
	}{
		"not sent":            {Outcome{Result: NotSent}, true},
		"over a limit":        {Outcome{Result: Refused}, true},
		"a wrong request":     {Outcome{Result: Answered}, true},
		"not understood":      {Outcome{Result: NotUnderstood}, false},
		"in doubt":            {Outcome{Result: InDoubt}, false},
		"out of units":        {Outcome{Result: OutOfUnits}, false},
		"refused for nothing": {refusedAs("c", "no"), false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount()
			a.Join("under way", submitOf("x"), a.now)
			underWay := a.Claim("under way", a.now)
			a.send(submitOf("a"), Outcome{Result: NotUnderstood})
			a.send(submitOf("b"), Outcome{Result: NotUnderstood})
			a.Finish("under way", underWay, c.first, a.now, 0.5) // sent before, and no operator's
			later := func() string {
				a.now = a.now.Add(time.Hour)
				return a.Next(a.now).Waiter
			}
			a.Join("c", submitOf("c"), a.now)
			a.Join("d", submitOf("d"), a.now)
			if id := later(); id != "" {
				t.Fatalf("%s goes by itself", id)
			}
			a.Resume(a.now)
			id := a.Next(a.now).Waiter
			turn := a.Claim(id, a.now)
			if second := later(); second != "" {
				t.Fatalf("%s goes beside it, or after its worker died", second)
			}
			a.Finish(id, turn, c.first, a.now, 0.5)
			if again := later() != ""; again != c.again {
				t.Errorf("another goes: %v", again)
			}
		})
	}
}

// TestAnOperatorsWordIsForExports: what a client passes through meanwhile neither uses it
// up nor ends the halt.
func TestAnOperatorsWordIsForExports(t *testing.T) {
	for _, o := range []Outcome{accepted, {Result: Answered}} {
		a := newAccount()
		a.send(submitOf("a"), Outcome{Result: NotUnderstood})
		a.send(submitOf("b"), Outcome{Result: NotUnderstood})
		a.Resume(a.now)
		a.send(Waiter{Export: PassedPrefix + "q", Kind: Submit}, o)
		if h := a.Gate.Halted(); !h.byWord() || h.Probe > a.now {
			t.Errorf("after %+v: %+v", o, h)
		}
	}
}

// TestPassedReadsProbeEverMoreSeldom, as those of exports do, while the provider is down.
func TestPassedReadsProbeEverMoreSeldom(t *testing.T) {
	a := newAccount()
	for range 9 {
		a.send(Waiter{Export: PassedPrefix + "q", Kind: Read}, Outcome{Result: Failed})
	}
	if h := a.Gate.Halted(); h.Why != HaltDown || h.Probe.Sub(a.now) < 30*time.Second {
		t.Errorf("%+v, the next probe after %s", h, h.Probe.Sub(a.now))
	}
}
