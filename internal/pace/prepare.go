package pace

import "time"

// Stage is how far a submit is with what it prepares between its slot and its
// request. From Preparing on, a slot is reserved for it: by the waiter itself,
// so that the slot is free again as soon as the waiter has left the line.
type Stage int

// The stages of a submit that waits.
const (
	Plain     Stage = iota // it prepares nothing: slot and request come together
	Unslotted              // it prepares once it has a slot
	Preparing              // it has a slot and prepares
	Prepared               // it has a slot and wants a request
)

// PrepareTime is how long a submit may prepare, prepareLease how long it takes
// until its worker is believed dead.
const (
	PrepareTime  = 30 * time.Second
	prepareLease = PrepareTime + 5*time.Second
)

// holdsSlot says whether a slot is the submit's already.
func (s *State) holdsSlot(w *Waiter) bool {
	return w.Stage >= Preparing || s.Renders[w.Export] != nil
}

// reserved is how many slots are reserved for submits that haven't been sent.
func (s *State) reserved() int {
	n := 0
	for _, w := range s.Waiters {
		if w.Stage >= Preparing && s.Renders[w.Export] == nil && !s.halted(w) {
			n++
		}
	}
	return n
}

// nextSlot returns the submit that gets the next slot in order to prepare, and when.
// The request that it then wants is none of its concern yet.
func (s *State) nextSlot(now Instant) (string, Instant) {
	id := s.firstSubmit(now, func(w *Waiter) bool { return w.Stage <= Unslotted }, s.taken)
	if id == "" || s.Waiters[id].Stage != Unslotted {
		return "", Never
	}
	return id, max(s.slotAt(s.Waiters[id], now), s.Gate.SubmitPause, s.Gate.Pause, s.Gate.Quiet)
}

// Reserve gives the waiter its slot at now, for as long as it prepares.
func (s *State) Reserve(id string, now Instant) {
	w := s.Waiters[id]
	s.tookSlot(w, now)
	w.Stage, w.Until = Preparing, now.Add(prepareLease)
	s.touch(prefixWait, id)
	s.urgent = true
}

// Ready notes that the waiter has prepared and wants its request.
func (s *State) Ready(id string) {
	w := s.Waiters[id]
	w.Stage, w.Until = Prepared, 0
	s.touch(prefixWait, id)
}

// PreparesSince is when the waiter, which has a slot, began to prepare; ok is false for
// one that does not.
func (w *Waiter) PreparesSince() (began Instant, ok bool) {
	return w.Until.Add(-prepareLease), w.Stage == Preparing
}
