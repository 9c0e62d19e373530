package pace

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// account sends one request after the other, ten seconds apart.
type account struct {
	*State
	now Instant
	n   int
}

func newAccount() *account {
	a := &account{State: NewState(Limits{PerMinute: 600, Slots: 50}), now: 1_700_000_000_000_000}
	a.Create(a.now)
	a.now = a.now.Add(time.Hour)
	return a
}

// send lets the waiter send at once, whether or not it is its turn.
func (a *account) send(w Waiter, o Outcome) Verdict {
	a.n++
	id := fmt.Sprint(a.n)
	a.now = a.now.Add(10 * time.Second)
	a.Join(id, w, a.now)
	return a.Finish(id, a.Claim(id, a.now), o, a.now, 0.5)
}

func submitOf(project string) Waiter {
	return Waiter{Export: "x of " + project, Project: project, Kind: Submit}
}
func readOf(export string) Waiter { return Waiter{Export: export, Kind: Read} }

// refusedAs is a refusal in words that name neither a field nor the project.
func refusedAs(project, words string) Outcome {
	return Outcome{Unspecific: Refusal{Project: project, Words: words}}
}

var accepted = Outcome{Accepted: true}

// TestWhatHalts says after which answers which halt is on.
func TestWhatHalts(t *testing.T) {
	type answer struct {
		w Waiter
		o Outcome
	}
	submit := func(project string, r Result) answer { return answer{submitOf(project), Outcome{Result: r}} }
	read := func(export string, r Result) answer { return answer{readOf(export), Outcome{Result: r}} }
	accept := answer{submitOf("good"), accepted}
	passed := func(k Kind, r Result) answer {
		return answer{Waiter{Export: PassedPrefix + "q", Kind: k}, Outcome{Result: r, Accepted: r == Answered}}
	}
	neutral := func(k Kind) answer {
		return answer{Waiter{Export: PassedPrefix + "q", Kind: k}, Outcome{Neutral: true}}
	}
	odd := func(export, status string) answer {
		return answer{readOf(export), Outcome{Odd: true, Status: status, Ended: status == ""}}
	}
	ended := func(export string) answer { return answer{readOf(export), Outcome{Ended: true, Succeeded: true}} }
	ofUnits := func(project string, refused Instant) answer { // 1: it was refused before
		w := submitOf(project)
		w.Refused = refused
		return answer{w, Outcome{Result: OutOfUnits, Unspecific: Refusal{Project: project, Words: "no units"}}}
	}
	alike := func(project, words string) answer { return answer{submitOf(project), refusedAs(project, words)} }
	notUnderstood := []answer{submit("a", NotUnderstood), submit("b", NotUnderstood)} // and then an outage
	for range breakAfter {
		notUnderstood = append(notUnderstood, read("r", Failed))
	}
	notUnderstood = slices.Clip(notUnderstood)
	var down []answer
	for range breakAfter {
		down = append(down, read("r", Failed))
	}
	down = slices.Clip(down)
	for name, c := range map[string]struct {
		answers []answer
		why     string
		orders  bool
	}{
		"out of units again, others accepted between": {[]answer{ofUnits("a", 0), accept, ofUnits("a", 1)}, "", false},
		"… and another project then":                  {[]answer{ofUnits("a", 0), accept, ofUnits("a", 1), ofUnits("b", 0)}, HaltUnits, true},
		"out of units again, and none accepted":       {[]answer{ofUnits("a", 0), ofUnits("a", 1)}, HaltUnits, true},
		"out of units":                                {[]answer{submit("a", OutOfUnits)}, HaltUnits, true},
		"… and a read answered well":                  {[]answer{submit("a", OutOfUnits), read("r", Answered)}, HaltUnits, true},
		"… and a submit refused for its own reason":   {[]answer{submit("a", OutOfUnits), submit("b", Answered)}, HaltUnits, true},
		"… and a submit refused for none":             {[]answer{submit("a", OutOfUnits), alike("b", "no")}, HaltUnits, true},
		"… and one read that fails":                   {[]answer{submit("a", OutOfUnits), read("r", Failed)}, HaltUnits, true},
		"… and one accepted":                          {[]answer{submit("a", OutOfUnits), accept}, "", false},
		"a refused key, and then no units":            {[]answer{submit("a", Forbidden), submit("a", OutOfUnits)}, HaltUnits, true},
		"… and one passed through that is accepted":   {[]answer{submit("a", OutOfUnits), passed(Submit, Answered)}, HaltUnits, true},
		"a refused key, and one passed through":       {[]answer{submit("a", Forbidden), passed(Submit, Answered)}, "", false},
		"a refused key, and a read answered well":     {[]answer{submit("a", Forbidden), read("r", Answered)}, "", false},

		"a refused key, and a neutral answer":       {[]answer{submit("a", Forbidden), neutral(Read), neutral(Submit)}, HaltForbidden, false},
		"nothing answers, but to one call":          {append(down, neutral(Other), neutral(Read)), HaltDown, false},
		"nothing answers, with one neutral between": {append(slices.Clone(down[1:]), neutral(Other), down[0]), HaltDown, false},

		"one submit not understood":                  {[]answer{submit("a", NotUnderstood)}, "", false},
		"two":                                        {[]answer{submit("a", NotUnderstood), submit("b", NotUnderstood)}, HaltAnswers, true},
		"… whatever reads say":                       {[]answer{submit("a", NotUnderstood), read("r", Answered), submit("b", NotUnderstood), read("r", Answered)}, HaltAnswers, true},
		"… with one accepted between":                {[]answer{submit("a", NotUnderstood), accept, submit("b", NotUnderstood)}, "", false},
		"… and one accepted after":                   {[]answer{submit("a", NotUnderstood), submit("b", NotUnderstood), accept}, "", false},
		"… of one export":                            {[]answer{submit("a", NotUnderstood), submit("a", NotUnderstood)}, HaltAnswers, true},
		"… and no units, by one that was under way":  {[]answer{submit("a", NotUnderstood), submit("b", NotUnderstood), submit("c", OutOfUnits)}, HaltAnswers, true},
		"… and an outage that is over":               {append(notUnderstood, answer{readOf("r"), Outcome{}}), HaltAnswers, true},
		"… or over by a limit that is reached":       {append(notUnderstood, read("r", Refused)), HaltAnswers, true},
		"… and no units while it lasts":              {append(notUnderstood, submit("c", OutOfUnits)), HaltAnswers, true},
		"… and the key was refused for a while":      {[]answer{submit("a", NotUnderstood), submit("b", NotUnderstood), read("r", Forbidden), read("r", Answered)}, HaltAnswers, true},
		"… and an outage, and one accepted":          {append(notUnderstood, accept), "", false},
		"no units, and an outage that is over":       {[]answer{submit("a", OutOfUnits), read("r", Failed), read("r", Failed), read("r", Failed), read("r", Failed), read("r", Failed), read("r", Answered)}, HaltUnits, true},
		"… with one passed through between":          {[]answer{submit("a", NotUnderstood), passed(Submit, Answered), submit("b", NotUnderstood)}, HaltAnswers, true},
		"… and one passed through after":             {[]answer{submit("a", NotUnderstood), submit("b", NotUnderstood), passed(Submit, Answered)}, HaltAnswers, true},
		"one export's reads not understood":          {[]answer{read("r", NotUnderstood), read("r", NotUnderstood)}, "", false},
		"two exports'":                               {[]answer{read("r", NotUnderstood), read("s", NotUnderstood)}, HaltAnswers, false},
		"… with another understood between":          {[]answer{read("r", NotUnderstood), read("q", Answered), read("s", NotUnderstood)}, "", false},
		"… with one passed through between or after": {[]answer{read("r", NotUnderstood), passed(Read, Answered), read("s", NotUnderstood), passed(Read, Answered)}, HaltAnswers, false},
		"… and one understood after":                 {[]answer{read("r", NotUnderstood), read("s", NotUnderstood), read("r", Answered)}, "", false},
		"a read and a submit, each once":             {[]answer{read("r", NotUnderstood), submit("a", NotUnderstood)}, "", false},
		"one export's result odd":                    {[]answer{odd("r", "DONE"), odd("r", "DONE")}, "", false},
		"two exports' results odd":                   {[]answer{odd("r", "DONE"), odd("s", "")}, HaltResults, true},
		"… and a third in progress":                  {[]answer{odd("r", "DONE"), odd("s", "DONE"), read("q", Answered)}, HaltResults, true},
		"… and one of them understood":               {[]answer{odd("r", "DONE"), odd("s", "DONE"), read("s", Answered)}, "", false},
		"… and another ended":                        {[]answer{odd("r", "DONE"), odd("s", "DONE"), ended("q")}, "", false},
		"… with another ended between":               {[]answer{odd("r", "DONE"), ended("q"), odd("s", "DONE")}, "", false},
		"a new status that was seen to pass":         {[]answer{odd("r", "NEW"), ended("r"), odd("s", "NEW"), odd("q", "NEW")}, "", false},
		"a form that was mended once, and changes":   {[]answer{odd("r", ""), ended("r"), odd("s", ""), odd("q", "")}, HaltResults, true},
		"three projects refused alike":               {[]answer{alike("a", "no"), alike("b", "no"), alike("c", "no")}, HaltRefusals, true},
		"two projects":                               {[]answer{alike("a", "no"), alike("b", "no"), alike("a", "no"), alike("b", "no")}, "", false},
		"three in other words":                       {[]answer{alike("a", "no"), alike("b", "nay"), alike("c", "no")}, "", false},
		"three with one accepted between":            {[]answer{alike("a", "no"), alike("b", "no"), accept, alike("c", "no")}, "", false},
		"three with one's own reason between":        {[]answer{alike("a", "no"), alike("b", "no"), submit("d", Answered), alike("c", "no")}, HaltRefusals, true},
		"three, and one accepted":                    {[]answer{alike("a", "no"), alike("b", "no"), alike("c", "no"), accept}, "", false},
		"two submits in doubt":                       {[]answer{submit("a", InDoubt), submit("b", InDoubt)}, "", false},
		"three, with reads answered well":            {[]answer{submit("a", InDoubt), read("r", Answered), submit("b", InDoubt), read("r", Answered), submit("c", InDoubt), read("r", Answered)}, HaltDoubts, true},
		"three in doubt with one accepted between":   {[]answer{submit("a", InDoubt), submit("b", InDoubt), accept, submit("c", InDoubt)}, "", false},
		"… with others passed through between":       {[]answer{submit("a", InDoubt), passed(Submit, Answered), submit("b", InDoubt), passed(Submit, Answered), submit("c", InDoubt)}, HaltDoubts, true},
		"three passed through in doubt":              {[]answer{passed(Submit, InDoubt), passed(Submit, InDoubt), passed(Submit, InDoubt)}, "", false},
		"five submits in doubt and nothing else":     {[]answer{submit("a", InDoubt), submit("b", InDoubt), submit("c", InDoubt), submit("d", InDoubt), submit("e", InDoubt)}, HaltDown, false},
		"five reads that fail while without units":   {[]answer{submit("a", OutOfUnits), read("r", Failed), read("r", Failed), read("r", Failed), read("r", Failed), read("r", Failed)}, HaltDown, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount()
			for _, x := range c.answers {
				a.send(x.w, x.o)
			}
			if h := a.Gate.Halted(); h.Why != c.why || h.Orders != c.orders {
				t.Errorf("halted for %q, orders alone: %v", h.Why, h.Orders)
			}
		})
	}
}

