package pace

import (
	"math"
	"slices"
	"time"
)

const (
	// window is the provider's minute, slightly longer so that rounding on
	// either side never makes sixteen of fifteen.
	window = 60*time.Second + 10*time.Millisecond
	// smallLimit is the limit up to which every answer is logged by itself
	// and a provider's bucket is assumed to hold no more than two.
	smallLimit = 120
	// logStep merges what larger limits log.
	logStep = 500 * time.Millisecond
	// turnLease is how long a request may be in flight before its holder is
	// believed dead. Longer than any timeout of a request.
	turnLease = 45 * time.Second
)

// Gate is what governs every request of the account.
type Gate struct {
	// Born is when this state was first made out of nothing.
	Born Instant `json:"born"`
	// At is when it was last changed by a turn.
	At Instant `json:"at"`
	// Due is the bucket's theoretical arrival time: how far the requests
	// that were answered reach into the future at the steady rate.
	Due Instant `json:"due,omitempty"`
	// Share is the part of the configured rate that is believed to be ours,
	// as of Shared. Zero means all of it.
	Share  float64 `json:"share,omitempty"`
	Shared Instant `json:"shared,omitempty"`
	// Single, until then no two requests go back to back; Singles counts
	// how often that was found necessary.
	Single  Instant `json:"single,omitempty"`
	Singles int     `json:"singles,omitempty"`
	// Pause, until then nothing is sent; SubmitPause, no submit.
	Pause       Instant `json:"pause,omitempty"`
	SubmitPause Instant `json:"spause,omitempty"`
	RefusedAt   Instant `json:"refused,omitempty"`
	// Slots is how many slots are believed to be ours, zero means all that
	// are configured; it was last changed at SlotsAt.
	Slots   int     `json:"slots,omitempty"`
	SlotsAt Instant `json:"slotsat,omitempty"`
	// Quiet, until then nothing is sent because what was sent before the
	// state was lost may still count.
	Quiet Instant `json:"quiet,omitempty"`
	// Took is how long a request usually takes, in seconds.
	Took float64 `json:"took,omitempty"`
	// Fails counts requests without an answer in a row.
	Fails int `json:"fails,omitempty"`
	// Passed is who shares with what is passed through.
	Passed Shared `json:"passed,omitzero"`
	// Halts are what is halted, by how far that reaches.
	Halts [3]Halt `json:"halts,omitzero"`
	Signs Signs   `json:"signs,omitzero"`
	// Spent lives in a field of its own.
	Spent Spent `json:"-"`
}

// Log holds when requests were answered within the last window, oldest first.
type Log struct {
	Times  []Instant `json:"t"`
	Counts []int     `json:"c,omitempty"` // how many at each; absent means one
}

// Spent counts requests by [Kind] since the state was made.
type Spent struct {
	Sent    [len(Kinds)]int64 `json:"sent"`
	Refused [len(Kinds)]int64 `json:"refused"`
	Failed  [len(Kinds)]int64 `json:"failed"`
	Doubts  int64             `json:"doubts"`
	Crashed int64             `json:"crashed"`
	Denied  int64             `json:"denied"`
}

// at is how many answers the i-th entry counts.
func (l *Log) at(i int) int {
	if i < len(l.Counts) {
		return l.Counts[i]
	}
	return 1
}

// count returns how many answers are younger than the window at now.
func (l *Log) count(now Instant) int {
	n := 0
	for i, t := range l.Times {
		if t.Add(window) > now {
			n += l.at(i)
		}
	}
	return n
}

// fits returns the first moment from now on at which at most max answers count.
func (l *Log) fits(max int, now Instant) Instant {
	n := l.count(now)
	if n <= max {
		return now
	}
	for i, t := range l.Times {
		if t.Add(window) <= now {
			continue
		}
		if n -= l.at(i); n <= max {
			return t.Add(window)
		}
	}
	return Never // max is negative
}

