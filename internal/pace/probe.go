package pace

// nextProbe returns which request that is halted goes now and then to show that others
// may, and when: one at a time. Into a provider that doesn't answer, or not in a way that is
// understood, a submit may be paid for in vain, so only reads go: the workers see to it
// that one waits. A key that is refused costs nothing.
func (s *State) nextProbe(now Instant) (id string, at Instant) {
	h := s.Gate.farthest(orders)
	if h == nil {
		return "", Never
	}
	at = max(now, h.Probe)
	for _, t := range s.Turns {
		if s.Gate.haltOf(t.Export, t.Kind) == h {
			at = max(at, t.Until)
		}
	}
	if !h.Orders {
		id = s.longestRead()
	}
	if !s.ReadsProbe() && (h.Orders || h.Why == HaltForbidden) {
		submit, when := s.probeSubmit(now)
		if submit != "" && (id == "" || when <= now && s.Waiters[submit].Joined < s.Waiters[id].Joined) {
			id, at = submit, max(at, when)
		}
	}
	if id != "" && s.Waiters[id].Stage != Unslotted {
		at = max(at, s.opens(1, now))
	}
	return id, at
}

// probeSubmit returns the submit that would be the probe, and when it may go, or
// may get its slot first if it has something to prepare; one at a time. If orders are refused alike
// it is one of another project, or of the one that was refused longest ago.
func (s *State) probeSubmit(now Instant) (string, Instant) {
	var first string
	at := Never
	for id, w := range s.Waiters {
		if w.Kind != Submit || !s.halted(w) {
			continue
		}
		if w.Stage == Preparing {
			return "", Never // it may be the probe soon
		}
		when := s.slotAt(w, now)
		if first == "" || when < at || when == at && s.probesBefore(id, first) {
			first, at = id, when
		}
	}
	return first, max(at, s.Gate.SubmitPause)
}

func (s *State) probesBefore(a, b string) bool {
	ra, rb := s.lastRefused(s.Waiters[a]), s.lastRefused(s.Waiters[b])
	if ra != rb {
		return ra < rb
	}
	return s.before(a, b)
}

// lastRefused is when the waiter's project was refused last in the way that all are.
func (s *State) lastRefused(w *Waiter) Instant {
	for _, r := range s.Gate.Signs.Refusals {
		if r.Project == w.Project {
			return r.At
		}
	}
	return 0
}

// longestRead returns the read, of whichever kind and due or not, that has waited
// for longest. One whose probe failed comes after the others when it is back:
// an export that alone can't be read keeps nobody from finding out that others can.
func (s *State) longestRead() string {
	var first string
	for id, w := range s.Waiters {
		if w.Kind == Submit || !s.halted(w) {
			continue
		}
		if f := s.Waiters[first]; f == nil || w.Joined < f.Joined || w.Joined == f.Joined && id < first {
			first = id
		}
	}
	return first
}