// TestOrdersHaltAlone has reads go on while submits are halted, and one submit at
// a time try, ever more seldom.
func TestOrdersHaltAlone(t *testing.T) {
	for _, c := range []struct {
		why          Result
		least, most  int // probes in the first two hours
		firstAtLeast time.Duration
	}{
		{OutOfUnits, 50, 70, 10 * time.Second},
		{NotUnderstood, 0, 0, 0}, // each may be paid for
	} {
		a := newAccount()
		a.send(submitOf("a"), Outcome{Result: c.why})
		a.send(submitOf("b"), Outcome{Result: c.why})
		a.Join("read", readOf("r"), a.now)
		if got := a.Next(a.now); got.Waiter != "read" {
			t.Errorf("%v: a read doesn't go: %+v", c.why, got)
		}
		a.Leave("read")
		began, probes := a.now, 0
		for _, id := range []string{"c", "d", "e"} {
			w := submitOf(id)
			w.Stage = Unslotted
			a.Join(id, w, a.now)
		}
		for a.now < began.Add(2*time.Hour) {
			got := a.Next(a.now)
			if got.Waiter == "" {
				a.now = max(a.now.Add(time.Second), min(got.At, a.now.Add(time.Minute)))
				continue
			}
			if w := a.Waiters[got.Waiter]; w.Stage == Unslotted {
				a.Reserve(got.Waiter, a.now)
				if second := a.Next(a.now); second.Waiter != "" {
					t.Fatalf("%v: a second prepares to be the probe", c.why)
				}
				a.Ready(got.Waiter)
				continue
			}
			if probes++; probes == 1 && a.now.Sub(began) < c.firstAtLeast {
				t.Errorf("%v: the first probe goes after %v", c.why, a.now.Sub(began))
			}
			w := *a.Waiters[got.Waiter]
			w.Stage, w.Joined = Unslotted, 0
			turn := a.Claim(got.Waiter, a.now)
			if second := a.Next(a.now); second.Waiter != "" {
				t.Fatalf("%v: two probes at once", c.why)
			}
			a.now = a.now.Add(time.Second)
			a.Finish(got.Waiter, turn, Outcome{Result: c.why}, a.now, 0.5)
			a.Release(w.Export)
			a.Join(got.Waiter, w, a.now)
		}
		if probes < c.least || probes > c.most {
			t.Errorf("%v: %d probes in two hours", c.why, probes)
		}
	}
}

