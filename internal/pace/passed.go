package pace

import (
	"cmp"
	"strings"
	"time"
)

// What clients of the HTTP API pass through shares the budget with exports, so that
// neither starves:
//
//   - slots are given to each side by turns while both wait;
//   - what is rendered for either is read alike, by its index;
//   - of requests that take no slot ([Other]) one in every otherShare of the rate
//     goes before the reads of exports, and more only where no read wants the credit;
//     tenants take turns at them.

// PassedPrefix begins the name that something passed through has in place of an
// export's id. No id of an export holds a slash.
const PassedPrefix = "pass/"

// Passed says whether that is the name of something passed through.
func Passed(export string) bool { return strings.HasPrefix(export, PassedPrefix) }

// otherShare is one in how many requests goes to [Other] even while reads wait.
const otherShare = 3

// Shared is what the sharing goes by.
type Shared struct {
	// Exported and Passed are when each side was last given a slot.
	Exported Instant `json:"e,omitempty"`
	Passed   Instant `json:"p,omitempty"`
	// Other is when such a request last went, and OtherOf of which tenant.
	Other   Instant `json:"o,omitempty"`
	OtherOf string  `json:"t,omitempty"`
}

// isNext says whether the next slot is for something passed through, should both
// sides wait: whoever was given one longer ago has it.
func (s *Shared) isNext() bool { return s.Passed <= s.Exported }

// tookSlot notes that the submit is given a slot that it didn't have.
func (s *State) tookSlot(w *Waiter, now Instant) {
	shared := &s.Gate.Passed
	switch {
	case Passed(w.Export):
		shared.Passed = now
	case shared.Passed != 0:
		shared.Exported = now
	default: // nothing was ever passed through: nobody to share with
		return
	}
	s.touch(fieldGate, "")
}

// tookTurn notes whose turn began at now.
func (s *State) tookTurn(w *Waiter, now Instant) {
	switch w.Kind {
	case Submit:
		if s.Renders[w.Export] == nil && !Passed(w.Export) {
			s.shared(w, now)
		}
		if !s.holdsSlot(w) {
			s.tookSlot(w, now)
		}
	case Other:
		s.Gate.Passed.Other, s.Gate.Passed.OtherOf = now, w.Tenant
		s.touch(fieldGate, "")
	}
}

// nextOther returns the request that takes no slot and whose turn it is, and when
// its share of the rate lets it go before reads.
func (s *State) nextOther(now Instant) (string, Instant) {
	id, _ := s.anyOther(now)
	last := min(s.Gate.Passed.Other, now)
	if id == "" || last == 0 || s.Limits.PerMinute == 0 {
		return id, now
	}
	return id, max(now, last.Add(otherShare*window/time.Duration(s.Limits.PerMinute)))
}

// anyOther returns it for when nothing else wants the credit. Tenants go one after the
// other by their names, and what is of one goes by how long it waits.
func (s *State) anyOther(now Instant) (string, Instant) {
	round := func(w *Waiter) int { // 0 for those that come before it begins again
		if w.Tenant > s.Gate.Passed.OtherOf {
			return 0
		}
		return 1
	}
	var first string
	for id, w := range s.going(Other) {
		f := s.Waiters[first]
		if f == nil || cmp.Or(cmp.Compare(round(w), round(f)), cmp.Compare(w.Tenant, f.Tenant), cmp.Compare(w.Joined, f.Joined), cmp.Compare(id, first)) < 0 {
			first = id
		}
	}
	return first, now
}
