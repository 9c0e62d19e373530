package export

import (
	"fmt"
	"slices"
	"time"
)

// submittedAs goes on with a task that a person found at the provider. A request whose
// answer is still out is in doubt from then on: the task may be named wrong.
func (r *Record) submittedAs(now time.Time, task string) error {
	if r.accepted() && !r.unseen() {
		return fmt.Errorf("%s was accepted as task %s, not %s: %w", r.ID, r.ExportTaskID, task, ErrNotNow)
	}
	if slices.Contains(r.Previous, task) {
		return fmt.Errorf("task %s was given up for a new paid export: %w", task, ErrNotNow)
	}
	if r.Named {
		r.dropNamed()
	}
	if r.unsettled() {
		r.Doubts++
		r.settleIntent(r.IntentBy)
	}
	r.Named = !slices.Contains(r.Duplicates, task) // else the provider itself named it
	r.Duplicates = without(r.Duplicates, task)
	r.ReadAt = time.Time{}
	r.adopt(now, task)
	return nil
}

// unseen reports whether no read has known the task that a person named.
func (r *Record) unseen() bool { return r.Named && r.ReadAt.IsZero() }

// Dropped reports whether the task was named as the export's, and is not.
func (r *Record) Dropped(task string) bool {
	return r.ExportTaskID != task && slices.Contains(r.NamedWrong, task)
}

// maxNamedWrong bounds how many of the tasks that were named wrong are remembered.
const maxNamedWrong = 8

// dropNamed forgets a task that a person named wrong: it was never the export's.
func (r *Record) dropNamed() {
	wrong := append(without(r.NamedWrong, r.ExportTaskID), r.ExportTaskID)
	r.NamedWrong = wrong[max(0, len(wrong)-maxNamedWrong):]
	previous := r.Previous
	r.forget()
	r.Previous = previous
}

// foreign reports whether the reading of a task that a person named brings clips that
// were not ordered: it is another export's, and a manifest is never changed.
func (r *Record) foreign(a Reading) bool {
	return r.Named && r.State != Canceled && len(r.Wanted) > 0 && slices.ContainsFunc(a.Clips, func(c Clip) bool {
		return c.Link != "" && !slices.Contains(r.Wanted, c.Idx)
	})
}

// disown drops a task that a person named wrong and has a person decide again, unless
// another one is known that was paid for.
func (r *Record) disown(now time.Time, why Reason) {
	task := r.ExportTaskID
	r.dropNamed()
	r.UpdatedAt = now
	if n := len(r.Duplicates); n > 0 {
		task, r.Duplicates = r.Duplicates[n-1], r.Duplicates[:n-1]
		r.Problem.clear()
		r.adopt(now, task)
		return
	}
	r.State = Held
	r.Problem.note(now, Problem{Reason: why, Detail: task})
}
