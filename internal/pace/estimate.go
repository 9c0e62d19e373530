package pace

import (
	"container/heap"
	"math"
	"slices"
	"time"
)

// Rate is how many requests a minute are believed to be ours, zero without limit.
func (s *State) Rate(now Instant) float64 {
	if s.Limits.PerMinute == 0 {
		return 0
	}
	return s.rate(now)
}

// Opens is when the next request may go as far as the limit goes; Never if one
// in flight has to be answered first.
func (s *State) Opens(now Instant) Instant { return s.opens(1, now) }

// Expected is when r's render is expected to end, given that it hasn't yet.
func (s *State) Expected(r *Render, now Instant) Instant {
	_, age := r.ages(now)
	return r.Started.Add(duration(s.modelOf(r).median(age)))
}

func duration(seconds float64) time.Duration {
	if !(seconds < math.MaxInt32) {
		seconds = math.MaxInt32
	}
	return time.Duration(seconds * float64(time.Second))
}

// usual is the mean duration of a render of which nothing is known.
func (s *State) usual() float64 {
	if s.Learned.Seen.Real > 0 {
		return s.Learned.Seen.Real
	}
	mu, _ := s.Learned.prior(&Render{})
	return math.Exp(mu)
}

// usualReads is how many requests an export takes.
func (s *State) usualReads() float64 {
	spent := &s.Gate.Spent
	if n := spent.Sent[Submit]; n >= 10 {
		return float64(spent.Sent[Submit]+spent.Sent[Read]) / float64(n)
	}
	return 4
}

// Starts estimates in how long exports start that have so many others before
// them in line: it plays the slots forward.
func (s *State) Starts(now Instant, ahead []int) []time.Duration {
	out := make([]time.Duration, len(ahead))
	if len(ahead) == 0 {
		return out
	}
	opens := s.nextOpen(now)
	if probe := s.Gate.Halted().Probe; probe != Never {
		opens = max(opens, probe)
	}
	wait := max(0, opens.Sub(now).Seconds())
	slots := s.SlotLimit(now)
	if slots == 0 {
		return s.unslotted(wait, ahead, now)
	}
	lag, usual := s.Learned.Seen.Lag, s.usual()
	ends := make(times, 0, slots)
	for _, r := range s.Renders {
		ends = append(ends, max(0, s.Expected(r, now).Sub(now).Seconds())+lag)
	}
	for len(ends) < slots {
		ends = append(ends, 0)
	}
	heap.Init(&ends)
	for len(ends) > slots { // more are being rendered than are allowed
		heap.Pop(&ends)
	}
	cost := 0.0
	if s.Limits.PerMinute > 0 {
		cost = s.interval(now).Seconds()
	}
	starts := make([]float64, 0, max(0, slices.Max(ahead))+1)
	// Requests spent on reads hold the slots' pace back only where the limit
	// can't carry it; a submit can't follow another sooner than one request.
	floor := wait
	for range cap(starts) {
		at := max(ends[0], floor)
		starts = append(starts, at)
		ends[0] = at + usual + lag
		heap.Fix(&ends, 0)
		floor = at + cost
	}
	for i, n := range ahead {
		out[i] = duration(starts[max(0, n)])
	}
	return out
}

// Line lists the exports that wait for their submit, the next one first.
func (s *State) Line(now Instant) []string {
	var waiters []string
	for id, w := range s.Waiters {
		if w.Kind == Submit {
			waiters = append(waiters, id)
		}
	}
	slices.SortFunc(waiters, func(a, b string) int {
		if s.before(a, b) {
			return -1
		}
		return 1
	})
	waiters = s.fairLine(waiters, now)
	for i, id := range waiters {
		waiters[i] = s.Waiters[id].Export
	}
	return waiters
}

// unslotted is the estimate when only the request limit holds exports back.
func (s *State) unslotted(wait float64, ahead []int, now Instant) []time.Duration {
	out := make([]time.Duration, len(ahead))
	cost := 0.0
	if s.Limits.PerMinute > 0 {
		cost = s.usualReads() * s.interval(now).Seconds()
	}
	for i, n := range ahead {
		out[i] = duration(wait + cost*float64(max(0, n)))
	}
	return out
}

// nextOpen is [State.Opens] with a request in flight counted as answered now.
func (s *State) nextOpen(now Instant) Instant {
	if at := s.opens(1, now); at != Never {
		return at
	}
	return now.Add(s.interval(now))
}

// times is a heap of seconds from now.
type times []float64

func (t times) Len() int           { return len(t) }
func (t times) Less(i, j int) bool { return t[i] < t[j] }
func (t times) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *times) Push(x any)        { *t = append(*t, x.(float64)) }
func (t *times) Pop() any {
	old := *t
	x := old[len(old)-1]
	*t = old[:len(old)-1]
	return x
}
