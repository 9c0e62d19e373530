package pace

import (
	"math"
	"slices"
	"time"
)

const (
	// slotLease is for how long a slot is kept for an export that no worker
	// asks for or mentions.
	slotLease = 15 * time.Minute
	// leaseFree is the same without any limit: nothing is held then, only
	// remembered.
	leaseFree = 2 * time.Minute
	// leastFree is the index at which a read is worth it without a limit.
	leastFree = 0.1
	// leadShare is how much of a request's usual time counts on.
	leadShare = 0.8
	// stuck is for how long a request in flight keeps reads from the reserve.
	stuck = 3 * time.Second
)

// Choice is who is next.
type Choice struct {
	// Waiter is whose turn it is now, empty if nobody's. If it is [Unslotted] it
	// is to get its slot, else its request.
	Waiter string
	// At is then the moment when the decision has to be made again: later,
	// or never unless something happens.
	At Instant
}

// lease is for how long an export is remembered that no worker mentions.
func (s *State) lease() time.Duration {
	if s.Limits == (Limits{}) {
		return leaseFree
	}
	return slotLease
}

// Next says who of those that wait may send a request at now. It changes
// nothing; [State.Claim] does.
func (s *State) Next(now Instant) Choice {
	if len(s.Waiters) == 0 {
		return Choice{At: Never}
	}
	open, openRead := s.opens(1, now), s.opensRead(now)
	c := Choice{At: s.restEnds(now)}
	probe, submits := []rule{{s.nextProbe, now}}, []rule{{s.nextSlot, now}, {s.nextSubmit, open}} // a slot costs no request
	refresh, other := []rule{{s.nextRefresh, open}}, []rule{{s.nextOther, openRead}}
	overdue, reads := []rule{{s.nextOverdue, openRead}}, []rule{{s.nextRead, openRead}}
	last := []rule{{s.anyRefresh, s.opens(s.burst(now), now)}, {s.anyOther, openRead}} // nothing else wants the credit
	rules := slices.Concat(probe, submits, refresh, other, overdue, reads, last)
	switch ample := s.ample(now); {
	case ample && s.cold(): // the first exports are to show how long they take
		rules = slices.Concat(probe, refresh, overdue, submits, other, reads, last)
	case ample:
		rules = slices.Concat(probe, refresh, overdue, reads, submits, other, last)
	}
	for _, rule := range rules {
		id, at := rule.next(now)
		if id == "" {
			continue
		}
		if at = max(at, rule.open); at <= now {
			return Choice{Waiter: id, At: now}
		}
		c.At = min(c.At, at)
	}
	return c
}

// rule is a part of the order: who is next by it and when, and when a request may go.
type rule struct {
	next func(Instant) (string, Instant)
	open Instant
}

// rests says whether a submit waits for another to be accepted before it is tried again.
func (s *State) rests(w *Waiter, now Instant) bool {
	return w.Refused != 0 && s.Gate.Signs.Accepted <= w.Refused && now < w.Refused.Add(refusedRest)
}

// restEnds is when the next such submit is tried whatever others see.
func (s *State) restEnds(now Instant) Instant {
	at := Never
	for _, w := range s.Waiters {
		if w.Kind == Submit && s.rests(w, now) {
			at = min(at, w.Refused.Add(refusedRest))
		}
	}
	return at
}

// opensRead returns when a read may go. While exports wait it leaves one
// request for the submit that refills the slot (or will have left it by the time
// that the read is answered), unless a request in flight has that one and doesn't
// come back.
func (s *State) opensRead(now Instant) Instant {
	if !s.exportsWait() || s.burst(now) < 2 || s.ample(now) {
		return s.opens(1, now)
	}
	at := max(s.opens(1, now), s.opens(2, now).Add(-s.lead()))
	for _, t := range s.Turns {
		at = min(at, max(t.Began.Add(stuck), s.opens(1, now)))
	}
	return at
}

// lead is how long before a second request may go a read is sent, because the
// one that may follow it isn't wanted before its answer.
func (s *State) lead() time.Duration {
	return time.Duration(leadShare * s.Gate.Took * float64(time.Second))
}

// exportsWait says whether an export waits to be submitted, and may be.
func (s *State) exportsWait() bool {
	for range s.going(Submit) {
		return true
	}
	return false
}

// SlotLimit is how many slots are believed to be ours at now, zero without limit.
func (s *State) SlotLimit(now Instant) int {
	if s.Gate.Slots == 0 {
		return s.Limits.Slots
	}
	// Every so often one more is tried.
	grown := int(max(0, now.Sub(s.Gate.SlotsAt)) / slotDoubt)
	return min(s.Limits.Slots, s.Gate.Slots+grown)
}

// slotDoubt is after how long a slot that was refused is tried again.
const slotDoubt = 30 * time.Second

