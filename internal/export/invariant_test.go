package export

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// history is what a life so far has shown, for what must hold over time.
type history struct {
	tasks  map[string]bool    // accepted
	steps  map[string]meaning // every step that was ever due
	gone   map[string]bool    // those that were due and are no more
	titles map[string]string  // of each clip of each task, as first told
}

// meaning is what a task id stands for.
type meaning struct {
	task   string
	urgent bool
}

func newHistory() *history {
	return &history{tasks: map[string]bool{}, steps: map[string]meaning{}, gone: map[string]bool{}, titles: map[string]string{}}
}

// check returns what is wrong after the action, empty if nothing is.
func (h *history) check(before, r *Record, a action, err error) string {
	if err != nil {
		if !equal(before, r) {
			return fmt.Sprintf("%s was refused (%v) and changed the record", a.name, err)
		}
		return h.sameInPart(before, r, a, err)
	}
	for _, fault := range []string{
		counters(r), consistent(r), h.accepted(r, a), h.stepsOf(r), moved(before, r, a), h.titlesOf(r),
		roundTrip(r), h.sameInPart(before, r, a, err),
	} {
		if fault != "" {
			return fault
		}
	}
	return ""
}

// counters: what the document says of the clips is what the clips say.
func counters(r *Record) string {
	var archived, failed int
	var bytes int64
	for idx, c := range r.Clips {
		if c.Idx != idx || idx < 0 {
			return fmt.Sprintf("clip %d is kept under %d", c.Idx, idx)
		}
		switch c.State {
		case ClipArchived:
			archived++
			bytes += c.Object.Size
		case ClipFailed:
			failed++
		}
	}
	if r.ClipCount != len(r.Clips) || r.ArchivedCount != archived || r.FailedCount != failed || r.ArchivedBytes != bytes {
		return fmt.Sprintf("counted %d clips, %d archived, %d failed, %d bytes; they are %d, %d, %d, %d",
			r.ClipCount, r.ArchivedCount, r.FailedCount, r.ArchivedBytes, len(r.Clips), archived, failed, bytes)
	}
	return ""
}

// consistent: what a state means.
func consistent(r *Record) string {
	due := Due(r)
	switch r.State {
	case Queued, Submitting, Held:
		if r.accepted() {
			return fmt.Sprintf("%s, though accepted as %s: it would be paid for again", r.State, r.ExportTaskID)
		}
	case Rendering:
		if !r.accepted() || r.over() {
			return "rendering, without a task or after its end"
		}
	case Mirroring:
		if !r.accepted() || r.Outcome == "" {
			return "mirroring what was not rendered"
		}
	case Archived:
		if r.Manifest == "" || r.ArchivedCount != r.ClipCount {
			return "archived without a manifest or without all clips"
		}
	}
	for _, c := range r.Clips {
		if r.State == Failed && r.Problem.Reason == ReasonRenderFailed && c.State != ClipArchived && c.State != ClipFailed {
			return fmt.Sprintf("clip %d is %s and its export failed to render", c.Idx, c.State)
		}
	}
	if !r.State.Final() && len(due) == 0 {
		return fmt.Sprintf("stranded: %s, and nothing is due", r.State)
	}
	if r.State.Final() && r.Read == ReadNone && len(due) > 0 {
		return fmt.Sprintf("%s, and yet %v is due", r.State, due)
	}
	if r.Read != ReadNone && !r.accepted() {
		return "a read of no task is wanted"
	}
	if r.State.Final() && r.State != Canceled && r.Read != ReadNone {
		return fmt.Sprintf("%s is still read", r.State)
	}
	if r.IntentBy != "" && !r.accepted() && r.State != Submitting && r.State != Canceled {
		return fmt.Sprintf("%s while the request of %s is not settled", r.State, r.IntentBy)
	}
	if r.State == Submitting && r.IntentBy == "" {
		return "submitting for nobody"
	}
	return ""
}

// accepted: a task that was paid for is never dropped.
func (h *history) accepted(r *Record, a action) string {
	if a.accepts != "" {
		h.tasks[a.accepts] = true
	}
	if r.Named { // nobody but a person has said so yet
		delete(h.tasks, r.ExportTaskID)
	}
	for task := range h.tasks {
		if task != r.ExportTaskID && !slices.Contains(r.Duplicates, task) && !slices.Contains(r.Previous, task) {
			return fmt.Sprintf("task %s was paid for and is nowhere in the record", task)
		}
	}
	return ""
}

func identity(s Step) string { return fmt.Sprint(s.Kind, s.Clip, ":", s.N) }

// stepsOf: a task id stands for one thing, and once it is through it is not
// used again, since asynq may keep it.
func (h *history) stepsOf(r *Record) string {
	now := map[string]bool{}
	for _, s := range Due(r) {
		id := identity(s)
		if now[id] {
			return fmt.Sprintf("two steps are called %s", id)
		}
		now[id] = true
		if h.gone[id] {
			return fmt.Sprintf("step %s comes again", id)
		}
		m := meaning{r.ExportTaskID, s.Kind == StepMirror && r.Clips[s.Clip].Urgent}
		if known, ok := h.steps[id]; ok && known != m {
			return fmt.Sprintf("step %s stood for %+v and stands for %+v", id, known, m)
		}
		h.steps[id] = m
	}
	for id := range h.steps {
		if !now[id] {
			h.gone[id] = true
		}
	}
	return ""
}

