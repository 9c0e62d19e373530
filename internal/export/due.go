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

// TakeOver has a step go on under its next number, whose worker died with it.
func (r *Record) TakeOver(now time.Time, s Step) error {
	if err := r.may(EvTakeOver); err != nil {
		return err
	}
	if !IsDue(r, s) {
		return fmt.Errorf("%s step %d: %w", s.Kind, s.N, ErrStale)
	}
	r.UpdatedAt = now
	switch s.Kind {
	case StepSubmit:
		r.Round++
		r.NotBefore = time.Time{}
	case StepPoll:
		r.wantRead(r.Read, now)
	case StepMirror:
		c := r.Clips[s.Clip]
		c.Round++
		c.NotBefore = time.Time{}
	case StepSeal:
		r.SealRound++
		r.SealAt = time.Time{}
	}
	return nil
}

// IsDue reports whether the step, whenever it is due, is one of [Due]: a step
// that came late, or twice, is not. A record without the clip of a mirror step
// has no such step.
func IsDue(r *Record, s Step) bool {
	return slices.ContainsFunc(Due(r), func(d Step) bool { return d.Kind == s.Kind && d.N == s.N && d.Clip == s.Clip })
}