// slotAt returns when the submit may go as far as slots go: now, or when one is
// known to become free. One that is reserved for it is of use only while the
// provider is believed to give as many.
func (s *State) slotAt(w *Waiter, now Instant) Instant {
	if s.Limits.Slots == 0 || s.Renders[w.Export] != nil {
		return now
	}
	held := len(s.Renders)
	if !s.holdsSlot(w) {
		held += s.reserved()
	}
	if held < s.SlotLimit(now) {
		return now
	}
	at := Never
	for _, r := range s.Renders {
		at = min(at, r.Until)
	}
	if s.Gate.Slots > 0 && held < s.Limits.Slots {
		steps := now.Sub(s.Gate.SlotsAt)/slotDoubt + 1
		at = min(at, s.Gate.SlotsAt.Add(steps*slotDoubt))
	}
	return at
}

// place is a submit's place in line: the earlier, the sooner it goes.
func (w *Waiter) place() Instant {
	since := w.Since
	if since == 0 {
		since = w.Joined
	}
	return since.Add(w.Priority.Shift())
}

// firstSubmit returns the submit that goes next of those that are meant: the first in
// line or, where tenants share, the one whose turn it is.
func (s *State) firstSubmit(now Instant, meant func(*Waiter) bool, taken func() map[string]int) string {
	var first string
	tenants := false
	for id, w := range s.going(Submit) {
		if !meant(w) || s.rests(w, now) {
			continue
		}
		tenants = tenants || first != "" && w.Tenant != s.Waiters[first].Tenant
		if first == "" || s.before(id, first) {
			first = id
		}
	}
	if !tenants {
		return first
	}
	var waiting []string
	for id, w := range s.going(Submit) {
		if meant(w) && !s.rests(w, now) {
			waiting = append(waiting, id)
		}
	}
	return s.fairest(first, waiting, taken())
}

// nextSubmit returns the submit that is first in line for a request, and when it
// may have it as far as slots go.
func (s *State) nextSubmit(now Instant) (string, Instant) {
	first := s.firstSubmit(now, func(w *Waiter) bool { return w.Stage == Plain || w.Stage == Prepared }, noneTaken)
	if first == "" {
		return "", Never
	}
	return first, max(s.slotAt(s.Waiters[first], now), s.Gate.SubmitPause)
}

// noneTaken is for those that have their slots: only requests are missing.
func noneTaken() map[string]int { return nil }

// before orders two submits: first those whose slot is theirs already.
func (s *State) before(a, b string) bool {
	wa, wb := s.Waiters[a], s.Waiters[b]
	ha, hb := s.holdsSlot(wa), s.holdsSlot(wb)
	if ha != hb {
		return ha
	}
	if pa, pb := Passed(wa.Export), Passed(wb.Export); pa != pb {
		return pa == s.Gate.Passed.isNext()
	}
	if pa, pb := wa.place(), wb.place(); pa != pb {
		return pa < pb
	}
	return a < b
}

// due is when a refresh comes before reads: when half of what was left to its
// deadline when it joined has passed.
func (w *Waiter) due() Instant {
	if w.Deadline <= w.Joined {
		return w.Joined
	}
	return w.Joined + (w.Deadline-w.Joined)/2
}

func (s *State) nextRefresh(now Instant) (string, Instant) {
	first, _ := s.anyRefresh(now)
	if first == "" {
		return "", Never
	}
	return first, max(now, s.Waiters[first].due())
}

// anyRefresh returns the refresh that is due first.
func (s *State) anyRefresh(now Instant) (string, Instant) {
	var first string
	for id, w := range s.going(Refresh) {
		if first == "" || w.due() < s.Waiters[first].due() || w.due() == s.Waiters[first].due() && id < first {
			first = id
		}
	}
	return first, now
}

// nextOverdue returns the waiting read whose export was not read for longest,
// and when it has been too long.
func (s *State) nextOverdue(now Instant) (string, Instant) {
	first, at := "", Never
	for id, w := range s.going(Read) {
		due := Instant(0)
		if r := s.Renders[w.Export]; r != nil && !r.Overdue {
			due = r.quietSince().Add(s.gap(r, now))
		}
		if first == "" || due < at || due == at && id < first {
			first, at = id, due
		}
	}
	return first, max(now, at)
}

// nextRead returns the waiting read with the largest index, if one is worth a
// request, and else the one that will be first and when.
func (s *State) nextRead(now Instant) (string, Instant) {
	least := s.leastIndex(now)
	if s.Limits.PerMinute == 0 {
		least = 0 // NextRead has said when to ask
	}
	var best, first string
	top, at := math.Inf(-1), Never
	for id, w := range s.going(Read) {
		t := now
		if least > 0 {
			t = s.reachesAt(w.Export, least, now)
		}
		if t < at || t == at && id < first {
			first, at = id, t
		}
		if t > now {
			continue
		}
		if j := s.Index(w.Export, now); j > top || j == top && id < best {
			best, top = id, j
		}
	}
	if best != "" {
		return best, now
	}
	return first, at
}

func (s *State) turnsEnd() Instant {
	end := Never
	for _, t := range s.Turns {
		end = min(end, t.Until)
	}
	return end
}

// Ends returns the next moment at which a lease ends, so that a decision that
// waits for an event is made again by then.
func (s *State) Ends() Instant {
	end := s.turnsEnd()
	for _, until := range s.Workers {
		end = min(end, until)
	}
	for _, w := range s.Waiters {
		if w.Stage == Preparing {
			end = min(end, w.Until)
		}
	}
	return end
}
