package pace

import (
	"slices"
	"time"
)

// Halt says why the account has stopped spending. One request is let through now
// and then, ever more seldom, or when an operator says so ([State.Resume]); one that
// is answered well ends the halt.
type Halt struct {
	// Why is one of the Halt constants, or empty.
	Why string `json:"why,omitempty"`
	// Orders says that only submits are halted.
	Orders bool    `json:"orders,omitempty"`
	Since  Instant `json:"since,omitempty"`
	Probe  Instant `json:"probe,omitempty"` // when one request is let through
	Tries  int     `json:"tries,omitempty"`
}

// Why spending is halted: stable codes for programs. Of a halt that is for submits
// alone reads go on, and only an accepted submit ends it, or a result that of results.
const (
	HaltForbidden = "key_refused"            // the provider refuses the key
	HaltDown      = "provider_unavailable"   // the provider doesn't answer
	HaltUnits     = "out_of_units"           // submits: the account has none left
	HaltRefusals  = "orders_refused"         // submits: all refused in the same words
	HaltDoubts    = "orders_in_doubt"        // submits: the outcome of one after the other is unknown
	HaltAnswers   = "answers_not_understood" // of submits, which are paid for likewise; or of reads, then nothing is spent
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

// halt stops the account's spending, but for a probe now and then. A halt of submits goes
// on after one of all requests, and one that an operator ends after any other.
func (s *State) halt(why string, orders bool, now Instant, dice float64) {
	h := &s.Gate.Halt
	s.touch(fieldGate, "")
	switch {
	case orders && h.byWord() && why != h.Why:
		return
	case !orders && h.Orders:
		s.Gate.Kept = *h
	case orders && !h.Orders && s.Gate.Kept.byWord():
		*h, s.Gate.Kept = s.Gate.Kept, Halt{}
		s.halt(why, orders, now, dice)
		return
	case orders:
		s.Gate.Kept = Halt{}
	}
	if h.Why != why || h.Orders != orders {
		*h = Halt{Why: why, Orders: orders, Since: now}
	}
	p := probing(why, orders)
	if h.Probe = Never; p.first == 0 {
		return
	}
	wait := min(p.longest, p.first<<min(h.Tries, 8))
	h.Tries++
	h.Probe = now.Add(time.Duration(float64(wait) * (0.8 + 0.4*dice)))
}

// Resume lets one request through, whatever halts them.
func (s *State) Resume(now Instant) {
	if h := &s.Gate.Halt; h.Why != "" {
		h.Probe = now
		s.touch(fieldGate, "")
	}
}

// free reports whether a probe's turn is not used up by the request, since it has shown
// nothing of what is halted.
func (h *Halt) free(t Turn, o Outcome) bool {
	return o.Result == NotSent || o.Result == Answered && Passed(t.Export) && (h.Orders || !o.Neutral) || h.byWord() && o.Free()
}

// Free reports whether an order cost nothing and says nothing of how orders are
// answered: an operator's word for it is not used up.
func (o Outcome) Free() bool {
	return o.Result == NotSent || o.Result == Refused || o.Result == Answered && !o.Accepted && o.Unspecific == (Refusal{})
}

// ReadsProbe reports whether a read is to show that the provider answers, before
// anything else may go or, of orders in doubt, before the next order.
func (s *State) ReadsProbe() bool {
	switch h := s.Gate.Halt; h.Why {
	case HaltDown:
		return true
	case HaltAnswers:
		return !h.Orders
	case HaltDoubts:
		return s.Gate.Signs.Read <= s.Gate.Signs.Doubted
	default:
		return false
	}
}

// halts says whether requests of the kind are halted.
func (h *Halt) halts(k Kind) bool { return h.Why != "" && (k == Submit || !h.Orders) }

// answered takes in that the provider gave an answer that makes sense. What clients
// pass through is answered by other calls: it says that the provider answers and takes
// the key, and nothing of how exports are ordered and read.
func (s *State) answered(t Turn, o Outcome, now Instant, dice float64) (v Verdict) {
	g, signs := &s.Gate, &s.Gate.Signs
	g.Fails = 0
	s.touch(fieldGate, "")
	if Passed(t.Export) {
		if signs.Read = max(signs.Read, now); !g.Halt.Orders && g.Halt.Why != HaltAnswers {
			g.Halt, g.Kept = g.Kept, Halt{}
		}
		return v
	}
	switch {
	case t.Kind != Submit:
		signs.Read, signs.OddRead = now, ""
	case o.Accepted:
		signs.Accepted, signs.OddSubmit, signs.Doubts, signs.Refusals = max(signs.Accepted, t.Began), "", 0, nil
	}
	switch {
	case o.Accepted && g.Halt.Why == HaltResults && s.resultsOdd(now): // it says nothing of its result
		s.halt(HaltResults, true, now, dice)
	case o.Accepted:
		g.Halt, g.Kept = Halt{}, Halt{}
	case !g.Halt.Orders:
		g.Halt, g.Kept = g.Kept, Halt{}
	}
	switch {
	case t.Kind != Submit:
		s.result(t, o, now, dice)
	case o.Unspecific != (Refusal{}):
		return s.refusedAlike(t, o.Unspecific, now, dice)
	}
	return v
}

// refusedAlike takes in a refusal that may be the account's fault.
func (s *State) refusedAlike(t Turn, r Refusal, now Instant, dice float64) Verdict {
	s.remember(r, now)
	switch h := s.Gate.Halt; {
	case len(s.Gate.Signs.Refusals) >= projectsAlike:
		s.halt(HaltRefusals, true, now, dice)
	case h.Orders: // a probe that says no more than that it is refused
		s.halt(h.Why, true, now, dice)
	}
	alone := s.Gate.Halt.Why == "" && now >= t.Refused.Add(refusedRest)
	return Verdict{Refused: now, Final: s.othersAccepted(t) || t.Refused != 0 && alone}
}

// outOfUnits takes in a refusal that says that the account has no units left. One that
// comes again after another export was accepted is the export's own, and halts nobody
// else: it costs more than is left, or its words mean something else.
func (s *State) outOfUnits(t Turn, r Refusal, now Instant, dice float64) Verdict {
	if r != (Refusal{}) {
		s.remember(r, now)
	}
	own := s.othersAccepted(t)
	if !own || s.Gate.Halt.Orders {
		s.halt(HaltUnits, true, now, dice)
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
	switch h := g.Halt; {
	case g.Fails >= breakAfter, h.Why != "" && !h.Orders:
		s.halt(HaltDown, false, now, dice)
	case order && h.Orders:
		s.halt(h.Why, true, now, dice)
	case order && g.Signs.Doubts >= doubtsAfter:
		s.halt(HaltDoubts, true, now, dice)
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
	if halted := g.Halt.byWord() || g.Kept.byWord(); !halted && g.Signs.Accepted <= sent && g.Signs.OddSubmit != export {
		s.countOdd(Turn{Export: export, Kind: Submit}, now, 0)
	}
}

func (s *State) countOdd(t Turn, now Instant, dice float64) {
	g := &s.Gate
	last := &g.Signs.OddRead
	if t.Kind == Submit {
		last = &g.Signs.OddSubmit
	}
	orders := t.Kind == Submit
	first := *last == "" || *last == t.Export && !orders
	*last = t.Export
	s.touch(fieldGate, "")
	if !first || g.Halt.Why == HaltAnswers && g.Halt.Orders == orders {
		s.halt(HaltAnswers, orders, now, dice)
	}
}
