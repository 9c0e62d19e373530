package export

import (
	"fmt"
	"slices"
	"time"
)

// Restore records that the export was archived in a life that Redis has
// forgotten: task, manifest and clips as the manifest names them. Like Accept it
// is [ErrStale] for a task that was given up. Another task of the export's was
// paid for as well.
func (r *Record) Restore(now time.Time, taskID, manifest string, clips []Clip) error {
	if err := r.may(EvRestore); err != nil {
		return err
	}
	if slices.Contains(r.Previous, taskID) {
		return fmt.Errorf("task %s was given up for a new paid export: %w", taskID, ErrStale)
	}
	if r.accepted() && r.ExportTaskID != taskID {
		r.Duplicates = append(r.Duplicates, r.ExportTaskID)
	}
	r.Duplicates = without(r.Duplicates, taskID)
	r.State, r.UpdatedAt = Archived, now
	r.Problem.clear()
	r.Named = false
	r.ExportTaskID, r.Manifest, r.Receipt = taskID, manifest, ReceiptDone
	r.Outcome, r.Read = RenderSucceeded, ReadNone
	if !r.over() {
		r.FinishedAt = now
	}
	known := r.Clips
	r.Clips = make(map[int]*Clip, len(clips))
	r.ClipCount, r.ArchivedCount, r.FailedCount, r.ArchivedBytes = 0, 0, 0, 0
	r.ClipProblem.clear()
	for i := range clips {
		c := clips[i]
		c.State = ClipArchived
		if was := known[c.Idx]; was != nil {
			c.Round = was.Round
		}
		r.Clips[c.Idx] = &c
		r.ClipCount++
		r.ArchivedCount++
		r.ArchivedBytes += c.Object.Size
	}
	return nil
}

// Replace records that the export's task was given up for another one, which was
// paid for at the time submitted, in a life that Redis has forgotten. It is
// [ErrStale] for a task that the record knows as its own or as given up.
func (r *Record) Replace(now time.Time, taskID string, submitted time.Time) error {
	if err := r.may(EvReplace); err != nil {
		return err
	}
	if taskID == "" || taskID == r.ExportTaskID || slices.Contains(r.Previous, taskID) {
		return fmt.Errorf("task %q is no news: %w", taskID, ErrStale)
	}
	r.Duplicates = without(r.Duplicates, taskID)
	if r.accepted() {
		r.forget()
	}
	r.adopt(now, taskID)
	r.SubmittedAt = submitted
	r.UpdatedAt = now
	r.Problem.clear()
	return nil
}

func without(tasks []string, task string) []string {
	return slices.DeleteFunc(slices.Clone(tasks), func(t string) bool { return t == task })
}
