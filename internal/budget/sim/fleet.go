package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/clipferry/clipferry/internal/pace"
)

// Policy is how the fleet decides.
type Policy string

// The policies that are compared.
const (
	Ours    Policy = "clipferry"
	Equal   Policy = "equal shares" // through the same gate, the longest unread first
	Oracle  Policy = "oracle"       // through the same gate, knows each end, pays for the read
	Every8  Policy = "every 8 s"    // no gate, backs off after a refusal
	Every30 Policy = "every 30 s"
)

// Setup is one run.
type Setup struct {
	Workload  Workload
	Policy    Policy
	Shape     Shape
	PerMinute int
	Slots     int
	Workers   int
	Hours     float64
	Seed      uint64
	// Configured is the limit that the fleet believes in, if not PerMinute.
	Configured int
	Passed     Passed
	// Strangers use so many requests a minute of the same key.
	Strangers float64
	Latency   time.Duration // of a request, on average; 200 ms by default
	Prepare   time.Duration // what a submit does between slot and request; 100 ms by default
	Tenants   []Tenant      // that share the slots, instead of one endless line
}

// run is a fleet in virtual time.
type run struct {
	Setup
	rnd      *rand.Rand
	now      pace.Instant
	start    pace.Instant
	end      pace.Instant
	events   events
	seq      int
	provider *provider
	state    *pace.State
	renders  map[string]*render
	made     int
	nextWake pace.Instant

	lags     []float64
	requests int
	figures  Figures
	busy     float64
	freed    []pace.Instant
	refills  []float64
	backlog  []*render // light load: enqueued, not yet waiting
	inGate   int
	waiting  map[string][]*render // by tenant: not in the gate yet
	strange  [2]int
	passing  passing
	started  func() // called with each export that starts, for tests
}

