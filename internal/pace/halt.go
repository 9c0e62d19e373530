package pace

import (
	"iter"
	"slices"
	"time"
)

// Halt says why spending has stopped of what it reaches. One request of that is let
// through now and then, ever more seldom, or when an operator says so ([State.Resume]); one
// that is answered well ends the halt.
type Halt struct {
	// Why is one of the Halt constants, or empty.
	Why string `json:"why,omitempty"`
	// Orders says that only submits of exports are halted.
	Orders bool    `json:"orders,omitempty"`
	Since  Instant `json:"since,omitempty"`
	Probe  Instant `json:"probe,omitempty"` // when one request is let through
	Tries  int     `json:"tries,omitempty"`
}

// reach is how far a halt goes. Halts that reach differently far know nothing of each other.
type reach int

// What clients pass through is reached by nothing but a refused key and a provider that is
// down. It ends and probes no other halt either: it says nothing of how exports are ordered
// and read.
const (
	everything reach = iota
	exports          // their orders and reads
	orders           // of exports
)

// Why spending is halted: stable codes for programs. Of a halt that is for submits
// alone reads go on, and only an accepted submit ends it, or a result that of results.
const (
	HaltForbidden = "key_refused"            // the provider refuses the key
	HaltDown      = "provider_unavailable"   // the provider doesn't answer
	HaltUnits     = "out_of_units"           // submits: the account has none left
	HaltRefusals  = "orders_refused"         // submits: all refused in the same words
	HaltDoubts    = "orders_in_doubt"        // submits: the outcome of one after the other is unknown
	HaltAnswers   = "answers_not_understood" // of submits, which are paid for likewise; or of reads, then no export is ordered or read
	HaltResults   = "results_not_understood" // submits: those that are read end in a form that nobody knows
)

// HaltReasons are all of them.
var HaltReasons = [...]string{HaltForbidden, HaltDown, HaltUnits, HaltRefusals, HaltDoubts, HaltAnswers, HaltResults}

// probes says after how long the first probe goes, and the longest time between two.
type probes struct{ first, longest time.Duration }

// probing returns how a halt is probed. Orders that were paid for and whose answers
// nobody understands are not: an operator says when one may go. One whose outcome was
// unknown a few times may be paid for as well, but mostly the network failed for
// seconds, for which everybody else should not wait for minutes.
func probing(why string, orders bool) probes {
	switch {
	case why == HaltDown:
		return probes{5 * time.Second, time.Minute}
	case why == HaltDoubts:
		return probes{30 * time.Second, time.Hour}
	case why == HaltAnswers && orders:
		return probes{}
	case why == HaltResults: // its result comes long after it
		return probes{oddProbe, oddProbe}
	default:
		return probes{15 * time.Second, 2 * time.Minute}
	}
}

const (
	// breakAfter is how many requests without an answer in a row halt spending,
	// doubtsAfter how many submits in doubt without one accepted between halt submits.
	breakAfter, doubtsAfter = 5, 3
	// projectsAlike is how many projects in a row are refused in the same words
	// until it is believed to be the account's fault.
	projectsAlike = 3
	// OddOrders is how many submits in a row are accepted in a form that nobody
	// understands until there are no more.
	OddOrders = 2
	// refusalsKept bounds how many refusals are remembered.
	refusalsKept = 8
	// refusedRest is for how long a submit that was refused for no reason of its own
	// waits for another to be accepted.
	refusedRest = time.Minute
)

// Signs are what the last answers say of the account.
type Signs struct {
	// Accepted is when the submit was sent that was accepted last, Read when a read
	// was last answered well.
	Accepted Instant `json:"a,omitempty"`
	Read     Instant `json:"r,omitempty"`
	// Doubts counts the submits in doubt since one was accepted; the last was at Doubted.
	Doubts  int     `json:"d,omitempty"`
	Doubted Instant `json:"da,omitempty"`
	// OddSubmit and OddRead are the exports whose answers, the last of their kind,
	// weren't understood.
	OddSubmit string `json:"os,omitempty"`
	OddRead   string `json:"or,omitempty"`
	// OddResults are the exports whose last result has a form that nobody knows, the
	// latest last. Passing is a status of theirs that was seen to
	// pass.
	OddResults []oddResult `json:"ox,omitempty"`
	Passing    string      `json:"ps,omitempty"`
	// Refusals are those in the same words that may be the account's fault, since a
	// submit was accepted, one for each project, the latest last.
	Refusals []refused `json:"u,omitempty"`
}

type refused struct {
	Refusal
	At Instant `json:"t"`
}

// Refusal is a submit's refusal that may be the account's fault as well as the
// export's: it names neither a field nor the project, or speaks of units.
type Refusal struct {
	Project string `json:"p"`
	// Words are the same for all refusals in the same words, such as a hash.
	Words string `json:"w"`
}

