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

// Of a refused key nothing is known of what else was halted: where an order may have been
// paid for in vain, a read goes first.
func TestAReadGoesFirstWhereTheKeyWasRefused(t *testing.T) {
	for _, under := range []string{HaltDoubts, HaltAnswers, HaltAnswers + " of reads"} {
		a := newAccount()
		a.now = a.now.Add(time.Minute)
		halts[under].answers(a)
		a.now = a.now.Add(2 * time.Hour)
		halts[HaltForbidden].answers(a)
		a.Join("order", submitOf("o"), a.now)
		a.now = a.now.Add(time.Hour)
		if c := a.Next(a.now); c.Waiter == "order" || !a.ReadsProbe() {
			t.Errorf("%s: %+v", under, c)
		}
	}
}

// Orders that are lost one after the other are doubts also where orders were halted before.
func TestDoubtsTakeThePlaceOfAnotherHalt(t *testing.T) {
	for under, want := range map[string]string{HaltUnits: HaltDoubts, HaltRefusals: HaltDoubts, HaltAnswers: HaltAnswers} {
		a := newAccount()
		halts[under].answers(a)
		for _, p := range []string{"p", "q", "r"} {
			a.send(submitOf(p), Outcome{Result: InDoubt})
		}
		if got := a.Gate.Halts[orders].Why; got != want {
			t.Errorf("under %s: %s", under, got)
		}
	}
}

// Orders that wait for a halt to end leave their slots to what is passed through.
func TestHaltedOrdersReserveNoSlots(t *testing.T) {
	s, now := NewState(Limits{PerMinute: 15, Slots: 2}), Instant(1_700_000_000_000_000)
	s.Create(now)
	now = now.Add(time.Hour)
	for _, id := range []string{"a", "b"} {
		s.Join(id, Waiter{Export: id, Project: id, Kind: Submit, Stage: Unslotted, Worker: "w"}, now)
	}
	for range 2 {
		c := s.Next(now)
		s.Reserve(c.Waiter, now)
		s.Ready(c.Waiter)
	}
	s.RecallOdd("x", now, now)
	s.RecallOdd("y", now, now)
	s.Join("p", Waiter{Export: PassedPrefix + "p", Kind: Submit, Stage: Unslotted, Worker: "w"}, now)
	if c := s.Next(now.Add(time.Minute)); c.Waiter != "p" {
		t.Errorf("%+v", c)
	}
}

// A probe whose turn is given back is one of the halt that it was for: not an operator's
// word for another that began meanwhile.
func TestATurnGivenBackIsNoWord(t *testing.T) {
	a := newAccount()
	halts[HaltUnits].answers(a)
	a.now = a.now.Add(time.Hour)
	a.Join("p", submitOf("p"), a.now)
	turn := a.Claim("p", a.now)
	a.now = a.now.Add(time.Second)
	a.RecallOdd("x", a.now, a.now)
	a.RecallOdd("y", a.now, a.now)
	a.Finish("p", turn, Outcome{Result: Refused}, a.now, 0.5)
	if h := a.Gate.Halts[orders]; h.Why != HaltAnswers || h.Probe != Never {
		t.Errorf("%+v", h)
	}
}
