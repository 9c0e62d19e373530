package export

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Kind is the kind of a step.
type Kind string

// The kinds of steps; each is an asynq task type.
const (
	StepSubmit Kind = "submit"
	StepPoll   Kind = "poll"
	StepMirror Kind = "mirror"
	StepSeal   Kind = "seal"
)

// Step is a task that must exist for an export to go on.
type Step struct {
	Kind Kind
	N    int       // submit round, poll step, mirror round, seal round
	Clip int       // mirror: the clip's index
	At   time.Time // not due earlier; zero means at once
}

// Due lists every task that must exist for the record as it stands. It is the
// one place that says so: called after each change, by steps that come late
// and by the sweeper, it makes the chain unbreakable, since a task that exists
// already is not added twice.
func Due(r *Record) []Step {
	var steps []Step
	if r.State == Queued || r.State == Submitting {
		steps = append(steps, Step{Kind: StepSubmit, N: r.Round, At: r.NotBefore})
	}
	if r.Read != ReadNone {
		steps = append(steps, Step{Kind: StepPoll, N: r.Step, At: r.PollAt})
	}
	if r.State == Rendering || r.State == Mirroring {
		for _, idx := range slices.Sorted(maps.Keys(r.Clips)) {
			if c := r.Clips[idx]; c.State == ClipReady {
				steps = append(steps, Step{Kind: StepMirror, N: c.Round, Clip: idx, At: c.NotBefore})
			}
		}
	}
	if r.Sealable() {
		steps = append(steps, Step{Kind: StepSeal, N: r.SealRound, At: r.SealAt})
	}
	return steps
}

// MaxTakeOvers is how often in a row a step is taken over. One whose worker dies each
// time may be what kills it: then it is left to the retries of the queue, which end.
const MaxTakeOvers = 5

// takenOver says how often in a row a step was taken over, under which number it went
// on, and when.
type takenOver struct {
	Kind  Kind      `json:"kind"`
	N     int       `json:"n"`
	Times int       `json:"times"`
	At    time.Time `json:"at"`
}

// takenOverOf is where that is counted for the step.
func (r *Record) takenOverOf(s Step) *takenOver {
	if s.Kind == StepMirror && r.Clips[s.Clip] != nil {
		return &r.Clips[s.Clip].TakenOver
	}
	return &r.TakenOver
}

// TimesTakenOver is how often in a row the step was taken over.
func (r *Record) TimesTakenOver(s Step) int {
	if t := r.takenOverOf(s); t.Kind == s.Kind && t.N == s.N {
		return t.Times
	}
	return 0
}

// TakeOver has a step go on under its next number, whose worker died with it: the first
// time at once, then ever later. It is [ErrStale] for one that was taken over too often.
func (r *Record) TakeOver(now time.Time, s Step) error {
	if err := r.may(EvTakeOver); err != nil {
		return err
	}
	if !IsDue(r, s) {
		return fmt.Errorf("%s step %d: %w", s.Kind, s.N, ErrStale)
	}
	times := r.TimesTakenOver(s)
	if now.Sub(r.takenOverOf(s).At) > time.Hour { // what kills workers does so sooner
		times = 0
	}
	if times >= MaxTakeOvers {
		return fmt.Errorf("%s step %d was taken over %d times: %w", s.Kind, s.N, times, ErrStale)
	}
	r.UpdatedAt = now
	problem, at := &r.Problem, now.Add(time.Duration(times*times)*15*time.Second)
	switch s.Kind {
	case StepSubmit:
		r.Round++
		r.NotBefore, s.N = at, r.Round
	case StepPoll:
		r.wantRead(r.Read, at)
		s.N = r.Step
	case StepMirror:
		c := r.Clips[s.Clip]
		c.Round++
		c.NotBefore, s.N = at, c.Round
		problem = &c.Problem
	case StepSeal:
		r.SealRound++
		r.SealAt, s.N = at, r.SealRound
	}
	times++
	*r.takenOverOf(s) = takenOver{s.Kind, s.N, times, now}
	if times > 1 && r.State != Canceled {
		problem.note(now, Problem{Reason: ReasonWorkerDied, Count: times})
	}
	return nil
}

// IsDue reports whether the step, whenever it is due, is one of [Due]: a step
// that came late, or twice, is not. A record without the clip of a mirror step
// has no such step.
func IsDue(r *Record, s Step) bool {
	return slices.ContainsFunc(Due(r), func(d Step) bool { return d.Kind == s.Kind && d.N == s.N && d.Clip == s.Clip })
}
