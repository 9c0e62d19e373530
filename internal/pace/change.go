package pace

import (
	"time"
)

const (
	// workerLease is for how long a worker that gives no sign of life is
	// kept, unless it is its turn. Renewing it should seldom be
	// the only thing that a worker has to store.
	workerLease = 30 * time.Minute
	// workerSign is how old its last sign of life is at the most when it has
	// something to store anyway, and workerAlive how old it may be
	// for the worker to have followed what happened.
	workerSign, workerAlive = 30 * time.Second, 60 * time.Second
	// afterLoss is how long the provider's window may hold what was sent
	// before the state was lost.
	afterLoss = window
	// createdSlack is how far clocks may differ for an export to count as older
	// than the state.
	createdSlack = 2 * time.Second
)

// Create makes a state that was made out of nothing at now. It starts with one
// request less than a rested one.
func (s *State) Create(now Instant) {
	s.Gate = Gate{Born: now, At: now}
	if s.Limits.PerMinute > 0 {
		s.Gate.Due = now.Add(s.interval(now))
	}
	for _, f := range []string{fieldGate, fieldLog, fieldSpent, fieldSeen} {
		s.touch(f, "")
	}
}

// Restored marks a state that was not kept up to date for a while, or that was read
// back from a store that may have lost its last changes: two requests may have
// been sent that it doesn't know of.
func (s *State) Restored(now Instant) {
	if s.Limits.PerMinute > 0 {
		s.Gate.Due = max(s.Gate.Due, now).Add(2 * s.interval(now))
	}
	s.Gate.At = now
	for name := range s.Fields() {
		s.dirty[name] = struct{}{}
	}
}

// Settle ends what has run out by now: requests whose holder died, slots that
// no worker mentioned, workers that are gone and what they waited for.
func (s *State) Settle(now Instant) {
	s.clampClock(now)
	for worker, until := range s.Workers {
		if until <= now || until > now.Add(2*workerLease) {
			s.DropWorker(worker)
		}
	}
	for _, w := range s.Waiters {
		if w.Stage == Preparing && (w.Until <= now || w.Until > now.Add(2*prepareLease)) {
			s.DropWorker(w.Worker)
		}
	}
	for id, t := range s.Turns {
		if t.Until > now && t.Until <= now.Add(2*turnLease) {
			continue
		}
		s.Gate.Spent.Crashed++
		s.touch(fieldSpent, "")
		s.endTurn(id, min(t.Until, now))
		if r := s.Renders[t.Export]; r != nil && t.Kind == Submit && r.Pending {
			s.doubt(t.Export, r, now)
		}
	}
	if s.Limits.Slots == 0 && s.swept <= now && now < s.swept.Add(time.Second) {
		return // no slot to free, and there may be very many
	}
	s.swept = now
	for export, r := range s.Renders {
		if r.Until <= now {
			s.Release(export)
		} else if latest := now.Add(2 * s.lease()); r.Until > latest {
			r.Until = latest
			s.touch(prefixSlot, export)
		}
	}
}

// Alive renews the worker's lease when that is due, or earlier if the state is
// to be stored anyway, which costs nothing then.
func (s *State) Alive(worker string, now Instant) {
	left := s.Workers[worker].Sub(now)
	if left > workerLease/4 && (left > workerLease-workerSign || !s.Dirty()) {
		return
	}
	s.Workers[worker] = now.Add(workerLease)
	s.touch(prefixAlive, worker)
}

// Renewal is when the worker's lease has to be renewed.
func (s *State) Renewal(worker string) Instant {
	return s.Workers[worker].Add(-workerLease / 4)
}

// Unattended says whether no worker has given a sign of life lately.
func (s *State) Unattended(now Instant) bool {
	for _, until := range s.Workers {
		if until.Add(workerAlive-workerLease) > now {
			return false
		}
	}
	return true
}

// DropWorker drops a worker that is believed dead and whatever it waits for. What it
// has in flight is left to its lease. A worker that lives comes back by itself.
func (s *State) DropWorker(worker string) {
	if _, ok := s.Workers[worker]; ok {
		delete(s.Workers, worker)
		s.touch(prefixAlive, worker)
	}
	for id, w := range s.Waiters {
		if w.Worker == worker {
			s.Leave(id)
		}
	}
}

// Join puts a waiter in line.
func (s *State) Join(id string, w Waiter, now Instant) {
	if w.Joined == 0 {
		w.Joined = now
	}
	s.Waiters[id] = &w
	s.touch(prefixWait, id)
	if w.Kind != Read {
		return
	}
	r := s.Renders[w.Export]
	if r == nil {
		s.Hold(w.Export, w.Since, w.Resolution, w.Clips, now)
		return
	}
	s.extend(w.Export, r, now)
}

// Leave takes a waiter out of line.
func (s *State) Leave(id string) {
	if _, ok := s.Waiters[id]; !ok {
		return
	}
	delete(s.Waiters, id)
	s.touch(prefixWait, id)
}

