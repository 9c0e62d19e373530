package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/clipferry/clipferry/internal/pace"
)

// Passed is what clients pass through beside the exports. Each of Clients makes one
// task after another: it waits for its turn no longer than passedWait, comes back when
// it is told to, and then reads its results every 8 s, which costs nothing: they are
// read as exports are. Each of Readers reads a task that was made elsewhere every 8 s,
// and gets the last answer until it is passedSoonest old.
type Passed struct {
	Clients, Readers int
}

const (
	passedWait    = 25 * time.Second
	passedAgain   = 20 * time.Second
	passedThink   = 5 * time.Second
	passedPoll    = 8 * time.Second
	passedSoonest = 15 * time.Second
)

// passing is how that goes.
type passing struct {
	made  int
	tries map[string]string // the waiter of each task that waits for its submit
	read  map[string]reader
	waits []float64 // from the first try to the acceptance
	lags  []float64
	ages  []float64 // of the answers that the readers get
}

type reader struct {
	last    pace.Instant // the answer came
	waiting bool
}

// beginPassed starts the clients.
func (r *run) beginPassed() {
	r.passing = passing{tries: map[string]string{}, read: map[string]reader{}}
	for range r.Passed.Clients {
		r.after(r.rnd.Float64()*10, r.passNext)
	}
	for i := range r.Passed.Readers {
		r.after(r.rnd.Float64()*8, func() { r.poll(fmt.Sprintf("%sreader-%d", pace.PassedPrefix, i)) })
	}
}

// passNext is a client with its next task.
func (r *run) passNext() {
	r.passing.made++
	id := fmt.Sprintf("%s%d", pace.PassedPrefix, r.passing.made)
	x := r.Workload.draw(rand.New(rand.NewPCG(r.Seed, uint64(r.passing.made)+1<<32)), id)
	x.resolution, x.asked, x.waitFrom = "passed:clips", 0, r.now
	r.renders[id] = x
	r.tryToPass(x)
}

// tryToPass puts the task in line until its client gives up for now.
func (r *run) tryToPass(x *render) {
	id := r.enter(x.id, pace.Submit, x.waitFrom)
	r.passing.tries[x.id] = id
	r.after(passedWait.Seconds(), func() {
		if r.state.Waiters[id] == nil {
			return
		}
		r.state.Leave(id)
		r.after(passedAgain.Seconds()*(1+r.rnd.Float64()), func() { r.tryToPass(x) })
		r.decide()
	})
	r.decide()
}

// enter puts something passed through in line.
func (r *run) enter(id string, k pace.Kind, since pace.Instant) string {
	r.seq++
	waiter := fmt.Sprintf("%s-%d", k, r.seq)
	r.state.Join(waiter, pace.Waiter{Export: id, Kind: k, Since: since, Resolution: "passed:clips", Worker: "w", Joined: r.now}, r.now)
	return waiter
}

// poll is a reader: it gets the last answer again, or waits for one.
func (r *run) poll(name string) {
	k := r.passing.read[name]
	switch age := r.now.Sub(k.last); {
	case k.waiting:
	case k.last != 0 && age < passedSoonest:
		r.passing.ages = append(r.passing.ages, age.Seconds())
	default:
		k.waiting = true
		r.passing.read[name] = k
		r.enter(name, pace.Other, r.now)
		r.decide()
	}
	r.after(passedPoll.Seconds(), func() { r.poll(name) })
}

// answered is the answer to a reader, which it has waited for.
func (r *run) polled(t pace.Turn) {
	r.passing.read[t.Export] = reader{last: r.now}
	r.passing.ages = append(r.passing.ages, t.Waited.Sub(0).Seconds())
}

// passedCame is what follows from an answer about a task of a client.
func (r *run) passedCame(x *render, k pace.Kind, o pace.Outcome) {
	switch {
	case k == pace.Submit && !o.Accepted:
		r.tryToPass(x)
	case k == pace.Submit:
		r.passing.waits = append(r.passing.waits, r.now.Sub(x.waitFrom).Seconds())
		r.later(x)
	case o.Ended:
		r.passing.lags = append(r.passing.lags, max(0, r.now.Sub(x.ends).Seconds()))
		r.busy += x.ends.Sub(x.began).Seconds()
		delete(r.renders, x.id)
		r.after(passedThink.Seconds(), r.passNext)
	default:
		r.later(x)
	}
}

// unknown is an answer whose clips nobody looks at: what is passed through is not
// understood further than whether it is over.
func unknown(o pace.Outcome) pace.Outcome {
	return pace.Outcome{Result: o.Result, Accepted: o.Accepted, Ended: o.Ended, Succeeded: o.Succeeded}
}
