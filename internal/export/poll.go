package export

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// The limits on what a read may leave open before it is called a failure.
const (
	// MaxMisses is how many reads at SUCCEEDED may lack a clip or a link.
	MaxMisses = 6
	// MaxUnknown is how many answers in a row may not know an accepted task.
	MaxUnknown = 6
)

// Reading is what one status read said.
type Reading struct {
	Name      string
	Status    string // as the provider spells it
	Succeeded bool
	Failed    bool
	Message   string // error_message
	ExpireAt  time.Time
	CostUsage float64
	Free      bool   // it says in so many words that the export cost nothing
	Clips     []Clip // Idx, Title … Link, Thumbnail; the rest is ignored
	Nameless  int    // further clips, of which nobody can say which they are
	Odd       string // what of it has a form that nobody knows: nothing that it lacks is missing for good
	Raw       json.RawMessage
	Quiet     time.Duration // how long nothing may come before a task made elsewhere counts as complete
}

// Answer merges the reading of the task at poll step n; the next read, where one
// is wanted, is due at nextPoll.
func (r *Record) Answer(now time.Time, task string, n int, a Reading, nextPoll time.Time) error {
	if err := r.mayTask(EvAnswer, task); err != nil {
		return err
	}
	if err := r.mayStep(EvAnswer, n); err != nil {
		return err
	}
	if r.State == Archived {
		r.lookedAgain(a)
		return nil
	}
	if r.foreign(a) {
		r.disown(now, ReasonTaskForeign)
		return nil
	}
	if r.Named && (a.Succeeded || a.Failed || slices.ContainsFunc(a.Clips, func(c Clip) bool { return c.Link != "" })) {
		r.Named = false
	}
	r.UpdatedAt = now
	r.Polls++
	r.ReadAt = now
	r.Unknown = 0
	r.ProviderStatus = a.Status
	if r.Name == "" {
		r.Name = a.Name
	}
	r.noteOdd(now, a.Odd)
	r.LastAnswer = a.Raw
	if !a.ExpireAt.IsZero() {
		r.ExpireAt = a.ExpireAt
	}
	if a.CostUsage != 0 {
		r.CostUsage = a.CostUsage
	}
	r.Free = a.Failed && a.Free && r.CostUsage == 0
	if (a.Succeeded || a.Failed) && !r.over() {
		r.FinishedAt = now
		r.news(now)
	}
	switch {
	case a.Failed:
		r.Outcome = RenderFailed
	case a.Succeeded:
		r.Outcome = RenderSucceeded
	}
	r.Nameless = 0
	if a.Succeeded && len(r.Wanted) == 0 { // else those that are wanted are missed by their index
		r.Nameless = a.Nameless
	}
	if r.State == Canceled {
		r.drain(nextPoll)
		return nil
	}
	stale := r.merge(now, a.Clips)
	if a.Succeeded {
		r.State = Mirroring
	}
	switch {
	case a.Failed:
		r.failRender(now, a.Message)
	case a.Odd != "" && r.State == Mirroring && !r.complete() && !r.PastDeadline(now):
		r.wantRead(ReadMissing, nextPoll)
	case a.Succeeded:
		r.finish(now, stale, a.Quiet, nextPoll)
	case r.State == Mirroring: // it was over once; only a refresh brought us here
		r.finish(now, stale, a.Quiet, nextPoll)
	default:
		r.wantRead(ReadRender, nextPoll)
	}
	return nil
}

// noteOdd notes what of an answer has a form that nobody knows. If it is all known,
// nothing is wrong any more.
func (r *Record) noteOdd(now time.Time, odd string) {
	if odd == "" {
		r.ReadFaults = 0
		r.Problem.clear()
		return
	}
	r.ReadFaults++
	r.Problem.note(now, Problem{Reason: ReasonNotUnderstood, Detail: odd})
}

func (r *Record) mayStep(e Event, n int) error {
	if err := r.may(e); err != nil {
		return err
	}
	if r.Read == ReadNone || n != r.Step {
		return fmt.Errorf("poll step %d, current is %d: %w", n, r.Step, ErrStale)
	}
	return nil
}

func (r *Record) drain(nextPoll time.Time) {
	if r.over() {
		r.Read = ReadNone
		return
	}
	r.wantRead(ReadDrain, nextPoll)
}

// failRender ends an export that the provider could not render. Clips that it has a link
// for were paid for and come first; those that it has none for never will have one.
func (r *Record) failRender(now time.Time, message string) {
	r.State = Mirroring
	r.Read = ReadNone
	why := Problem{Reason: ReasonRenderFailed, Detail: message}
	r.Problem.note(now, why)
	for _, c := range r.Clips {
		if c.State == ClipStale || c.State == ClipWaiting {
			r.failClip(now, c, why)
		}
	}
	r.settle()
}