// moved: what only grows, and what only certain events may do.
func moved(before, r *Record, a action) string {
	if r.Round < before.Round || r.Step < before.Step || r.SealRound < before.SealRound || r.RoundsBefore < before.RoundsBefore {
		return "a step number went back"
	}
	for idx, c := range r.Clips {
		if b := before.Clips[idx]; b != nil && c.Round < b.Round {
			return fmt.Sprintf("clip %d went back from round %d to %d", idx, b.Round, c.Round)
		}
	}
	if want := before.Attempts + boolInt(a.event == EvIntend); r.Attempts != want {
		return fmt.Sprintf("%d attempts after %s, were %d", r.Attempts, a.name, before.Attempts)
	}
	if before.State.Final() && r.State != before.State && a.event != EvRetry && a.event != EvAccept && a.event != EvRestore && a.event != EvReplace {
		return fmt.Sprintf("%s left the final state %s for %s", a.name, before.State, r.State)
	}
	given := before.ExportTaskID != "" && r.ExportTaskID != before.ExportTaskID
	free := before.Outcome == RenderFailed && before.CostUsage == 0 && before.Free
	if given && r.ExportTaskID == "" && !a.payAgain && !free && !before.Named {
		return fmt.Sprintf("%s gave up the paid task %s unasked", a.name, before.ExportTaskID)
	}
	if !given && a.event != EvRestore { // the manifest says better what was archived
		for idx, b := range before.Clips {
			c := r.Clips[idx]
			if c == nil || b.State == ClipArchived && (c.State != ClipArchived || c.Object.Key != b.Object.Key) {
				return fmt.Sprintf("clip %d was %s and is lost", idx, b.State)
			}
		}
	}
	return ""
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// titlesOf: the title names the object, so what was said first stays.
func (h *history) titlesOf(r *Record) string {
	for idx, c := range r.Clips {
		key := fmt.Sprint(r.ExportTaskID, "/", idx)
		if known := h.titles[key]; known != "" && c.Title != known {
			return fmt.Sprintf("clip %d was called %q and is called %q", idx, known, c.Title)
		}
		h.titles[key] = c.Title
	}
	return ""
}

// roundTrip: what is stored is what is loaded.
func roundTrip(r *Record) string {
	doc, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	back := &Record{Clips: map[int]*Clip{}, LastAnswer: r.LastAnswer}
	if err := json.Unmarshal(doc, back); err != nil {
		return err.Error()
	}
	for idx, c := range r.Clips {
		doc, err := json.Marshal(c)
		if err != nil {
			return err.Error()
		}
		back.Clips[idx] = &Clip{}
		if err := json.Unmarshal(doc, back.Clips[idx]); err != nil {
			return err.Error()
		}
	}
	want := clone(r)
	if len(want.Duplicates) == 0 {
		want.Duplicates = nil
	}
	if len(want.Wanted) == 0 {
		want.Wanted = nil
	}
	if !equal(want, back) {
		return fmt.Sprintf("stored %+v\nloaded %+v", want, back)
	}
	return ""
}

// sameInPart: a clip's step that loads only its clip does to the document and
// to the clip what it does with all of them.
func (h *history) sameInPart(before, r *Record, a action, err error) string {
	if a.clip < 0 {
		return ""
	}
	part := partial(before, a.clip)
	partErr := a.do(part)
	if (err == nil) != (partErr == nil) {
		return fmt.Sprintf("%s: %v with all clips, %v with its own", a.name, err, partErr)
	}
	if !equal(partial(r, a.clip), part) {
		return fmt.Sprintf("%s differs with one clip loaded:\n%+v\n%+v", a.name, partial(r, a.clip), part)
	}
	return ""
}

// wayOn: from here, if nothing fails any more and somebody says Retry where
// that is needed, the steps that are due lead to the archive.
func wayOn(from *Record, now time.Time) string {
	r := clone(from)
	for n := range 60 {
		if r.State == Archived {
			return ""
		}
		if r.State.Final() {
			if err := r.Retry(now, RetryOptions{PayAgain: true}); err != nil {
				return fmt.Sprintf("%s, and no retry helps: %v", r.State, err)
			}
		}
		now = now.Add(time.Minute)
		due := Due(r)
		if len(due) == 0 {
			return fmt.Sprintf("stranded as %s", r.State)
		}
		if err := serve(r, due[n%len(due)], now, n); err != nil {
			return fmt.Sprintf("%s, and its step %v is refused: %v", r.State, due[0], err)
		}
	}
	return fmt.Sprintf("still %s after 60 steps that went well", r.State)
}

// serve carries out one step as it goes when nothing fails.
func serve(r *Record, s Step, now time.Time, n int) error {
	switch s.Kind {
	case StepSubmit:
		if r.State == Submitting {
			return r.Lose(now, r.IntentBy, now, Resubmit, Problem{Reason: ReasonAnswerLost, Detail: "lost"})
		}
		if err := r.Intend(now, fmt.Sprint("fair", n)); err != nil {
			return err
		}
		return r.Accept(now, fmt.Sprint("fairtask", n, r.Round), "", "CREATED")
	case StepPoll:
		a := Reading{Status: "SUCCEEDED", Succeeded: true, ExpireAt: now.Add(48 * time.Hour)}
		for idx := range maxIdx + 2 {
			a.Clips = append(a.Clips, Clip{Idx: idx, Link: fmt.Sprint("https://fair/", n, "/", idx)})
		}
		return r.Answer(now, r.ExportTaskID, s.N, a, now)
	case StepMirror:
		return r.ClipDone(now, r.ExportTaskID, s.Clip, s.N, Object{Key: "k"}, nil, "")
	default:
		return r.Seal(now, "manifest")
	}
}
