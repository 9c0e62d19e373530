package sim

import (
	"math"

	"github.com/clipferry/clipferry/internal/pace"
)

// send carries a request to the provider and its answer back.
func (r *run) send(id string, t pace.Turn) {
	x := r.renders[t.Export]
	latency := r.Latency.Seconds() * (0.5 + r.rnd.Float64())
	arrival := r.rnd.Float64()
	var o pace.Outcome
	r.after(0.002+latency*arrival, func() {
		if t.Kind == pace.Other {
			x = &render{began: r.now, ends: r.now + minute} // which one is no matter
		}
		if o = r.serve(x, t.Kind); pace.Passed(t.Export) {
			o = unknown(o)
		}
	})
	r.after(0.002+latency, func() {
		r.state.Finish(id, t, o, r.now, r.rnd.Float64())
		switch {
		case t.Kind == pace.Other:
			r.polled(t)
		case pace.Passed(t.Export):
			r.passedCame(x, t.Kind, o)
		default:
			r.came(x, t.Kind, o)
		}
		r.decide()
	})
}

// serve is the provider's part.
func (r *run) serve(x *render, k pace.Kind) pace.Outcome {
	r.requests++
	if k == pace.Submit {
		rate, slot := r.provider.submit(x, r.now, r.scale())
		if !rate || !slot {
			r.refused(rate)
			return pace.Outcome{Result: pace.Refused}
		}
		if len(r.freed) > 0 {
			r.refills = append(r.refills, r.now.Sub(r.freed[0]).Seconds())
			r.freed = r.freed[1:]
		}
		r.schedule(x)
		if r.started != nil {
			r.started()
		}
		r.startedFor(x)
		return pace.Outcome{Result: pace.Answered, Accepted: true}
	}
	if !r.provider.limiter.allow(r.now) {
		r.refused(false)
		return pace.Outcome{Result: pace.Refused}
	}
	if since := max(x.began, x.lastRead); r.Policy != Oracle {
		r.figures.Gap = max(r.figures.Gap, r.now.Sub(since).Seconds())
	}
	x.lastRead = r.now
	x.reads++
	return x.answer(r.now)
}

// schedule makes the oracle's read wait from the moment of the end.
func (r *run) schedule(x *render) {
	if w := r.Workload.Stall; w > 0 {
		middle := r.start + (r.end-r.start)/2
		if x.began < middle.Add(w) && x.ends > middle {
			x.ends = x.ends.Add(w - max(0, x.began.Sub(middle)))
		}
	}
	if r.Policy == Oracle {
		for t := x.began + 10*minute; t < x.ends; t += 10 * minute {
			// It reads nothing that would renew the slot's lease.
			r.at(t, func() { r.state.Hold(x.id, x.began, "", 0, r.now) })
		}
		r.at(x.ends, func() {
			if s := r.state.Renders[x.id]; s != nil {
				s.Overdue = true
			}
			r.join(x, pace.Read)
			r.decide()
		})
	}
}

func (r *run) refused(rate bool) {
	if rate {
		r.figures.SlotRefusals++
	} else {
		r.figures.RateRefusals++
	}
}

// came is what a worker does with an answer.
func (r *run) came(x *render, k pace.Kind, o pace.Outcome) {
	switch {
	case k == pace.Submit && !o.Accepted:
		r.join(x, pace.Submit)
		return
	case k == pace.Submit:
		r.inGate--
		if len(r.Tenants) > 0 {
			r.refillTenants()
		} else {
			r.refillLine()
		}
	case o.Ended:
		r.saw(x)
		return
	}
	if r.Policy != Oracle {
		r.later(x)
	}
}

// later schedules the next read as the worker does: a task of whole seconds,
// which starts up to half a second late.
func (r *run) later(x *render) {
	r.level()
	at := r.state.NextRead(x.id, r.now)
	whole := pace.Instant(math.Ceil(float64(at)/1e6)) * 1e6
	r.at(whole+pace.Instant(r.rnd.Float64()*5e5), func() {
		r.join(x, pace.Read)
		r.decide()
	})
}

// saw takes in that an end was seen.
func (r *run) saw(x *render) {
	if x.seen {
		return
	}
	x.seen = true
	r.lags = append(r.lags, max(0, r.now.Sub(x.ends).Seconds()))
	r.busy += x.ends.Sub(x.began).Seconds()
	r.freed = append(r.freed, r.now)
	delete(r.renders, x.id)
}

// looped is the life of one slot without a gate: submit, read every so often,
// back off 1, 2, 4, 8 … s when refused.
func (r *run) looped(x *render, refusals int) {
	retry := func() {
		r.after(math.Min(60, math.Pow(2, float64(refusals)))*(0.8+0.4*r.rnd.Float64()), func() { r.looped(x, refusals+1) })
	}
	kind := pace.Submit
	if x.began != 0 {
		kind = pace.Read
	}
	o := r.serve(x, kind)
	switch {
	case o.Result == pace.Refused:
		retry()
	case o.Ended:
		r.saw(x)
		r.after(0.4, func() { r.looped(r.draw(), 0) })
	default:
		every := 30.0
		if r.Policy == Every8 {
			every = 8
		}
		r.after(every, func() { r.looped(x, 0) })
	}
}

// stranger is somebody else who uses the key.
func (r *run) stranger() {
	r.strange[0]++
	if !r.provider.limiter.allow(r.now) {
		r.strange[1]++
	}
	r.after(r.rnd.ExpFloat64()*60/r.Strangers, r.stranger)
}