// merge takes over what the reading says of each clip and returns how many
// clips with a refused link got none. Of a clip that is listed twice the first entry
// with a link counts.
func (r *Record) merge(now time.Time, clips []Clip) (stale int) {
	if r.Clips == nil {
		r.Clips = map[int]*Clip{}
	}
	linked := map[int]bool{}
	for i := range clips {
		in := &clips[i]
		if in.Idx < 0 || slices.Contains(r.Skip, in.Idx) || linked[in.Idx] || in.Link == "" && r.unasked(in.Idx) {
			continue
		}
		linked[in.Idx] = in.Link != ""
		r.mergeClip(now, in)
	}
	for _, c := range r.Clips {
		if c.State == ClipStale {
			stale++
		}
	}
	return stale
}

// unasked reports whether the clip is neither known nor among those that were
// asked for: the provider may list a project's other clips, without links.
func (r *Record) unasked(idx int) bool {
	return len(r.Wanted) > 0 && !slices.Contains(r.Wanted, idx) && r.Clips[idx] == nil
}

func (r *Record) mergeClip(now time.Time, in *Clip) {
	c := r.Clips[in.Idx]
	if c == nil {
		c = r.newClip(in.Idx)
		r.news(now)
	}
	if c.State == ClipArchived || c.State == ClipFailed {
		return
	}
	// The title names the object: what was said first stays.
	if c.Title == "" {
		c.Title = in.Title
	}
	c.Desc, c.Tags, c.Score, c.BeginMS, c.EndMS = in.Desc, in.Tags, in.Score, in.BeginMS, in.EndMS
	if in.Thumbnail != "" {
		c.Thumbnail = in.Thumbnail
	}
	if in.Link == "" {
		return
	}
	if c.State == ClipWaiting {
		r.news(now)
	}
	refused, same := c.State == ClipStale, c.Link == in.Link
	if !same {
		if refused && c.DiedAfter >= ownWait && (r.LinkLife == 0 || c.DiedAfter < r.LinkLife) {
			r.LinkLife = c.DiedAfter
		}
		c.LinkAt, c.DiedAfter = now, 0
	}
	c.Link = in.Link
	if c.State == ClipReady {
		return
	}
	c.State = ClipReady
	c.Round++
	c.NotBefore = now
	switch {
	case refused && same && c.DiedAfter > 0: // the provider says that it works
		c.NotBefore = r.afterRefusal(now, c)
	case refused: // it may have waited too long in our own queue, and must not again
		c.Urgent = true
	}
}

// finish decides, after the provider's end, whether another read is wanted.
func (r *Record) finish(now time.Time, stale int, quiet time.Duration, nextPoll time.Time) {
	missing, settling := r.missing(), now.Before(r.SettlesAt(quiet))
	switch {
	case settling && stale == 0:
		r.wantRead(ReadSettle, earlier(nextPoll, r.SettlesAt(quiet)))
		return
	case !settling && len(missing) > 0 && r.Misses < MaxMisses:
		r.Misses++
		r.wantRead(ReadMissing, nextPoll)
		return
	case stale > 0 && !r.PastDeadline(now):
		r.StaleReads++
		r.wantRead(ReadRefresh, nextPoll)
		return
	}
	r.Read = ReadNone
	for _, idx := range missing {
		r.failClip(now, r.clip(idx), Problem{Reason: ReasonLinkMissing, Count: r.Misses})
	}
	for _, c := range r.Clips {
		if c.State == ClipStale {
			r.failClip(now, c, Problem{Reason: c.Problem.Reason, Detail: c.Problem.Detail})
		}
	}
	if r.ClipCount == 0 && r.Outcome != RenderFailed {
		r.State = Failed
		r.Problem.note(now, Problem{Reason: ReasonNoClips, Count: r.Misses})
		return
	}
	r.settle()
}

// missing lists the clips that a complete export must have a link for and has not.
func (r *Record) missing() []int {
	var idx []int
	for _, i := range r.Wanted {
		if r.Clips[i] == nil {
			idx = append(idx, i)
		}
	}
	for _, i := range slices.Sorted(maps.Keys(r.Clips)) {
		if r.Clips[i].State == ClipWaiting {
			idx = append(idx, i)
		}
	}
	if len(idx) == 0 && (r.ClipCount == 0 || r.Nameless > 0) {
		return []int{-1} // all clips were asked for, and none is known or some can't be told apart
	}
	return idx
}

// clip returns the clip, known or not; index -1 stands for "any" and has none.
func (r *Record) clip(idx int) *Clip {
	if idx < 0 {
		return nil
	}
	c := r.Clips[idx]
	if c == nil {
		c = r.newClip(idx)
	}
	return c
}

func (r *Record) newClip(idx int) *Clip {
	c := &Clip{Idx: idx, State: ClipWaiting, Round: r.RoundsBefore}
	r.Clips[idx] = c
	r.ClipCount++
	return c
}

// ReadFault records that poll step n failed; the next try is due at nextPoll.
func (r *Record) ReadFault(now time.Time, n int, why Problem, nextPoll time.Time) error {
	if err := r.mayStep(EvReadFault, n); err != nil {
		return err
	}
	if r.State == Archived { // whoever asked asks again
		r.Read = ReadNone
		return nil
	}
	r.UpdatedAt = now
	r.ReadFaults++
	r.Problem.note(now, why)
	r.wantRead(r.Read, nextPoll)
	return nil
}
