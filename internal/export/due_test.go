package export

import (
	"errors"
	"testing"
	"time"
)

// A step that kills each worker that has it is taken over ever later, and not without end.
func TestAStepIsTakenOverSoOftenAtMost(t *testing.T) {
	for _, kind := range []Kind{StepSubmit, StepPoll, StepMirror, StepSeal} {
		t.Run(string(kind), func(t *testing.T) {
			r := map[Kind]func() *Record{
				StepSubmit: func() *Record { return at(t, Queued) },
				StepPoll:   func() *Record { return at(t, Rendering) },
				StepMirror: func() *Record { return at(t, Mirroring) },
				StepSeal: func() *Record {
					r := at(t, Mirroring)
					for idx, c := range r.Clips {
						must(t, r.ClipDone(noon, r.ExportTaskID, idx, c.Round, Object{Key: "k"}, nil, ""))
					}
					return r
				},
			}[kind]()
			now := noon
			due := func() Step {
				for _, s := range Due(r) {
					if s.Kind == kind && s.Clip == 0 {
						return s
					}
				}
				t.Fatalf("%s is not due", kind)
				return Step{}
			}
			var last time.Duration
			for n := range MaxTakeOvers {
				must(t, r.TakeOver(now, due()))
				wait := due().At.Sub(now)
				if n == 0 && wait > 0 || n > 0 && wait <= last {
					t.Errorf("take-over %d: due after %s, before it %s", n+1, wait, last)
				}
				last, now = max(wait, 0), now.Add(max(wait, 0)+time.Second)
			}
			met := r.Problem
			if kind == StepMirror {
				met = r.Clips[0].Problem
			}
			if met.Reason != ReasonWorkerDied || met.Count != MaxTakeOvers {
				t.Errorf("it says %+v", met)
			}
			if err := r.TakeOver(now, due()); !errors.Is(err, ErrStale) {
				t.Errorf("taken over once more: %v", err)
			}
			must(t, r.TakeOver(now.Add(2*time.Hour), due())) // what kills workers does so sooner
			if n := r.TimesTakenOver(due()); n != 1 {
				t.Errorf("%d times in a row", n)
			}
		})
	}
	t.Run("in a row", func(t *testing.T) {
		r := at(t, Rendering)
		must(t, r.TakeOver(noon, Due(r)[0]))
		must(t, r.Answer(noon, r.ExportTaskID, r.Step, ongoing(), noon))
		must(t, r.TakeOver(noon, Due(r)[0]))
		if n := r.TimesTakenOver(Due(r)[0]); n != 1 || !r.Problem.None() {
			t.Errorf("%d times, %+v", n, r.Problem)
		}
	})
}
