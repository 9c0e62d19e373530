package export

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"
)

var noon = time.Date(2026, 4, 7, 12, 0, 0, 0, time.UTC)

func newRecord() *Record {
	return New("exp_a", json.RawMessage(`{"project_id":"p"}`), "digest", "p", noon)
}

// clone returns a copy that shares nothing with r.
func clone(r *Record) *Record {
	c := *r
	c.Duplicates, c.Previous = slices.Clone(r.Duplicates), slices.Clone(r.Previous)
	c.Wanted, c.Request = slices.Clone(r.Wanted), slices.Clone(r.Request)
	c.Clips = make(map[int]*Clip, len(r.Clips))
	for idx, clip := range r.Clips {
		k := *clip
		k.Tags = slices.Clone(clip.Tags)
		c.Clips[idx] = &k
	}
	return &c
}

// partial returns a copy that holds one clip only, as a mirror step loads it.
func partial(r *Record, idx int) *Record {
	c := clone(r)
	maps.DeleteFunc(c.Clips, func(i int, _ *Clip) bool { return i != idx })
	return c
}

func equal(a, b *Record) bool { return reflect.DeepEqual(a, b) }

// choose picks one of n.
type choose func(n int) int

// action is one thing that may happen, with all it brings along.
type action struct {
	event Event
	// more are the events that it may turn into, such as a read that finds the
	// export expired.
	more []Event
	name string
	clip int // the clip that it is about, -1 for none
	do   func(*Record) error

	accepts  string // the task that it brings
	payAgain bool
}

// walker draws actions at random and lets time go on.
type walker struct {
	pick choose
	now  time.Time
	n    int // tasks, links and tokens so far
}

func (w *walker) one(of ...int) int { return of[w.pick(len(of))] }
func (w *walker) fresh(what string) string {
	w.n++
	return fmt.Sprint(what, w.n)
}

// maxIdx bounds the clips of a walk.
const maxIdx = 3

func (w *walker) reading() Reading {
	a := Reading{Status: "ONGOING"}
	switch w.pick(4) {
	case 0:
		a.Status, a.Failed, a.Message = "Failed", true, "no"
	case 1, 2:
		a.Status, a.Succeeded = "SUCCEEDED", true
	}
	a.CostUsage = float64(w.one(0, 48))
	a.Free = a.CostUsage == 0 && w.pick(2) == 0
	if w.pick(2) == 0 {
		a.ExpireAt = w.now.Add(time.Duration(w.one(-1, 1, 72)) * time.Hour)
	}
	for i := range w.pick(5) {
		c := Clip{Idx: w.pick(maxIdx+1) - w.one(0, 0, 0, 1), Title: w.fresh("title")}
		switch w.pick(4) {
		case 0, 1:
			c.Link = w.fresh("https://x/")
		case 2:
			c.Link = fmt.Sprint("https://x/same", i)
		}
		a.Clips = append(a.Clips, c)
	}
	return a
}