// Verdict is what such a refusal comes to.
type Verdict struct {
	// Refused is when it came, to be given with the export's next submit.
	Refused Instant
	// Final says that it is the export's own fault: it was refused before, and the
	// account has accepted another since or has no other to compare with.
	Final bool
}

// byWord says whether only an operator lets a request through: each that was sent has
// been paid for.
func (h *Halt) byWord() bool { return h.Why == HaltAnswers && h.Orders }

// halt stops spending of what the halt reaches, but for a probe now and then. One that an
// operator ends is replaced by no other.
func (s *State) halt(why string, to reach, now Instant, dice float64) {
	h := &s.Gate.Halts[to]
	if h.byWord() && why != h.Why {
		return
	}
	s.touch(fieldGate, "")
	if h.Why != why {
		*h = Halt{Why: why, Orders: to == orders, Since: now}
	}
	p := probing(why, h.Orders)
	if h.Probe = Never; p.first == 0 {
		return
	}
	wait := min(p.longest, p.first<<min(h.Tries, 8))
	h.Tries++
	h.Probe = now.Add(time.Duration(float64(wait) * (0.8 + 0.4*dice)))
}

// Halted is the halt that reaches farthest, zero without one.
func (g *Gate) Halted() Halt {
	if h := g.farthest(orders); h != nil {
		return *h
	}
	return Halt{}
}

// HaltsPassed says whether what clients pass through is halted as well.
func (g *Gate) HaltsPassed() bool { return g.Halts[everything].Why != "" }

// farthest is the halt that reaches farthest of those that reach as far as to, or farther.
func (g *Gate) farthest(to reach) *Halt {
	for i := range g.Halts[:to+1] {
		if h := &g.Halts[i]; h.Why != "" {
			return h
		}
	}
	return nil
}

// haltOf is the halt that keeps such a request back, nil if none does.
func (g *Gate) haltOf(export string, k Kind) *Halt {
	switch {
	case Passed(export):
		return g.farthest(everything)
	case k == Submit:
		return g.farthest(orders)
	}
	return g.farthest(exports)
}

// halted says whether a halt keeps the waiter back.
func (s *State) halted(w *Waiter) bool { return s.Gate.haltOf(w.Export, w.Kind) != nil }

// going yields the waiters of a kind that no halt keeps back.
func (s *State) going(k Kind) iter.Seq2[string, *Waiter] {
	return func(yield func(string, *Waiter) bool) {
		for id, w := range s.Waiters {
			if w.Kind == k && !s.halted(w) && !yield(id, w) {
				return
			}
		}
	}
}

// Resume lets one request through, whatever halts them.
func (s *State) Resume(now Instant) {
	if h := s.Gate.farthest(orders); h != nil {
		h.Probe = now
		s.touch(fieldGate, "")
	}
}

// free reports whether a probe's turn is not used up by the request, since it has shown
// nothing of what is halted.
func (h *Halt) free(o Outcome) bool { return o.Result == NotSent || h.byWord() && o.Free() }

// Free reports whether an order cost nothing and says nothing of how orders are
// answered: an operator's word for it is not used up.
func (o Outcome) Free() bool {
	return o.Result == NotSent || o.Result == Refused || o.Result == Answered && !o.Accepted && o.Unspecific == (Refusal{})
}

// ReadsProbe reports whether a read is to show that the provider answers, before
// anything else that is halted may go or, of orders in doubt, before the next order.
func (s *State) ReadsProbe() bool {
	order := &s.Gate.Halts[orders]
	unread := order.Why == HaltDoubts && s.Gate.Signs.Read <= s.Gate.Signs.Doubted
	switch h := s.Gate.Halted(); h.Why {
	case HaltDown:
		return true
	case HaltForbidden: // what is halted besides would be tried by an order
		return s.Gate.Halts[exports].Why != "" || order.byWord() || unread
	case HaltAnswers:
		return !h.Orders
	default:
		return unread
	}
}

// works notes that the provider answers and takes the key.
func (s *State) works() {
	s.Gate.Fails, s.Gate.Halts[everything] = 0, Halt{}
	s.touch(fieldGate, "")
}

// answered takes in that the provider gave an answer that makes sense.
func (s *State) answered(t Turn, o Outcome, now Instant, dice float64) (v Verdict) {
	g, signs := &s.Gate, &s.Gate.Signs
	s.works()
	switch {
	case Passed(t.Export):
		signs.Read = max(signs.Read, now)
	case t.Kind != Submit:
		signs.Read, signs.OddRead, g.Halts[exports] = now, "", Halt{}
		s.result(t, o, now, dice)
	case o.Accepted:
		signs.Accepted, signs.OddSubmit, signs.Doubts, signs.Refusals = max(signs.Accepted, t.Began), "", 0, nil
		if h := &g.Halts[orders]; h.Why != HaltResults || !s.resultsOdd(now) {
			*h = Halt{}
		} else { // it says nothing of its result
			s.halt(HaltResults, orders, now, dice)
		}
	case o.Unspecific != (Refusal{}):
		return s.refusedAlike(t, o.Unspecific, now, dice)
	}
	return v
}