// add logs an answer at t and forgets what no longer counts.
func (l *Log) add(t Instant, merge bool) {
	keep := 0
	for keep < len(l.Times) && l.Times[keep].Add(window) <= t {
		keep++
	}
	l.Times = slices.Clone(l.Times[keep:])
	l.Counts = slices.Clone(l.Counts[min(keep, len(l.Counts)):])
	for merge && len(l.Counts) < len(l.Times) {
		l.Counts = append(l.Counts, 1) // the limit was smaller before
	}
	if merge {
		// All of one step count from its end.
		step := Instant(logStep.Microseconds())
		t = (t/step + 1) * step
	}
	last := len(l.Times) - 1
	if last >= 0 && t < l.Times[last] {
		t = l.Times[last] // answers overtook each other; the later time is the safe one
	}
	if merge && last >= 0 && t == l.Times[last] {
		l.Counts[last]++
		return
	}
	l.Times = append(l.Times, t)
	if merge {
		l.Counts = append(l.Counts, 1)
	}
}

// rate is how many requests a minute are believed to be allowed at now.
func (s *State) rate(now Instant) float64 {
	limit := float64(s.Limits.PerMinute)
	if s.Gate.Share == 0 {
		return limit
	}
	minutes := now.Sub(s.Gate.Shared).Minutes()
	share := min(1, s.Gate.Share+shareGrowth*max(0, minutes))
	return max(1, limit*share)
}

// interval is the time that one request takes up at the steady rate.
func (s *State) interval(now Instant) time.Duration {
	return time.Duration(float64(window) / s.rate(now))
}

// burst is how many requests may go back to back after a rest.
func (s *State) burst(now Instant) int {
	if s.Limits.PerMinute == 1 || now < s.Gate.Single {
		return 1
	}
	if s.Limits.PerMinute <= smallLimit {
		return 2
	}
	return min(20, s.Limits.PerMinute/60)
}

// Level is how many requests could go back to back at now; +Inf without a limit.
func (s *State) Level(now Instant) float64 {
	if s.Limits.PerMinute == 0 {
		return math.Inf(1)
	}
	flying := len(s.Turns)
	bucket := float64(s.burst(now)-flying) -
		float64(max(0, s.Gate.Due.Sub(now)))/float64(s.interval(now))
	logged := float64(int(s.rate(now)) - flying - s.Log.count(now))
	return min(bucket, logged)
}

// opens returns the first moment from now on at which need requests could go
// back to back, if nothing else happens until then. Never means that a request
// in flight has to be answered first.
func (s *State) opens(need int, now Instant) Instant {
	at := max(now, s.Gate.Pause, s.Gate.Quiet)
	if s.Limits.PerMinute == 0 {
		return at
	}
	flying := len(s.Turns)
	spare := s.burst(now) - flying - need
	if spare < 0 {
		return Never
	}
	at = max(at, s.Gate.Due.Add(-time.Duration(spare)*s.interval(now)))
	return max(at, s.Log.fits(int(s.rate(now))-flying-need, now))
}

// charge counts a request that was answered, or given up, at t.
func (s *State) charge(t Instant) {
	if s.Limits.PerMinute == 0 {
		return
	}
	s.Gate.Due = max(s.Gate.Due, t).Add(s.interval(t))
	s.Log.add(t, s.Limits.PerMinute > smallLimit)
	s.touch(fieldLog, "")
	s.touch(fieldGate, "")
}

// clampClock bounds what a clock that jumped back may have left in the future.
func (s *State) clampClock(now Instant) {
	if s.Limits.PerMinute == 0 {
		return
	}
	if latest := now.Add(time.Duration(s.burst(now)+3) * s.interval(now)); s.Gate.Due > latest {
		s.Gate.Due = latest
		s.touch(fieldGate, "")
	}
	if n := len(s.Log.Times); n > 0 && s.Log.Times[n-1] > now.Add(time.Second) {
		for i := range s.Log.Times {
			s.Log.Times[i] = min(s.Log.Times[i], now)
		}
		s.touch(fieldLog, "")
	}
}