// TestOrdersInDoubtWaitForARead before the next one is sent: it may be paid for in vain.
func TestOrdersInDoubtWaitForARead(t *testing.T) {
	a := newAccount()
	for _, p := range []string{"a", "b", "c"} {
		a.send(readOf("r"), Outcome{})
		a.send(submitOf(p), Outcome{Result: InDoubt})
	}
	a.Join("d", submitOf("d"), a.now)
	a.now = a.Gate.Halted().Probe.Add(time.Hour)
	if c := a.Next(a.now); c.Waiter != "" || !a.ReadsProbe() {
		t.Fatalf("%+v goes before a read was answered", c)
	}
	a.send(readOf("r"), Outcome{})
	if c := a.Next(a.now); c.Waiter != "d" || a.ReadsProbe() {
		t.Errorf("%+v goes", c)
	}
}

// TestAnotherProjectIsTheProbe when those of some are refused alike.
func TestAnotherProjectIsTheProbe(t *testing.T) {
	a := newAccount()
	for _, p := range []string{"a", "b", "c"} {
		a.send(submitOf(p), refusedAs(p, "no"))
	}
	for i, p := range []string{"a", "b", "c", "d"} { // d is the last in line
		w := submitOf(p)
		w.Since = a.now.Add(time.Duration(i) * time.Second)
		a.Join(p, w, a.now)
	}
	for _, want := range []string{"d", "a", "b", "c"} { // then the one that was refused longest ago
		a.now = a.Gate.Halted().Probe
		got := a.Next(a.now)
		if got.Waiter != want {
			t.Fatalf("the probe is of %q, want %q", got.Waiter, want)
		}
		w := *a.Waiters[want]
		a.Finish(want, a.Claim(want, a.now), refusedAs(want, "no"), a.now, 0.5)
		w.Joined = 0
		a.Join(want, w, a.now)
	}
}

