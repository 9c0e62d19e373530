package pace

import (
	"math"
	"math/bits"
	"time"
)

const (
	// Gap is the longest time between two reads of an export that waits to
	// be read: beyond it the export comes before every other read.
	Gap = 110 * time.Second
	// leastBusy and leastIdle are the indexes, in seconds, below which a
	// read isn't worth a request: while exports wait, and while none does.
	leastBusy = 0.14
	leastIdle = 1.0
	// leastAhead is the same of a read that goes before the exports that wait, as
	// slots are ample.
	leastAhead = 0.35
	// usualShare is for how many requests a minute and slot these are meant,
	// cheapest by how much they fall at most where there are more.
	usualShare, cheapest = 3.0, 0.05
	// coldPrice is what they fall to before enoughEnds renders were seen to end.
	coldPrice, enoughEnds = 0.2, 5
	// firstRead is how much more the first read of an export is worth,
	// because it also shows how much there is to render.
	firstRead = 3
)

// modelOf returns what is believed of r's duration.
func (s *State) modelOf(r *Render) *durationModel {
	if r.modelGeneration != s.Learned.generation || r.model == (durationModel{}) {
		r.model, r.modelGeneration = s.Learned.model(r), s.Learned.generation
	}
	return &r.model
}

// ages returns the ages of r at its last read and at now, in seconds.
func (r *Render) ages(now Instant) (last, age float64) {
	age = max(0, now.Sub(r.Started).Seconds())
	if r.Last != 0 {
		last = min(age, max(0, r.Last.Sub(r.Started).Seconds()))
	}
	return last, age
}

// Index is what a read of the export is worth at now: the time, in seconds,
// for which its slot is expected to have stood idle unseen since the last read,
// over the probability that it hasn't ended. The latter is what a policy of
// inspections under a price for each comes to (Whittle's index), within a few
// hundredths: a read that is almost sure to hit is worth more than its idle
// time. It grows with the time since the last read. What isn't a number counts as overdue, as does an
// export of which nothing is known.
func (s *State) Index(export string, now Instant) float64 {
	r := s.Renders[export]
	if r == nil || r.Overdue {
		return math.Inf(1)
	}
	last, age := r.ages(now)
	l := s.modelOf(r)
	j := l.idle(last, age) / l.survival(age)
	if r.Reads == 0 {
		j *= firstRead
	}
	if math.IsNaN(j) {
		return math.Inf(1)
	}
	return j
}

// quietSince is when r was last heard of by a read, or began.
func (r *Render) quietSince() Instant { return max(r.Started, r.Last) }

// leastIndex is the index at which a read is worth a request. Where a slot's share
// of the requests is larger than the provider's usual three a minute, a request
// is worth less; so it is before enough ends were seen to learn from.
func (s *State) leastIndex(now Instant) float64 {
	if s.Limits.PerMinute == 0 {
		return leastFree
	}
	ample := s.ample(now)
	price, slots := leastIdle, s.Limits.Slots
	switch busy := s.exportsWait(); {
	case busy && ample:
		price = leastAhead
	case busy:
		price = leastBusy
	case ample:
		slots = min(slots, roundUp(len(s.Renders)))
	}
	if slots > 0 {
		share := float64(s.Limits.PerMinute) / float64(slots)
		price *= min(1, max(cheapest, usualShare/share))
	}
	if s.cold() {
		price *= coldPrice
	}
	return price
}

// roundUp returns the next power of two, so that what depends on n changes rarely.
func roundUp(n int) int { return 1 << bits.Len(uint(max(n, 1)-1)) }

// reachesAt returns the first moment from now on at which the index of the
// export reaches least, in seconds, at the latest when the gap is full.
func (s *State) reachesAt(export string, least float64, now Instant) Instant {
	r := s.Renders[export]
	if r == nil || r.Overdue {
		return now
	}
	since := r.quietSince()
	known := reachKey{since, least, s.Learned.generation}
	if r.reachKey != known {
		r.reachKey, r.reaches = known, s.reaches(export, least, since, since.Add(s.longestGap()))
	}
	return max(now, min(r.reaches, since.Add(s.gap(r, now))))
}

// reachKey is what the moment at which a read is worth a request depends on.
type reachKey struct {
	since      Instant
	least      float64
	generation int
}

// reaches returns when, between low and high, the index reaches least.
func (s *State) reaches(export string, least float64, low, high Instant) Instant {
	if s.Index(export, high) < least {
		return high
	}
	for high-low > Instant((20 * time.Millisecond).Microseconds()) {
		if mid := low + (high-low)/2; s.Index(export, mid) >= least {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}
