package pace

import (
	"math"
	"time"
)

const (
	// refusalPause is the rest after a refusal that names none.
	refusalPause = 8 * time.Second
	// longestPause bounds what a Retry-After may ask for.
	longestPause = time.Hour
	// shareCut and shareGrowth (a minute) are how the believed rate falls
	// with a refusal and grows back: slowly, for what others use they go on using.
	shareCut    = 0.95
	shareGrowth = 0.01
	// submitRest is the rest of submits after one was refused for slots.
	submitRest = 5 * time.Second
	// singleRest is for how long a refusal forbids two requests in a row;
	// it doubles each time.
	singleRest = 10 * time.Minute
	// longestTook is the longest time in seconds that a request counts with
	// towards the usual.
	longestTook = 10.0
)

// Finish takes in what the turn brought, at now. The dice are a number in
// [0, 1) that spreads probes. A turn that is no longer known (its lease ended)
// has been counted already; what it brought is taken in all the same.
// The verdict is for a submit whose refusal may be the account's fault.
func (s *State) Finish(id string, t Turn, o Outcome, now Instant, dice float64) (v Verdict) {
	if _, ok := s.Turns[id]; ok {
		if o.Result == NotSent {
			delete(s.Turns, id)
			s.touch(prefixTurn, id)
			s.Gate.Spent.Sent[t.Kind]--
			s.touch(fieldSpent, "")
		} else {
			s.endTurn(id, now)
		}
	}
	s.Gate.At = now
	halt := s.Gate.haltOf(t.Export, t.Kind)
	switch {
	case o.Neutral:
	case o.Result == Answered:
		took := min(longestTook, max(0, now.Sub(t.Began).Seconds()))
		s.Gate.Took += alphaWide * (took - s.Gate.Took) // stored with the charge
		v = s.answered(t, o, now, dice)
	case o.Result == Refused:
		s.refused(t, o, now)
	case o.Result == Forbidden:
		s.Gate.Spent.Denied++
		s.touch(fieldSpent, "")
		s.halt(HaltForbidden, everything, now, dice)
	case o.Result == OutOfUnits:
		s.Gate.Spent.Denied++
		s.touch(fieldSpent, "")
		v = s.outOfUnits(t, o.Unspecific, now, dice)
	case o.Result == NotUnderstood:
		s.odd(t, now, dice)
	case o.Result == Failed, o.Result == InDoubt:
		s.failed(t, o, now, dice)
	}
	if t.Probe && halt != nil && halt.Why != "" && halt.Since < t.Began && halt.free(o) { // and on when it was probed
		halt.Probe = now
		s.touch(fieldGate, "")
	}
	switch t.Kind {
	case Submit:
		s.submitted(t, o, now)
	case Read, Refresh:
		s.read(t, o, now)
	}
	return v
}

// refused takes in a 429, which doesn't say which limit was meant.
func (s *State) refused(t Turn, o Outcome, now Instant) {
	g := &s.Gate
	g.Spent.Refused[t.Kind]++
	s.touch(fieldSpent, "")
	s.touch(fieldGate, "")
	again := g.RefusedAt != 0 && now.Sub(g.RefusedAt) < 2*refusalPause
	g.RefusedAt = now
	if g.Halts[everything].Why == HaltDown {
		s.works()
	}
	pause := min(o.RetryAfter, longestPause)
	full := s.Limits.PerMinute == 0 || s.rate(now) == float64(s.Limits.PerMinute)
	if t.Kind == Submit && s.Limits.Slots > 0 && full && !again {
		// Our own count had room, and nothing points to requests by others:
		// they use slots of this key.
		ours := len(s.Renders) - 1
		g.Slots, g.SlotsAt = max(1, ours), now
		g.SubmitPause = now.Add(submitRest)
		if ours < 1 {
			g.SubmitPause = now.Add(slotDoubt)
		}
		g.Pause = max(g.Pause, now.Add(pause))
		return
	}
	if pause == 0 {
		pause = refusalPause
	}
	g.Pause = max(g.Pause, now.Add(pause))
	if s.Limits.PerMinute == 0 {
		return
	}
	share := s.rate(now) / float64(s.Limits.PerMinute)
	g.Share, g.Shared = max(0.1, share*shareCut), now
	if now >= g.Single {
		g.Single = now.Add(singleRest << min(g.Singles, 5))
		g.Singles++
	}
}