// refusedAlike takes in a refusal that may be the account's fault.
func (s *State) refusedAlike(t Turn, r Refusal, now Instant, dice float64) Verdict {
	s.remember(r, now)
	switch why := s.Gate.Halts[orders].Why; {
	case len(s.Gate.Signs.Refusals) >= projectsAlike:
		s.halt(HaltRefusals, orders, now, dice)
	case why != "": // a probe that says no more than that it is refused
		s.halt(why, orders, now, dice)
	}
	alone := s.Gate.Halted().Why == "" && now >= t.Refused.Add(refusedRest)
	return Verdict{Refused: now, Final: s.othersAccepted(t) || t.Refused != 0 && alone}
}

// outOfUnits takes in a refusal that says that the account has no units left. One that
// comes again after another export was accepted is the export's own, and halts nobody
// else: it costs more than is left, or its words mean something else.
func (s *State) outOfUnits(t Turn, r Refusal, now Instant, dice float64) Verdict {
	s.works()
	if r != (Refusal{}) {
		s.remember(r, now)
	}
	own := s.othersAccepted(t)
	if !own || s.Gate.Halts[orders].Why != "" {
		s.halt(HaltUnits, orders, now, dice)
	}
	return Verdict{Refused: now, Final: own}
}

// remember adds a refusal to those in the same words.
func (s *State) remember(r Refusal, now Instant) {
	signs := &s.Gate.Signs
	kept := slices.DeleteFunc(slices.Clone(signs.Refusals), func(x refused) bool {
		return x.Words != r.Words || x.Project == r.Project
	})
	kept = append(kept, refused{r, now})
	signs.Refusals = kept[max(0, len(kept)-refusalsKept):]
	s.touch(fieldGate, "")
}

// othersAccepted says whether the submit was refused before, and another that was sent
// since then was accepted.
func (s *State) othersAccepted(t Turn) bool {
	return t.Refused != 0 && s.Gate.Signs.Accepted > t.Refused
}

// failed counts a request without an answer; several in a row halt spending, and
// several submits whose outcome is unknown halt submits.
func (s *State) failed(t Turn, o Outcome, now Instant, dice float64) {
	g := &s.Gate
	g.Spent.Failed[t.Kind]++
	order := t.Kind == Submit && !Passed(t.Export)
	if o.Result == InDoubt && order {
		g.Spent.Doubts++
		g.Signs.Doubts++
		g.Signs.Doubted = now
	}
	s.touch(fieldSpent, "")
	g.Fails++
	s.touch(fieldGate, "")
	if o.RetryAfter > 0 {
		g.Pause = max(g.Pause, now.Add(min(o.RetryAfter, longestPause)))
	}
	if g.Fails >= breakAfter || g.Halts[everything].Why != "" {
		s.halt(HaltDown, everything, now, dice)
	}
	switch why := g.Halts[orders].Why; {
	case order && g.Signs.Doubts >= doubtsAfter:
		s.halt(HaltDoubts, orders, now, dice)
	case order && why != "":
		s.halt(why, orders, now, dice)
	}
}

// odd takes in an answer that wasn't understood. The second in a row halts what it
// is the answer to: of reads that of another export, since one alone may be odd.
func (s *State) odd(t Turn, now Instant, dice float64) {
	s.Gate.Spent.Failed[t.Kind]++
	s.touch(fieldSpent, "")
	if !Passed(t.Export) {
		s.countOdd(t, now, dice)
	}
}

// RecallOdd takes in what the state has lost: that a submit, sent when it says, was
// accepted in a form that wasn't understood. If another was accepted since, that is over;
// what is known already, or has led to the halt already, does not count again.
func (s *State) RecallOdd(export string, sent, now Instant) {
	g := &s.Gate
	if !g.Halts[orders].byWord() && g.Signs.Accepted <= sent && g.Signs.OddSubmit != export {
		s.countOdd(Turn{Export: export, Kind: Submit}, now, 0)
	}
}

func (s *State) countOdd(t Turn, now Instant, dice float64) {
	g := &s.Gate
	last, to := &g.Signs.OddRead, exports
	if t.Kind == Submit {
		last, to = &g.Signs.OddSubmit, orders
	}
	first := *last == "" || *last == t.Export && to == exports
	*last = t.Export
	s.touch(fieldGate, "")
	if !first || g.Halts[to].Why == HaltAnswers {
		s.halt(HaltAnswers, to, now, dice)
	}
}
