package pace

import "time"

const (
	// gapFree is the longest time between two reads without a limit.
	gapFree = 10 * time.Second
	// politeFree is the shortest time between two reads without a limit.
	politeFree = 500 * time.Millisecond
	// firstGap is the time to the first read of an export of which nothing is
	// known, and gapGrowth how much of its age the time to each further one is.
	firstGap, gapGrowth = 1200 * time.Millisecond, 0.25
	// leastAmple is how many slots have to be free to be more than enough.
	leastAmple = 16
)

// longestGap is the longest time between two reads of an export.
func (s *State) longestGap() time.Duration {
	if s.Limits.PerMinute == 0 {
		return gapFree
	}
	return Gap
}

// gap is how long after its last read, or its beginning, r is read whatever is
// believed of it. Where requests cost nothing it follows the age: a render that has
// gone on for long may go on for longer. So it is for the first exports of all, where
// slots are no matter: something has to be believed.
func (s *State) gap(r *Render, now Instant) time.Duration {
	if s.Limits.PerMinute > 0 && (!s.cold() || !s.ample(now) || !s.eldest(r)) {
		return Gap
	}
	return s.gapByAge(r)
}

func (s *State) gapByAge(r *Render) time.Duration {
	gap := max(firstGap, time.Duration(gapGrowth*float64(r.quietSince().Sub(r.Started))))
	return min(gap, s.longestGap())
}

// eldest says whether r is one of the first that are being rendered.
func (s *State) eldest(r *Render) bool {
	before := 0
	for _, other := range s.Renders {
		if other.Started < r.Started {
			before++
		}
	}
	return before < enoughEnds+2
}

// ample says that slots are more than enough, so that it is requests that are scarce:
// an export whose end is seen late costs its slot, which nobody misses.
func (s *State) ample(now Instant) bool {
	limit := s.SlotLimit(now)
	if limit == 0 {
		return true
	}
	if free := limit - len(s.Renders) - s.reserved(); free < leastAmple || 2*free < limit {
		return false
	}
	if s.cold() {
		return true
	}
	// So many are rendered at once when each takes no more than two requests.
	return float64(s.Limits.PerMinute)/60/2*s.Learned.Seen.Real <= float64(limit)/2
}

// cold says that too few renders were seen to end to learn from.
func (s *State) cold() bool { return s.Learned.Seen.Ends < enoughEnds }