func (s *State) submitted(t Turn, o Outcome, now Instant) {
	r := s.Renders[t.Export]
	if r == nil {
		if o.Result == Answered && o.Accepted {
			s.Hold(t.Export, now, "", 0, now)
		}
		return
	}
	switch {
	case o.Result == Answered && o.Accepted:
		r.Pending, r.Doubtful = false, false
		r.Started, r.Until = now, now.Add(s.lease())
		mu, _ := s.Learned.prior(r)
		r.Predicted = math.Exp(mu)
		s.touch(prefixSlot, t.Export)
		s.started(now)
	case o.Result == InDoubt, o.Result == NotUnderstood:
		s.doubt(t.Export, r, now)
	case r.Pending:
		s.Release(t.Export)
	}
}

// started keeps the mean time between two starts, for the estimate.
func (s *State) started(now Instant) {
	seen := &s.Learned.Seen
	if seen.Started != 0 {
		every := min(now.Sub(seen.Started).Seconds(), 3600)
		if seen.Every == 0 {
			seen.Every = every
		}
		seen.Every += alphaWide * (every - seen.Every)
	}
	seen.Started = now
	s.touch(fieldSeen, "")
}

func (s *State) read(t Turn, o Outcome, now Instant) {
	r := s.Renders[t.Export]
	if r == nil {
		return
	}
	if o.Result != Answered || o.Neutral && !o.Ended {
		s.extend(t.Export, r, now)
		return
	}
	if o.Ended {
		if o.Succeeded {
			s.ended(r, o, now)
		}
		s.Release(t.Export)
		if s.Gate.Slots > 0 {
			// A slot of ours is free for certain: try one more than believed.
			s.Gate.Slots = min(s.Limits.Slots, s.Gate.Slots+1)
			s.Gate.SubmitPause = 0
			s.touch(fieldGate, "")
		}
		return
	}
	r.Last, r.Overdue, r.Pending, r.Doubtful = now, false, false, false
	r.Reads++
	r.Until = now.Add(s.lease())
	r.take(o)
	r.narrow()
	r.note()
	r.modelGeneration = 0
	s.touch(prefixSlot, t.Export)
}

// take keeps what an answer says of the clips, where it makes sense.
func (r *Render) take(o Outcome) {
	r.Clips, r.Ready = max(0, o.Clips), max(0, min(o.ClipsReady, o.Clips))
	if o.Seconds > 0 && !math.IsInf(o.Seconds, 0) {
		r.Seconds = o.Seconds
	}
	if o.SecondsReady >= 0 && !math.IsInf(o.SecondsReady, 0) && !math.IsNaN(o.SecondsReady) {
		r.Done = o.SecondsReady
	}
}

// ended learns from a render that was seen to have ended at now.
func (s *State) ended(r *Render, o Outcome, now Instant) {
	last, age := r.ages(now)
	duration := (last + age) / 2
	if r.Last == 0 {
		duration = 0.8 * age
	}
	if o.Clips > 0 {
		r.take(o)
	}
	lag := age - duration
	seen := &s.Learned.Seen
	if !r.Overdue || r.Reads > 0 {
		for _, name := range s.Learned.learn(r, duration) {
			s.touch(prefixClass, name)
		}
	}
	seen.Lag = follow(seen.Lag, lag, seen.Ends)
	seen.Real = follow(seen.Real, duration, seen.Ends)
	if r.Predicted > 0 && duration > 0 {
		seen.Predicted = follow(seen.Predicted, r.Predicted, seen.Ends)
		seen.Miss = follow(seen.Miss, math.Abs(math.Log(duration/r.Predicted)), seen.Ends)
	}
	seen.Ends++
	s.touch(fieldSeen, "")
}
