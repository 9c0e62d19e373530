// Package sim is the provider in virtual time: its limits, its slots and its
// renders, and a fleet that spends the budget through the project's own
// scheduling code (package pace, exactly as the gate drives it). The benchmark
// and the tests of the bounds run on it. It is for measuring, not for serving.
package sim

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/clipferry/clipferry/internal/pace"
)

// Shape is how the provider counts requests.
type Shape string

// The shapes of the limiter.
const (
	Fixed   Shape = "fixed"   // so many in each calendar minute
	Sliding Shape = "sliding" // so many in any sixty seconds
	Bucket  Shape = "bucket"  // a bucket of two that fills at the limit's rate
)

// Shapes are all of them.
var Shapes = []Shape{Fixed, Sliding, Bucket}

// limiter says whether a request that arrives at now is let through.
type limiter struct {
	shape  Shape
	limit  int
	size   float64 // of the bucket
	phase  pace.Instant
	log    []pace.Instant
	minute pace.Instant
	count  int
	level  float64
	filled pace.Instant
}

func newLimiter(shape Shape, limit int, phase pace.Instant) *limiter {
	size := 2.0
	if limit > 120 {
		size = float64(limit) / 60
	}
	return &limiter{shape: shape, limit: limit, size: size, phase: phase, level: size}
}

const minute = pace.Instant(60_000_000)

func (l *limiter) allow(now pace.Instant) bool {
	if l.limit == 0 {
		return true
	}
	switch l.shape {
	case Fixed:
		if m := (now + l.phase) / minute; m != l.minute {
			l.minute, l.count = m, 0
		}
		if l.count >= l.limit {
			return false
		}
		l.count++
	case Sliding:
		for len(l.log) > 0 && l.log[0] <= now-minute {
			l.log = l.log[1:]
		}
		if len(l.log) >= l.limit {
			return false
		}
		l.log = append(l.log, now)
	case Bucket:
		l.level = min(l.size, l.level+float64(now-l.filled)*float64(l.limit)/float64(minute))
		l.filled = now
		if l.level < 1-1e-9 {
			return false
		}
		l.level--
	}
	return true
}

// Workload is what is exported.
type Workload struct {
	Name   string
	Median float64 // of the render times, in seconds
	Sigma  float64 // of their logarithm, given size and resolution
	// Tail, if set, makes one render in twenty so many times longer.
	Tail float64
	// Shift, if set, multiplies the render times from the middle on.
	Shift float64
	// Load, if set, is the share of the slots' capacity that arrives; else
	// the backlog never ends.
	Load float64
	// Burst, if set, is how many exports there are, all from the beginning on;
	// Arrivals, if set, how many come a minute. Both instead of Load.
	Burst    int
	Arrivals float64
	// Most, if set, makes the render times uniform between Least and Most, in seconds.
	Least, Most float64
	// Progress is how clips become ready.
	Progress Progress
	// Stall, if set, is a time from the middle on in which nothing renders.
	Stall time.Duration
}

// Progress is how the clips of a render become ready.
type Progress string

// The ways in which clips become ready.
const (
	InTurn     Progress = ""           // one after the other
	Parallel   Progress = "parallel"   // four at a time
	AtTheEnd   Progress = "at the end" // all together, at the end
	Early      Progress = "early"      // all but nothing left after a fifth of the time
	NotGiven   Progress = "not given"  // answers name no clips
	Misleading Progress = "misleading" // each render does one of the above
)

// render is one export at the provider.
type render struct {
	tenant     Tenant
	id         string
	resolution string
	asked      int
	lengths    []float64 // of the clips, in seconds
	total      float64
	ready      []float64 // when each clip is ready, as a share of the duration
	given      bool      // answers name the clips
	duration   float64   // seconds
	fails      bool

	waitFrom pace.Instant // when it was enqueued
	began    pace.Instant
	ends     pace.Instant
	seen     bool
	reads    int
	lastRead pace.Instant
}

var resolutions = []struct {
	name   string
	factor float64
}{{"SD_480", 0.64}, {"HD_720", 1}, {"FHD_1080", 1.36}, {"UHD_4K", 2.2}}

// medianSize is the median of seconds × factor of what draw draws.
const medianSize = 427

// draw makes the next export of the workload.
func (w *Workload) draw(rnd *rand.Rand, id string) *render {
	res := resolutions[rnd.IntN(len(resolutions))]
	n := 1 + rnd.IntN(20)
	r := &render{id: id, resolution: res.name, given: true}
	if rnd.IntN(2) == 0 {
		r.asked = n // else all clips of the project, and nobody knows how many
	}
	for range n {
		r.lengths = append(r.lengths, 20+40*rnd.Float64())
		r.total += r.lengths[len(r.lengths)-1]
	}
	r.duration = w.Median * r.total * res.factor / medianSize * math.Exp(w.Sigma*rnd.NormFloat64())
	if w.Tail > 0 && rnd.IntN(20) == 0 {
		r.duration *= w.Tail
	}
	if w.Most > 0 {
		r.duration = w.Least + (w.Most-w.Least)*rnd.Float64()
	}
	r.fails = rnd.IntN(50) == 0
	if r.fails {
		r.duration *= rnd.Float64()
	}
	r.plan(w.Progress, rnd)
	return r
}

// plan says when the clips are ready.
func (r *render) plan(p Progress, rnd *rand.Rand) {
	if p == Misleading {
		p = []Progress{AtTheEnd, Early, InTurn, NotGiven}[rnd.IntN(4)]
	}
	lanes := 1
	switch p {
	case Parallel:
		lanes = 4
	case NotGiven:
		r.given = false
	}
	busy := make([]float64, lanes)
	longest := 0.0
	for _, s := range r.lengths {
		lane := 0
		for i := range busy {
			if busy[i] < busy[lane] {
				lane = i
			}
		}
		busy[lane] += s * math.Exp(0.3*rnd.NormFloat64())
		r.ready = append(r.ready, busy[lane])
		longest = max(longest, busy[lane])
	}
	for i := range r.ready {
		switch p {
		case AtTheEnd:
			r.ready[i] = 1
		case Early:
			r.ready[i] = 0.2 * rnd.Float64()
		default:
			r.ready[i] /= longest
		}
	}
}

// answer is what a read that arrives at now says.
func (r *render) answer(now pace.Instant) pace.Outcome {
	o := pace.Outcome{Result: pace.Answered}
	if now >= r.ends {
		o.Ended, o.Succeeded = true, !r.fails
	}
	if !r.given {
		return o
	}
	done := float64(now-r.began) / float64(r.ends-r.began)
	o.Clips, o.Seconds = len(r.lengths), r.total
	for i, at := range r.ready {
		if at <= done {
			o.ClipsReady++
			o.SecondsReady += r.lengths[i]
		}
	}
	return o
}

// provider is the whole of it.
type provider struct {
	limiter *limiter
	slots   int
	active  map[string]*render
}

// rendering is how many renders hold a slot at now.
func (p *provider) rendering(now pace.Instant) int {
	n := 0
	for id, r := range p.active {
		if r.ends <= now {
			delete(p.active, id)
			continue
		}
		n++
	}
	return n
}

// submit takes a submit that arrives at now, or refuses it.
func (p *provider) submit(r *render, now pace.Instant, scale float64) (rate, slot bool) {
	if !p.limiter.allow(now) {
		return false, true
	}
	if p.slots > 0 && p.rendering(now) >= p.slots {
		return true, false
	}
	r.began = now
	r.ends = now + pace.Instant(r.duration*scale*1e6)
	p.active[r.id] = r
	return true, true
}
