package export

import (
	"cmp"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// TaskKind is what kind of task of the provider an export stands for that clipferry
// did not order: it was made elsewhere, and is read and archived only.
type TaskKind string

// The kinds of tasks that can be taken up; empty is an export of our own.
const (
	TaskOrdered TaskKind = ""
	TaskExport  TaskKind = "export"  // of the Clips Export API
	TaskClips   TaskKind = "clips"   // of POST /clips, with enable_export
	TaskMoments TaskKind = "moments" // of POST /clips/find-moments, with enable_export
)

// TaskKinds lists the kinds that can be taken up.
func TaskKinds() []TaskKind { return []TaskKind{TaskExport, TaskClips, TaskMoments} }

// Known reports whether k is one of [TaskKinds].
func (k TaskKind) Known() bool { return slices.Contains(TaskKinds(), k) }

// NewImport returns the record of a task that was made elsewhere: it is born
// rendering, and never submitted. request is what is known of the task's, for the
// manifest and the receipt.
func NewImport(id string, kind TaskKind, task string, request json.RawMessage, digest, project string, now time.Time) *Record {
	r := New(id, request, digest, project, now)
	r.Kind = kind
	r.State, r.ExportTaskID, r.SubmittedAt = Rendering, task, now
	r.wantRead(ReadRender, now)
	return r
}

// Imported reports whether the task was made elsewhere.
func (r *Record) Imported() bool { return r.Kind != TaskOrdered }

// Inline reports whether clips may still come once the provider says SUCCEEDED: those
// of a task that renders them by itself appear as each of them ends, and nothing says
// how many will come.
func (r *Record) Inline() bool { return r.Kind == TaskClips || r.Kind == TaskMoments }

// news notes that a read brought something that was not known.
func (r *Record) news(now time.Time) {
	if r.Inline() {
		r.NewsAt = now
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// beforeDeadlineSlack is how long before the deadline further clips are no longer
// waited for: the manifest must be written while a link can still be had.
const beforeDeadlineSlack = 15 * time.Minute

// SettlesAt returns until when further clips of a task that has succeeded are waited
// for, which is for as long as nothing new may come after the last news; zero if
// that is not waited for.
func (r *Record) SettlesAt(quiet time.Duration) time.Time {
	if !r.Inline() {
		return time.Time{}
	}
	at := r.NewsAt.Add(quiet)
	if latest := r.ExpireAt.Add(-beforeDeadlineSlack); !r.ExpireAt.IsZero() && at.After(latest) {
		return latest
	}
	return at
}

// ImportAgain takes up a task that was to be imported and that the provider did not
// know, perhaps as one of another kind.
func (r *Record) ImportAgain(now time.Time, kind TaskKind) error {
	if r.State != Failed || r.Problem.Reason != ReasonTaskNotFound {
		return ErrStale
	}
	if err := r.may(EvRetry); err != nil {
		return err
	}
	r.Kind, r.UpdatedAt = kind, now
	r.Problem.clear()
	r.resume(now)
	return nil
}

// LookAgain has a task that is archived read once more, for clips that appeared since.
func (r *Record) LookAgain(now time.Time) error {
	if r.State != Archived || !r.Inline() || r.Read != ReadNone || r.PastDeadline(now) {
		return ErrStale
	}
	r.wantRead(ReadLate, now)
	return nil
}

// lookedAgain notes what the read of an archived task shows that is not archived.
func (r *Record) lookedAgain(a Reading) {
	r.Read, r.Late = ReadNone, nil
	for _, c := range a.Clips {
		if c.Link != "" && r.Clips[c.Idx] == nil && !slices.Contains(r.Skip, c.Idx) {
			r.Late = append(r.Late, c.Idx)
		}
	}
	slices.Sort(r.Late)
}

// ReadTask is the provider's id of the task.
func (r *Record) ReadTask() string { return cmp.Or(r.ReadAs, r.ExportTaskID) }

// Next returns the export that takes up the clips of the task which appeared late: a
// manifest is never changed. It has a name and a folder of its own, by its number.
func (r *Record) Next(now time.Time) *Record {
	id, task := NextPart(r.ID), NextPart(r.ExportTaskID)
	next := NewImport(id, r.Kind, task, r.Request, r.Digest, r.ProjectID, now)
	next.Account, next.Tenant, next.Notify, next.Name = r.Account, r.Tenant, r.Notify, r.Name
	next.ReadAs = r.ReadTask()
	next.Skip = append(slices.Collect(maps.Keys(r.Clips)), r.Skip...)
	slices.Sort(next.Skip)
	return next
}

var part = regexp.MustCompile(`^(.*)\.late-([0-9]{1,6})$`)

// NextPart names what comes after an import, or after what came after it.
func NextPart(id string) string {
	if m := part.FindStringSubmatch(id); m != nil {
		n, _ := strconv.Atoi(m[2]) // six digits
		return m[1] + ".late-" + strconv.Itoa(n+1)
	}
	return id + ".late-1"
}

// maxUnknownImport is [MaxUnknown] for a task that was never read: it is more likely
// that its id is wrong than that the provider errs.
const maxUnknownImport = 2

// maxUnknown is how many answers in a row may not know the export's task.
func (r *Record) maxUnknown() int {
	if r.Imported() && r.Polls == 0 || r.unseen() {
		return maxUnknownImport
	}
	return MaxUnknown
}