// TestAnotherProjectAsksForUnits before the one that was refused, though it is first
// in line.
func TestAnotherProjectAsksForUnits(t *testing.T) {
	a := newAccount()
	a.send(submitOf("a"), Outcome{Result: OutOfUnits, Unspecific: Refusal{Project: "a", Words: "no units"}})
	for i, p := range []string{"a", "b"} {
		w := submitOf(p)
		w.Since = a.now.Add(time.Duration(i) * time.Second)
		a.Join(p, w, a.now)
	}
	if got := a.Next(a.Gate.Halted().Probe); got.Waiter != "b" {
		t.Errorf("the probe is of %q", got.Waiter)
	}
}

// TestARefusalIsTheExportsOwn says when a second one ends an export.
func TestARefusalIsTheExportsOwn(t *testing.T) {
	type test struct {
		between func(a *account)
		rest    time.Duration
		final   bool
	}
	for name, c := range map[string]test{
		"another was accepted since":   {func(a *account) { a.send(submitOf("good"), accepted) }, 0, true},
		"none was there, for a minute": {func(*account) {}, time.Minute, true},
		"none was there, for a moment": {func(*account) {}, 0, false},
		"others are refused alike":     {func(a *account) { a.send(submitOf("c"), refusedAs("c", "no")) }, time.Hour, false},
		"the account is out of units":  {func(a *account) { a.send(submitOf("c"), Outcome{Result: OutOfUnits}) }, time.Hour, false},
		"one that was sent before was accepted": {func(a *account) {
			a.Finish("early", Turn{Export: "early", Began: a.now.Add(-time.Second)}, accepted, a.now.Add(time.Second), 0)
		}, 0, false},
		"alike, and then one was taken": {func(a *account) { a.send(submitOf("c"), refusedAs("c", "no")); a.send(submitOf("d"), accepted) }, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount()
			a.send(submitOf("b"), refusedAs("b", "no"))
			v := a.send(submitOf("a"), refusedAs("a", "no"))
			if v.Final || v.Refused != a.now {
				t.Fatalf("the first refusal: %+v", v)
			}
			c.between(a)
			a.now = a.now.Add(c.rest)
			w := submitOf("a")
			w.Refused = v.Refused
			if v := a.send(w, refusedAs("a", "no")); v.Final != c.final {
				t.Errorf("final: %v", v.Final)
			}
		})
	}
}