type event struct {
	at  pace.Instant
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

func (r *run) at(t pace.Instant, do func()) {
	r.seq++
	heap.Push(&r.events, event{at: max(t, r.now), seq: r.seq, do: do})
}

func (r *run) after(d float64, do func()) { r.at(r.now+pace.Instant(d*1e6), do) }

// Run runs the setup and returns its figures. The same setup gives the same.
func Run(s Setup) Figures {
	r := prepare(s)
	r.play()
	return r.sum()
}

func prepare(s Setup) *run {
	if s.Latency == 0 {
		s.Latency = 200 * time.Millisecond
	}
	if s.Prepare == 0 {
		s.Prepare = 100 * time.Millisecond
	}
	s.Workers = max(1, s.Workers)
	if s.Configured == 0 {
		s.Configured = s.PerMinute
	}
	r := &run{
		Setup: s, rnd: rand.New(rand.NewPCG(s.Seed, 1)), renders: map[string]*render{},
		now: pace.Instant(1_800_000_000_000_000),
	}
	r.start = r.now
	r.end = r.now + pace.Instant(s.Hours*3600e6)
	r.provider = &provider{
		limiter: newLimiter(s.Shape, s.PerMinute, pace.Instant(r.rnd.Int64N(60e6))),
		slots:   s.Slots, active: map[string]*render{},
	}
	r.state = pace.NewState(pace.Limits{PerMinute: s.Configured, Slots: s.Slots})
	r.state.Create(r.now)
	r.begin()
	r.beginPassed()
	if s.Strangers > 0 {
		r.after(r.rnd.ExpFloat64()*60/s.Strangers, r.stranger)
	}
	return r
}

func (r *run) play() {
	for len(r.events) > 0 && r.events[0].at < r.end {
		e := heap.Pop(&r.events).(event)
		r.now = e.at
		e.do()
	}
}

// draw makes the next export; its own seed, so that all policies see the same.
func (r *run) draw() *render {
	r.made++
	id := fmt.Sprintf("e%d", r.made)
	x := r.Workload.draw(rand.New(rand.NewPCG(r.Seed, uint64(r.made)+7)), id)
	x.waitFrom = r.now
	r.renders[id] = x
	return x
}

func (r *run) scale() float64 {
	if r.Workload.Shift > 0 && r.now > r.start+(r.end-r.start)/2 {
		return r.Workload.Shift
	}
	return 1
}

func (r *run) begin() {
	if r.Policy == Every8 || r.Policy == Every30 {
		for range max(r.Slots, 1) {
			r.after(r.rnd.Float64()*2, func() { r.looped(r.draw(), 0) })
		}
		return
	}
	if len(r.Tenants) > 0 {
		r.comeTenants()
		r.decide()
		return
	}
	for range r.Workload.Burst {
		r.backlog = append(r.backlog, r.draw())
	}
	if r.Workload.Load > 0 || r.Workload.Arrivals > 0 {
		r.arrive()
	}
	r.refillLine()
	r.decide()
}

// open says whether exports come by themselves, so that the backlog may be empty.
func (w *Workload) open() bool { return w.Load > 0 || w.Arrivals > 0 || w.Burst > 0 }

// arrive makes exports come one at a time, at the load's rate.
func (r *run) arrive() {
	every := r.Workload.Median * 1.45 / (float64(r.Slots) * r.Workload.Load)
	if r.Workload.Arrivals > 0 {
		every = 60 / r.Workload.Arrivals
	}
	r.after(r.rnd.ExpFloat64()*every, func() {
		r.backlog = append(r.backlog, r.draw())
		r.refillLine()
		r.decide()
		r.arrive()
	})
}

// refillLine keeps two submits of each worker in the gate.
func (r *run) refillLine() {
	for r.inGate < 2*r.Workers {
		var x *render
		if r.Workload.open() {
			if len(r.backlog) == 0 {
				return
			}
			x, r.backlog = r.backlog[0], r.backlog[1:]
		} else {
			x = r.draw()
		}
		r.inGate++
		r.join(x, pace.Submit)
	}
}

func (r *run) join(x *render, k pace.Kind) {
	r.seq++
	stage := pace.Plain
	if k == pace.Submit {
		stage = pace.Unslotted
	}
	r.state.Join(fmt.Sprintf("%s-%d", k, r.seq), pace.Waiter{
		Export: x.id, Kind: k, Since: x.waitFrom, Resolution: x.resolution, Clips: x.asked,
		Worker: "w", Joined: r.now, Stage: stage, Tenant: x.tenant.Name, Share: x.tenant.Share,
	}, r.now)
}

// decide gives turns to whoever is chosen, and comes back when it has to.
func (r *run) decide() {
	r.state.Settle(r.now)
	for {
		c := r.next()
		if c.Waiter == "" {
			wake := min(c.At, r.state.Ends())
			if wake != pace.Never && (r.nextWake <= r.now || wake < r.nextWake) {
				r.nextWake = wake
				r.at(wake+1, func() {
					if r.now > r.nextWake {
						r.nextWake = 0
						r.decide()
					}
				})
			}
			return
		}
		if r.state.Waiters[c.Waiter].Stage == pace.Unslotted {
			r.prepare(c.Waiter)
			continue
		}
		t := r.state.Claim(c.Waiter, r.now)
		r.send(c.Waiter, t)
	}
}

// level makes every read worth a request at once, if shares are equal.
func (r *run) level() {
	if r.Policy == Equal {
		for _, x := range r.state.Renders {
			x.Overdue = true
		}
	}
}

// next is who is next by the policy. Of reads with equal shares it is the longest unread.
func (r *run) next() pace.Choice {
	r.level()
	c := r.state.Next(r.now)
	if r.Policy != Equal || c.Waiter == "" || r.state.Waiters[c.Waiter].Kind != pace.Read {
		return c
	}
	for id, w := range r.state.Waiters {
		if a, b := r.unreadSince(id), r.unreadSince(c.Waiter); w.Kind == pace.Read && (a < b || a == b && id < c.Waiter) {
			c.Waiter = id
		}
	}
	return c
}

func (r *run) unreadSince(waiter string) pace.Instant {
	x := r.state.Renders[r.state.Waiters[waiter].Export]
	if x == nil {
		return 0
	}
	return max(x.Started, x.Last)
}

// prepare gives the submit its slot, and it does what it does before its request.
func (r *run) prepare(id string) {
	r.state.Reserve(id, r.now)
	r.after(r.Prepare.Seconds(), func() {
		r.state.Ready(id)
		r.decide()
	})
}
