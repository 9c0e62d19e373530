package export

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// In every state, every event either is refused and changes nothing, or leads
// to one of the states that the machine lists; and every transition that the
// machine lists does happen.
func TestEveryStateAndEvent(t *testing.T) {
	type transition struct {
		from State
		by   Event
		to   State
	}
	seen := map[transition]bool{}
	refused := map[transition]bool{}
	for _, end := range lateEnds(t) { // a walk hardly ever comes by these
		seen[transition(end)] = true
	}
	listed := 0
	for _, from := range States() {
		for _, by := range events() {
			listed += len(next[from][by])
		}
	}
	for seed := range uint64(machineWalks) {
		if seed >= 60 && len(seen) >= listed {
			break
		}
		w := &walker{pick: rand.New(rand.NewPCG(seed, 7)).IntN, now: noon}
		r := w.start()
		for range 60 {
			for _, a := range w.all(r) {
				after := clone(r)
				err := a.do(after)
				switch {
				case err != nil && !equal(after, r):
					t.Fatalf("%s while %s was refused (%v) and yet changed the record\n%+v\n%+v", a.name, r.State, err, r, after)
				case !Allowed(r.State, a.event):
					if !errors.Is(err, ErrNotNow) {
						t.Fatalf("%s while %s: %v, want ErrNotNow", a.name, r.State, err)
					}
					refused[transition{r.State, a.event, ""}] = true
				case err == nil:
					by := a.event
					for _, e := range a.more {
						if !slices.Contains(next[r.State][by], after.State) {
							by = e
						}
					}
					if !slices.Contains(next[r.State][by], after.State) {
						t.Fatalf("%s while %s led to %s, which is not listed", a.name, r.State, after.State)
					}
					seen[transition{r.State, by, after.State}] = true
				}
			}
			_ = w.next(r).do(r)
		}
	}
	for _, from := range States() {
		for _, by := range events() {
			for _, to := range next[from][by] {
				if everyWalk && !seen[transition{from, by, to}] {
					t.Errorf("%s while %s is said to lead to %s and never did", by, from, to)
				}
			}
			if everyWalk && !Allowed(from, by) && !refused[transition{from, by, ""}] {
				t.Errorf("%s while %s was never tried", by, from)
			}
		}
	}
}

// lateEnd is what an event after the deadline leads to.
type lateEnd struct {
	from State
	by   Event
	to   State
}

// lateEnds are events after the deadline of an export, or after its task is unknown.
func lateEnds(t *testing.T) []lateEnd {
	t.Helper()
	late := func(clips ...Clip) *Record {
		r := New("late", []byte(`{}`), "d", "p", noon)
		r.State, r.ExportTaskID, r.FinishedAt, r.ExpireAt = Mirroring, "task", noon, noon.Add(-1)
		for _, c := range clips {
			r.Clips[c.Idx] = &c
			r.ClipCount++
		}
		return r
	}
	read := late(Clip{Idx: 0, State: ClipWaiting})
	read.Misses = MaxMisses
	read.wantRead(ReadMissing, noon)
	must(t, read.Answer(noon, read.ExportTaskID, read.Step, Reading{Status: "SUCCEEDED", Succeeded: true}, noon))
	done := late(Clip{Idx: 0, State: ClipReady, Round: 1, Link: "a"}, Clip{Idx: 1, State: ClipReady, Round: 1, Link: "b"})
	must(t, done.ClipRefused(noon, 0, 1, "a", Problem{Reason: ReasonLinkRefused, Detail: "403"}))
	if done.State != Mirroring || done.Clips[1].State != ClipReady {
		t.Errorf("a dead link past the deadline takes a living one with it: %s", done.State)
	}
	must(t, done.ClipDone(noon, done.ExportTaskID, 1, 1, Object{Key: "k"}, nil, ""))
	rendered := late(Clip{Idx: 0, State: ClipReady, Round: 1, Link: "a"})
	rendered.State, rendered.FinishedAt = Rendering, time.Time{}
	rendered.wantRead(ReadRender, noon)
	must(t, rendered.ClipFail(noon, 0, 1, Problem{Reason: ReasonContentWrong, Detail: "no video"}))
	must(t, rendered.Answer(noon, rendered.ExportTaskID, rendered.Step, Reading{Status: "SUCCEEDED", Succeeded: true}, noon))
	archived := func() *Record { // an import that is looked at again
		r := NewImport("import-t", TaskClips, "task", []byte(`{}`), "d", "p", noon)
		r.State, r.Read, r.ExpireAt = Archived, ReadNone, noon.Add(time.Hour)
		must(t, r.LookAgain(noon))
		return r
	}
	looked, unread, unknown := archived(), archived(), archived()
	must(t, looked.Answer(noon, "task", looked.Step, Reading{Succeeded: true, Clips: []Clip{{Idx: 4, Link: "l"}, {Idx: 5}}}, noon))
	must(t, unread.ReadFault(noon, unread.Step, Problem{Reason: ReasonRateLimited}, noon))
	must(t, unknown.DoesNotKnow(noon, unknown.Step, noon))
	if !slices.Equal(looked.Late, []int{4}) || looked.Read+unread.Read+unknown.Read != ReadNone {
		t.Errorf("late %v, reads for %q, %q, %q", looked.Late, looked.Read, unread.Read, unknown.Read)
	}
	sealed := late(Clip{Idx: 0, State: ClipArchived})
	sealed.State, sealed.FinishedAt, sealed.ExpireAt = Rendering, time.Time{}, noon.Add(time.Hour)
	sealed.Wanted, sealed.ArchivedCount, sealed.Unknown = []int{0}, 1, MaxUnknown
	sealed.wantRead(ReadRender, noon)
	must(t, sealed.DoesNotKnow(noon, sealed.Step, noon))
	return []lateEnd{
		{Rendering, EvReadFault, sealed.State},
		{Archived, EvAnswer, looked.State},
		{Archived, EvReadFault, unread.State},
		{Mirroring, EvAnswer, read.State},
		{Mirroring, EvClipDone, done.State},
		{Rendering, EvAnswer, rendered.State},
	}
}

