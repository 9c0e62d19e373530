package pace

import (
	"math"
	"time"
)

const (
	// Gap is the longest time between two reads of an export that waits to
	// be read: beyond it the export comes before every other read.
	Gap = 2 * time.Minute
	// worthBusy and worthIdle are the indexes, in seconds, below which a
	// read isn't worth a request: while exports wait, and while none does.
	worthBusy = 0.2
	worthIdle = 1.0
)

// lawOf returns what is believed of r's duration.
func (s *State) lawOf(r *Render) law {
	if r.lawAge != s.Learned.generation || r.law == (law{}) {
		r.law, r.lawAge = s.Learned.law(r), s.Learned.generation
	}
	return r.law
}

// ages returns the ages of r at its last read and at now, in seconds.
func (r *Render) ages(now Instant) (last, age float64) {
	age = max(0, seconds(now.Sub(r.Started)))
	if r.Last != 0 {
		last = min(age, max(0, seconds(r.Last.Sub(r.Started))))
	}
	return last, age
}

// Index is what a read of the export is worth at now: the time, in seconds,
// for which its slot is expected to have stood idle unseen. It grows with the
// time since the last read. What isn't a number counts as overdue, as does an
// export of which nothing is known.
func (s *State) Index(export string, now Instant) float64 {
	r := s.Renders[export]
	if r == nil || r.Overdue {
		return math.Inf(1)
	}
	last, age := r.ages(now)
	j := s.lawOf(r).idle(last, age)
	if math.IsNaN(j) {
		return math.Inf(1)
	}
	return j
}

// quietSince is when r was last heard of by a read, or began.
func (r *Render) quietSince() Instant { return max(r.Started, r.Last) }

// worth is the index at which a read is worth a request.
func (s *State) worth() float64 {
	if s.Limits.PerMinute == 0 {
		return worthFree
	}
	if s.exportsWait() {
		return worthBusy
	}
	return worthIdle
}

// worthAt returns the first moment from now on at which the index of the
// export reaches worth seconds, at the latest when the gap is full.
func (s *State) worthAt(export string, worth float64, now Instant) Instant {
	r := s.Renders[export]
	if r == nil || r.Overdue {
		return now
	}
	high := r.quietSince().Add(s.gap())
	if high <= now || s.Index(export, now) >= worth {
		return now
	}
	if s.Index(export, high) < worth {
		return high
	}
	low := now
	for high-low > Instant((20 * time.Millisecond).Microseconds()) {
		mid := low + (high-low)/2
		if s.Index(export, mid) >= worth {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}