// all returns one action of every kind, aimed at the record: mostly at its
// current steps, sometimes beside them.
func (w *walker) all(r *Record) []action {
	w.now = w.now.Add(time.Duration(w.one(1, 60, 60, 3600, 30*3600)) * time.Second)
	now, later := w.now, w.now.Add(time.Minute)
	by := []string{r.IntentBy, r.IntentBy, r.IntentBy, "", "other"}[w.pick(5)]
	step := r.Step - w.one(0, 0, 0, 0, 1)
	idx := w.pick(maxIdx + 2)
	if ready := mirrors(r); len(ready) > 0 && w.pick(4) != 0 {
		idx = ready[w.pick(len(ready))]
	}
	round, link := w.pick(4), "https://x/other"
	if c := r.Clips[idx]; c != nil {
		round = c.Round - w.one(0, 0, 0, 1, -1)
		link = []string{c.Link, c.Link, link}[w.pick(3)]
	}
	own := []string{r.ExportTaskID, r.ExportTaskID, r.ExportTaskID, "othertask"}[w.pick(4)]
	seal := r.SealRound - w.one(0, 0, 0, 1)
	policy := []Policy{Resubmit, Hold}[w.pick(2)]
	task := w.fresh("task")
	if known := append(slices.Clone(r.Duplicates), r.Previous...); len(known) > 0 && w.pick(3) == 0 {
		task = known[w.pick(len(known))]
	}
	retries := []RetryOptions{{}, {}, {PayAgain: true}, {SubmittedAs: task}}
	retry := retries[w.pick(len(retries))]
	reading := w.reading()
	intent := w.fresh("token")
	object := Object{Key: w.fresh("key"), Size: int64(w.one(0, 7, 9))}
	other := newRecord()
	kept := task
	switch w.pick(3) {
	case 0:
		_ = other.Accept(now, task, "", "")
	case 1:
		_ = other.Restore(now, task, "manifest", []Clip{{Idx: 0, Object: object}})
	default:
		_ = other.Lose(now, intent, now, Hold, Problem{Reason: ReasonAnswerLost, Detail: "why"})
		kept = ""
	}
	actions := []action{
		{event: EvIntend, do: func(r *Record) error { return r.Intend(now, intent) }},
		{event: EvAccept, accepts: task, do: func(r *Record) error { return r.Accept(now, task, "n", "CREATED") }},
		{event: EvPutBack, do: func(r *Record) error {
			return r.PutBack(now, by, later, Problem{Reason: ReasonProviderUnavailable, Detail: "why"})
		}},
		{event: EvReject, do: func(r *Record) error { return r.Reject(now, by, Problem{Reason: ReasonRequestRejected, Detail: "why"}) }},
		{event: EvLose, do: func(r *Record) error {
			return r.Lose(now, by, now, policy, Problem{Reason: ReasonAnswerLost, Detail: "why"})
		}},
		{event: EvAnswer, do: func(r *Record) error { return r.Answer(now, own, step, reading, later) }},
		{event: EvReadFault, do: func(r *Record) error {
			return r.ReadFault(now, step, Problem{Reason: ReasonProviderUnavailable, Detail: "why"}, later)
		}},
		{event: EvReadFault, more: []Event{EvExpire, EvFail}, name: "does_not_know", do: func(r *Record) error {
			return r.DoesNotKnow(now, step, later)
		}},
		{event: EvClipDone, clip: idx, do: func(r *Record) error { return r.ClipDone(now, own, idx, round, object, nil, "w") }},
		{event: EvClipRetry, clip: idx, do: func(r *Record) error {
			return r.ClipRetry(now, idx, round, Problem{Reason: ReasonTransferFailed, Detail: "why"}, true, later)
		}},
		{event: EvClipRefused, more: []Event{EvExpire}, clip: idx, do: func(r *Record) error {
			return r.ClipRefused(now, idx, round, link, Problem{Reason: ReasonLinkRefused, Detail: "why"})
		}},
		{event: EvClipFail, clip: idx, do: func(r *Record) error {
			return r.ClipFail(now, idx, round, Problem{Reason: ReasonContentWrong, Detail: "why"})
		}},
		{event: EvUrge, clip: idx, do: func(r *Record) error { return r.Urge(now, idx, round) }},
		{event: EvSeal, do: func(r *Record) error { return r.Seal(now, "manifest") }},
		{event: EvSealRetry, do: func(r *Record) error {
			return r.SealRetry(now, seal, Problem{Reason: ReasonManifestNotWritten, Detail: "why"}, later)
		}},
		{event: EvExpire, do: func(r *Record) error { return r.Expire(now, own, Problem{Reason: ReasonTaskForgotten, Detail: "why"}) }},
		{event: EvFail, do: func(r *Record) error { return r.Fail(now, Problem{Reason: ReasonStepGivenUp, Detail: "why"}) }},
		{event: EvCancel, do: func(r *Record) error { return r.Cancel(now) }},
		{event: EvRetry, accepts: retry.SubmittedAs, payAgain: retry.PayAgain, do: func(r *Record) error { return r.Retry(now, retry) }},
		{event: EvRestore, accepts: task, do: func(r *Record) error {
			return r.Restore(now, task, "manifest", []Clip{{Idx: 0, Object: object}, {Idx: 1, Object: object}})
		}},
	}
	actions = append(actions,
		action{event: EvReplace, accepts: task, do: func(r *Record) error { return r.Replace(now, task, now) }},
		action{event: EvLose, do: func(r *Record) error {
			return r.Lose(now, intent, now, policy, Problem{Reason: ReasonAnswerLost, Detail: "why"})
		}},
		action{event: EvReject, do: func(r *Record) error { return r.Reject(now, "", Problem{Reason: ReasonJobIDTaken, Detail: "why"}) }},
		action{event: EvTakeOver, do: func(r *Record) error {
			due := Due(r)
			if len(due) == 0 {
				return r.TakeOver(now, Step{Kind: StepPoll, N: step})
			}
			return r.TakeOver(now, due[len(due)-1])
		}},
		action{event: EvYield, accepts: kept, do: func(r *Record) error { return r.Yield(now, other) }},
	)
	for i := range actions {
		if actions[i].name == "" {
			actions[i].name = string(actions[i].event)
		}
		switch actions[i].event {
		case EvClipDone, EvClipRetry, EvClipRefused, EvClipFail, EvUrge:
		default:
			actions[i].clip = -1
		}
	}
	return actions
}

// mirrors lists the clips that are on their way.
func mirrors(r *Record) (clips []int) {
	for _, s := range Due(r) {
		if s.Kind == StepMirror {
			clips = append(clips, s.Clip)
		}
	}
	return clips
}

// start returns the record that a walk begins with.
func (w *walker) start() *Record {
	r := newRecord()
	switch w.pick(3) {
	case 0:
		r.Wanted = []int{0, 2}
	case 1:
		r.Wanted = []int{1}
	}
	return r
}

// next draws an action such that walks go far: what ends an export comes
// seldom, what is due comes often.
func (w *walker) next(r *Record) action {
	actions := w.all(r)
	due := map[Kind]Event{StepSubmit: EvIntend, StepPoll: EvAnswer, StepMirror: EvClipDone, StepSeal: EvSeal}
	wanted := Event("")
	if steps := Due(r); len(steps) > 0 && w.pick(3) == 0 {
		wanted = due[steps[w.pick(len(steps))].Kind]
	}
	for {
		a := actions[w.pick(len(actions))]
		if wanted != "" && a.event != wanted {
			continue
		}
		switch a.event {
		case EvFail, EvCancel, EvExpire, EvReject:
			if w.pick(6) != 0 {
				continue
			}
		case EvYield, EvReplace, EvRestore:
			if w.pick(40) != 0 {
				continue
			}
		}
		return a
	}
}
