package pace

import (
	"testing"
	"time"
)

// halts are answers after which each halt is on, by what it halts.
var halts = map[string]struct {
	to      reach
	answers func(a *account)
}{
	HaltForbidden: {everything, func(a *account) { a.send(readOf("r"), Outcome{Result: Forbidden}) }},
	HaltDown: {everything, func(a *account) {
		for range breakAfter {
			a.send(readOf("r"), Outcome{Result: Failed})
		}
	}},
	HaltAnswers + " of reads": {exports, func(a *account) {
		a.send(readOf("r"), Outcome{Result: NotUnderstood})
		a.send(readOf("s"), Outcome{Result: NotUnderstood})
	}},
	HaltAnswers: {orders, func(a *account) {
		a.send(submitOf("a"), Outcome{Result: NotUnderstood})
		a.send(submitOf("b"), Outcome{Result: NotUnderstood})
	}},
	HaltUnits: {orders, func(a *account) { a.send(submitOf("a"), Outcome{Result: OutOfUnits}) }},
	HaltRefusals: {orders, func(a *account) {
		for _, p := range []string{"a", "b", "c"} {
			a.send(submitOf(p), refusedAs(p, "no"))
		}
	}},
	HaltDoubts: {orders, func(a *account) {
		for _, p := range []string{"a", "b", "c"} {
			a.send(submitOf(p), Outcome{Result: InDoubt})
		}
	}},
	HaltResults: {orders, func(a *account) {
		a.send(readOf("r"), oddDone)
		a.send(readOf("s"), oddDone)
	}},
}

// TestAHaltReachesWhatItIsAbout: each request goes at once, unless a halt that reaches it is
// on. What clients pass through is neither reached by a halt of exports, nor its probe, nor
// its end, also beside an operator's word.
func TestAHaltReachesWhatItIsAbout(t *testing.T) {
	passed := func(k Kind) Waiter { return Waiter{Export: PassedPrefix + "q", Kind: k} }
	for name, c := range halts {
		for _, x := range []struct {
			what string
			w    Waiter
			by   reach // the halt that reaches least far of those that keep it back
		}{
			{"an order passed through", passed(Submit), everything},
			{"a read of one", passed(Read), everything},
			{"another call", passed(Other), everything},
			{"an export's read", readOf("t"), exports},
			{"an export's link", Waiter{Export: "t", Kind: Refresh}, exports},
			{"an import's first read", Waiter{Export: "import-t", Kind: Other}, exports},
			{"an export's order", submitOf("t"), orders},
		} {
			a := newAccount()
			c.answers(a)
			a.Join("w", x.w, a.now)
			if goes := a.Next(a.now).Waiter == "w"; goes == (c.to <= x.by) {
				t.Errorf("%s: %s goes: %v", name, x.what, goes)
			}
			a.Leave("w")
			if x.by > everything || c.to == everything {
				continue
			}
			a.Resume(a.now)
			was := a.Gate.Halts
			for _, o := range []Outcome{accepted, {}, {Neutral: true}, {Result: NotSent}, {Result: Refused}, {Result: InDoubt}, {Ended: true, Succeeded: true}, {Result: NotUnderstood}} {
				a.send(x.w, o)
				if a.Gate.Halts != was {
					t.Errorf("%s: %s, %+v: %+v", name, x.what, o, a.Gate.Halts)
				}
			}
		}
	}
}

// TestAKeyThatIsTriedPaysForNoOrder that only an operator may let go.
func TestAKeyThatIsTriedPaysForNoOrder(t *testing.T) {
	a := newAccount()
	halts[HaltAnswers].answers(a)
	a.send(readOf("r"), Outcome{Result: Forbidden})
	a.Join("order", submitOf("c"), a.now)
	a.now = a.now.Add(time.Hour)
	if c := a.Next(a.now); c.Waiter != "" || !a.ReadsProbe() {
		t.Fatalf("%+v", c)
	}
	a.Join("read", readOf("r"), a.now)
	if c := a.Next(a.now); c.Waiter != "read" {
		t.Fatalf("%+v", c)
	}
	a.Finish("read", a.Claim("read", a.now), Outcome{}, a.now, 0.5)
	a.now = a.now.Add(time.Hour)
	if c := a.Next(a.now); c.Waiter != "" || a.Gate.Halted().Why != HaltAnswers {
		t.Errorf("%+v, %+v", c, a.Gate.Halted())
	}
}