func TestStatesAndEventsAreListed(t *testing.T) {
	if len(next) != len(States()) {
		t.Errorf("the machine has %d states, %d are listed", len(next), len(States()))
	}
	for from, leads := range next {
		if !slices.Contains(States(), from) || !from.Known() {
			t.Errorf("%s is not listed", from)
		}
		for by, to := range leads {
			if !slices.Contains(events(), by) {
				t.Errorf("event %s is not listed", by)
			}
			if from.Final() && by != EvRetry && by != EvAccept && by != EvRestore && by != EvReplace && slices.ContainsFunc(to, func(s State) bool { return s != from }) {
				t.Errorf("%s leaves the final state %s", by, from)
			}
		}
	}
	if State("nonsense").Known() || State("").Known() {
		t.Error("a word of no meaning is taken for a state")
	}
}

// TestWalks holds random lives of an export to what must always be true.
func TestWalks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &walker{now: noon, pick: func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") }}
		walk(t, w, rapid.IntRange(1, 60).Draw(t, "steps"))
	})
}

// TestManyWalks is TestWalks for more and longer lives, without shrinking; for
// very many with TEST_DEEP set.
func TestManyWalks(t *testing.T) {
	walks := uint64(150)
	if os.Getenv("TEST_DEEP") != "" {
		walks = 50_000
	}
	for seed := range walks {
		walk(t, &walker{pick: rand.New(rand.NewPCG(seed, 11)).IntN, now: noon}, 80)
	}
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func walk(t fataler, w *walker, steps int) {
	t.Helper()
	r := w.start()
	h := newHistory()
	var lived []string
	for range steps {
		a := w.next(r)
		before := clone(r)
		err := a.do(r)
		fault := h.check(before, r, a, err)
		if err == nil {
			lived = append(lived, fmt.Sprintf("%s → %s", a.name, r.State))
		}
		if fault == "" && err == nil {
			fault = wayOn(r, w.now)
		}
		if fault != "" {
			t.Fatalf("%s\nafter %q (%v)\nbefore %+v\nafter  %+v\nclips before %s\nclips after  %s",
				fault, lived, err, before, r, clipsOf(before), clipsOf(r))
		}
	}
}

func clipsOf(r *Record) string {
	s := ""
	for idx, c := range r.Clips {
		s += fmt.Sprintf(" %d:%s/%d", idx, c.State, c.Round)
	}
	return s
}

// events are all that there are.
func events() []Event {
	return []Event{
		EvIntend, EvAccept, EvPutBack, EvReject, EvLose, EvAnswer, EvReadFault, EvClipDone, EvClipRetry,
		EvClipRefused, EvClipFail, EvUrge, EvSeal, EvSealRetry, EvExpire, EvFail, EvCancel, EvRetry, EvRestore,
		EvReplace, EvYield, EvTakeOver,
	}
}