// extend renews an export's slot, not more often than is needed.
func (s *State) extend(export string, r *Render, now Instant) {
	if r.Until > now.Add(s.lease()-time.Minute) {
		return
	}
	r.Until = now.Add(s.lease())
	s.touch(prefixSlot, export)
}

// Hold makes sure that an export that is being rendered since then (or at an
// unknown time, zero) has a slot. An export that began before the state was
// made means that one was lost, so a state that was just made sends nothing until the
// provider's minute is over. An export that wasn't known is read as soon as
// possible.
func (s *State) Hold(export string, since Instant, resolution string, clips int, now Instant) {
	if r := s.Renders[export]; r != nil {
		if r.Doubtful && since != 0 {
			r.Doubtful, r.Overdue = false, true
			s.touch(prefixSlot, export)
		}
		s.extend(export, r, now)
		return
	}
	older := since.Add(createdSlack) < s.Gate.Born // or unknown
	if since == 0 || since > now {
		since = now
	}
	if quiet := s.Gate.Born.Add(afterLoss); older && s.Limits.PerMinute > 0 && now < quiet && s.Gate.Quiet < quiet {
		s.Gate.Quiet = quiet
		s.touch(fieldGate, "")
	}
	s.Renders[export] = &Render{
		Started: since, Until: now.Add(s.lease()), Overdue: true,
		Resolution: resolution, Asked: clips,
	}
	s.touch(prefixSlot, export)
}

// Release frees the export's slot.
func (s *State) Release(export string) {
	if _, ok := s.Renders[export]; !ok {
		return
	}
	delete(s.Renders, export)
	s.touch(prefixSlot, export)
}

// Rename gives the slot to another name, unless that has one.
func (s *State) Rename(from, to string) {
	r := s.Renders[from]
	if r == nil {
		return
	}
	s.Release(from)
	if s.Renders[to] == nil {
		s.Renders[to] = r
		s.touch(prefixSlot, to)
	}
}

// Claim gives the waiter its turn at now: from here on the request counts. The
// turn carries the waiter's name.
func (s *State) Claim(id string, now Instant) Turn {
	w := s.Waiters[id]
	t := &Turn{
		Export: w.Export, Kind: w.Kind, Worker: w.Worker,
		Began: now, Until: now.Add(turnLease), Waited: max(0, now-w.Joined), Refused: w.Refused,
	}
	s.Leave(id)
	s.Turns[id] = t
	s.touch(prefixTurn, id)
	s.Gate.Spent.Sent[w.Kind]++
	s.touch(fieldSpent, "")
	if h := s.Gate.haltOf(w.Export, w.Kind); h != nil {
		t.Probe = true
		// No second probe beside this one, nor one after it that nobody has let through.
		if h.Probe = t.Until; h.byWord() {
			h.Probe = Never
		}
		s.touch(fieldGate, "")
	}
	s.tookTurn(w, now)
	if w.Kind == Submit && s.Renders[w.Export] == nil {
		s.Renders[w.Export] = &Render{
			Started: now, Until: now.Add(s.lease()), Pending: true,
			Resolution: w.Resolution, Asked: w.Clips,
		}
		s.touch(prefixSlot, w.Export)
	}
	return *t
}

// endTurn takes a request out of flight; it counts as answered at t.
func (s *State) endTurn(id string, t Instant) {
	delete(s.Turns, id)
	s.touch(prefixTurn, id)
	s.charge(t)
}

// doubt keeps the slot of an export that may have been submitted.
func (s *State) doubt(export string, r *Render, now Instant) {
	r.Pending, r.Doubtful = false, true
	r.Until = now.Add(s.lease())
	s.touch(prefixSlot, export)
}

// RestoreTurn puts a request back into flight that the state forgot.
func (s *State) RestoreTurn(id string, t Turn) {
	s.Turns[id] = &t
	s.touch(prefixTurn, id)
	if t.Kind == Submit && s.Renders[t.Export] == nil {
		s.Renders[t.Export] = &Render{Started: t.Began, Until: t.Began.Add(s.lease()), Pending: true}
		s.touch(prefixSlot, t.Export)
	}
}

// Quiesce stops everything for as long as the provider may still count what
// this state doesn't know of.
func (s *State) Quiesce(now Instant) {
	if s.Limits.PerMinute == 0 {
		return
	}
	s.Gate.Quiet = now.Add(afterLoss)
	s.touch(fieldGate, "")
}

// NextRead returns the first moment from now on at which a read of the export
// could be worth a request.
func (s *State) NextRead(export string, now Instant) Instant {
	at := s.reachesAt(export, s.leastIndex(now), now)
	r := s.Renders[export]
	switch {
	case r == nil || r.Overdue:
	case s.Limits.PerMinute == 0:
		at = max(at, r.quietSince().Add(politeFree))
	case s.cold() && s.ample(now):
		// More may be known by then than now.
		at = min(at, max(now, r.quietSince().Add(s.gapByAge(r))))
	}
	return at
}