// TestRefusedWaitForAnother has an export that was refused stand aside until
// another was accepted, or for a minute.
func TestRefusedWaitForAnother(t *testing.T) {
	a := newAccount()
	v := a.send(submitOf("a"), refusedAs("a", "no"))
	w := submitOf("a")
	w.Refused, w.Since = v.Refused, 1
	a.Join("a", w, a.now)
	if c := a.Next(a.now); c.Waiter != "" || c.At != v.Refused.Add(refusedRest) {
		t.Fatalf("alone: %+v", c)
	}
	a.Join("b", submitOf("b"), a.now)
	c := a.Next(a.now)
	if c.Waiter != "b" {
		t.Fatalf("with another: %+v", c)
	}
	a.now = a.now.Add(time.Second)
	a.Finish("b", a.Claim("b", a.now), accepted, a.now.Add(time.Second), 0)
	a.now = a.now.Add(2 * time.Second)
	if c := a.Next(a.now); c.Waiter != "a" {
		t.Fatalf("after another was accepted: %+v", c)
	}
}

// TestRefusalsAreBounded holds that the state remembers only so many.
func TestRefusalsAreBounded(t *testing.T) {
	a := newAccount()
	for i := range 100 {
		p := fmt.Sprint(i)
		a.send(submitOf(p), refusedAs(p, "no"))
	}
	if n := len(a.Gate.Signs.Refusals); n != refusalsKept {
		t.Errorf("%d are remembered", n)
	}
}

// Answers are lost for seconds when a network fails. What may be paid for in vain is
// tried again within a minute then, and ever more seldom if it goes on.
func TestLostAnswersHaltOrdersForLessThanAMinute(t *testing.T) {
	s := NewState(Limits{PerMinute: 15})
	s.halt(HaltDoubts, orders, 0, 1)
	if first := s.Gate.Halted().Probe; first > Instant(0).Add(time.Minute) {
		t.Errorf("the first probe comes after %v", time.Duration(first))
	}
	for range 20 {
		s.halt(HaltDoubts, orders, 0, 0)
	}
	if last := s.Gate.Halted().Probe; last < Instant(0).Add(45*time.Minute) {
		t.Errorf("the 20th probe comes after %v", time.Duration(last))
	}
}

// TestARecalledAnswerCountsOnce, however often it is recalled, and not after an order
// that was accepted since.
func TestARecalledAnswerCountsOnce(t *testing.T) {
	a := newAccount()
	a.RecallOdd("a", a.now, a.now)
	a.RecallOdd("a", a.now, a.now)
	if a.Gate.Halted().Why != "" {
		t.Fatalf("one answer halts: %+v", a.Gate.Halted())
	}
	before := a.now
	a.now = a.now.Add(time.Minute)
	a.send(submitOf("good"), accepted)
	a.RecallOdd("b", before, a.now)
	a.RecallOdd("c", before, a.now)
	if a.Gate.Halted().Why != "" {
		t.Fatalf("answers from before an acceptance halt: %+v", a.Gate.Halted())
	}
	a.RecallOdd("b", a.now, a.now)
	a.RecallOdd("c", a.now, a.now)
	if a.Gate.Halted().Why != HaltAnswers {
		t.Errorf("halted by %q", a.Gate.Halted().Why)
	}
	a.Resume(a.now) // an operator's word waits for an order
	for _, export := range []string{"b", "c"} {
		a.RecallOdd(export, a.now, a.now)
	}
	if a.Gate.Halted().Probe != a.now {
		t.Errorf("answers that are known take back an operator's word: %+v", a.Gate.Halted())
	}
	a.halt(HaltDown, everything, a.now, 0)
	a.RecallOdd("b", a.now, a.now)
	if a.Gate.Halted().Why != HaltDown || a.Gate.Halts[orders].Probe != a.now {
		t.Errorf("%+v, later %+v", a.Gate.Halted(), a.Gate.Halts[orders])
	}
}
