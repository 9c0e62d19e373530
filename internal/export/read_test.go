package export

import (
	"errors"
	"reflect"
	"testing"
	"time"
)

func TestAnswerMerges(t *testing.T) {
	r := at(t, Rendering)
	first := ongoing("a", "")
	first.Clips[0].Tags, first.Clips[0].Thumbnail = []string{"x"}, "thumb"
	must(t, r.Answer(noon, r.ExportTaskID, 1, first, noon.Add(time.Minute)))
	if r.State != Rendering || r.Step != 2 || !r.PollAt.Equal(noon.Add(time.Minute)) || r.Polls != 1 {
		t.Fatalf("%+v", r)
	}
	if c := r.Clips[0]; c.State != ClipReady || c.Round != 1 || c.Link != "a" || c.Thumbnail != "thumb" {
		t.Errorf("clip 0: %+v", c)
	}
	if c := r.Clips[1]; c.State != ClipWaiting || c.Round != 0 {
		t.Errorf("clip 1: %+v", c)
	}
	second := succeeded("a2", "b")
	second.Clips[0].Title, second.Clips[0].Desc = "another title", "desc"
	must(t, r.Answer(noon, r.ExportTaskID, 2, second, noon))
	if r.State != Mirroring || r.Read != ReadNone || r.Outcome != RenderSucceeded || !r.FinishedAt.Equal(noon) {
		t.Fatalf("%+v", r)
	}
	c := r.Clips[0]
	if c.Title != "title a" || c.Desc != "desc" || c.Link != "a2" || c.Round != 1 || c.Thumbnail != "thumb" {
		t.Errorf("clip 0: %+v; want the first title, the new link, the same round", c)
	}
	if c := r.Clips[1]; c.State != ClipReady || c.Round != 1 {
		t.Errorf("clip 1: %+v", c)
	}
	if err := r.Answer(noon, r.ExportTaskID, 2, second, noon); !errors.Is(err, ErrStale) {
		t.Errorf("the same step twice: %v", err)
	}
}

func TestAnswerSkipsWhatIsNoClipOfOurs(t *testing.T) {
	r := newRecord()
	r.Wanted = []int{0}
	must(t, r.Intend(noon, "me"))
	must(t, r.Accept(noon, "task1", "", ""))
	a := succeeded("a", "", "c")
	a.Clips = append(a.Clips, Clip{Idx: -1, Link: "x"}, Clip{Idx: 0, Link: "a again"})
	must(t, r.Answer(noon, r.ExportTaskID, 1, a, noon))
	if len(r.Clips) != 2 || r.Clips[0].Link != "a" || r.Clips[2] == nil {
		t.Errorf("clips %s, link %q; want 0 with its first link, and 2", clipsOf(r), r.Clips[0].Link)
	}
	if r.Read != ReadNone {
		t.Errorf("read again (%s) for a clip that nobody asked for", r.Read)
	}
}

// At SUCCEEDED a clip may lack its link for some reads; then it has failed.
func TestMissingLinks(t *testing.T) {
	for name, a := range map[string]Reading{
		"listed without a link": succeeded("a", ""),
		"not listed":            succeeded("a"),
	} {
		r := at(t, Rendering)
		r.Wanted = []int{0, 1}
		for n := range MaxMisses {
			must(t, r.Answer(noon, r.ExportTaskID, r.Step, a, noon))
			if r.State != Mirroring || r.Read != ReadMissing || r.Misses != n+1 {
				t.Fatalf("%s, read %d: %s, read %q, misses %d", name, n+1, r.State, r.Read, r.Misses)
			}
		}
		must(t, r.ClipDone(noon, r.ExportTaskID, 0, 1, Object{}, nil, ""))
		must(t, r.Answer(noon, r.ExportTaskID, r.Step, a, noon))
		if r.State != Failed || r.FailedCount != 1 || r.ArchivedCount != 1 {
			t.Fatalf("%s: %s, %d failed, %d archived", name, r.State, r.FailedCount, r.ArchivedCount)
		}
		want := Problem{Reason: ReasonClipsFailed, Since: noon, Cause: &Problem{Reason: ReasonLinkMissing, Count: MaxMisses, Clip: 1}}
		if !reflect.DeepEqual(r.Problem, want) {
			t.Errorf("%s: %+v, cause %+v", name, r.Problem, r.Problem.Cause)
		}
	}
}

// An answer whose form has changed gives nothing up: what it lists is archived, what it
// lacks is asked for until the deadline, and its export goes on when it is understood.
func TestOddAnswers(t *testing.T) {
	r := at(t, Rendering)
	odd := succeeded("a", "")
	odd.Odd = "a clip has no export_link"
	must(t, r.Answer(noon, r.ExportTaskID, r.Step, odd, noon))
	must(t, r.ClipDone(noon, r.ExportTaskID, 0, 1, Object{}, nil, ""))
	later := noon.Add(time.Hour)
	for range 2 * MaxMisses {
		must(t, r.Answer(later, r.ExportTaskID, r.Step, odd, later))
	}
	if r.State != Mirroring || r.Read != ReadMissing || r.Sealable() || r.Clips[0].State != ClipArchived || r.ReadFaults != 2*MaxMisses+1 ||
		r.Problem != (Problem{Reason: ReasonNotUnderstood, Detail: odd.Odd, Since: noon}) {
		t.Fatalf("%s, read %q: %+v", r.State, r.Read, r.Problem)
	}
	past := *r
	for range MaxMisses + 1 {
		must(t, past.Answer(later.Add(96*time.Hour), past.ExportTaskID, past.Step, odd, later))
	}
	if !past.State.Final() || past.Read != ReadNone {
		t.Errorf("past its deadline: %s, read %q", past.State, past.Read)
	}

	unknown := ongoing("a", "b")
	unknown.Status, unknown.Odd = "COMPLETED", "its status is COMPLETED"
	s := at(t, Rendering)
	must(t, s.Answer(noon, s.ExportTaskID, s.Step, unknown, noon))
	if s.State != Rendering || s.Read != ReadRender || s.Clips[1].State != ClipReady || s.Problem.Reason != ReasonNotUnderstood {
		t.Errorf("%s, read %q: %+v", s.State, s.Read, s.Problem)
	}
	must(t, s.Answer(noon, s.ExportTaskID, s.Step, succeeded("a", "b"), noon))
	if s.State != Mirroring || !s.Problem.None() || s.ReadFaults != 0 {
		t.Errorf("understood again: %s, %+v", s.State, s.Problem)
	}
}

// A clip that nobody can tell apart from the others keeps an export from being
// called archived: what was paid for would be missing without a word.
func TestNamelessClips(t *testing.T) {
	r := at(t, Rendering)
	a := succeeded("a")
	a.Nameless = 2
	must(t, r.Answer(noon, r.ExportTaskID, r.Step, a, noon))
	must(t, r.ClipDone(noon, r.ExportTaskID, 0, 1, Object{}, nil, ""))
	for n := range MaxMisses {
		if r.State != Mirroring || r.Read != ReadMissing || r.Sealable() {
			t.Fatalf("read %d: %s, read %q", n+1, r.State, r.Read)
		}
		must(t, r.Answer(noon, r.ExportTaskID, r.Step, a, noon))
	}
	if r.State != Failed || r.ArchivedCount != 1 || r.Nameless != 2 ||
		r.Problem != (Problem{Reason: ReasonClipsUnidentified, Count: MaxMisses, Since: noon}) {
		t.Fatalf("%s: %+v", r.State, r.Problem)
	}
	must(t, r.Retry(noon, RetryOptions{}))
	a.Nameless = 0
	must(t, r.Answer(noon, r.ExportTaskID, r.Step, a, noon))
	if !r.Sealable() {
		t.Errorf("after an answer that is whole: %s, read %q, %+v", r.State, r.Read, r.Problem)
	}

	asked := at(t, Rendering)
	asked.Wanted = []int{0}
	a.Nameless = 1
	must(t, asked.Answer(noon, asked.ExportTaskID, asked.Step, a, noon))
	must(t, asked.ClipDone(noon, asked.ExportTaskID, 0, 1, Object{}, nil, ""))
	if !asked.Sealable() {
		t.Errorf("one of a clip that nobody asked for: %s, read %q", asked.State, asked.Read)
	}
}

func TestNoClipsAtAll(t *testing.T) {
	r := at(t, Rendering)
	for range MaxMisses + 1 {
		must(t, r.Answer(noon, r.ExportTaskID, r.Step, succeeded(), noon))
	}
	if r.State != Failed || r.Problem != (Problem{Reason: ReasonNoClips, Count: MaxMisses, Since: noon}) {
		t.Fatalf("%s: %+v", r.State, r.Problem)
	}
	must(t, r.Retry(noon, RetryOptions{})) // nothing is paid for twice
	if r.State != Mirroring || r.Read != ReadRefresh || r.Misses != 0 {
		t.Errorf("%s, read %q, misses %d", r.State, r.Read, r.Misses)
	}
}

func TestRenderFails(t *testing.T) {
	r := at(t, Rendering)
	must(t, r.Answer(noon, r.ExportTaskID, 1, failed(0), noon))
	if r.State != Failed || r.Read != ReadNone || !r.Free || r.Problem != (Problem{Reason: ReasonRenderFailed, Detail: "no such clip", Since: noon}) {
		t.Errorf("%s: %+v", r.State, r.Problem)
	}
	r = at(t, Rendering)
	must(t, r.Answer(noon, r.ExportTaskID, 1, failed(48), noon))
	if r.Free || r.CostUsage != 48 {
		t.Errorf("free %t, cost %g", r.Free, r.CostUsage)
	}
	r = at(t, Rendering)
	must(t, r.Answer(noon, r.ExportTaskID, 1, failed(-1), noon))
	if r.Free || r.CostUsage != 0 {
		t.Errorf("free %t, cost %g", r.Free, r.CostUsage)
	}
	r = at(t, Rendering) // what it was known to cost is not taken back
	charged := ongoing()
	charged.CostUsage = 48
	must(t, r.Answer(noon, r.ExportTaskID, 1, charged, noon))
	must(t, r.Answer(noon, r.ExportTaskID, 2, failed(0), noon))
	if r.Free || r.CostUsage != 48 {
		t.Errorf("free %t, cost %g", r.Free, r.CostUsage)
	}
}

// What the provider finished before it gave up was paid for: it is archived first.
func TestRenderFailsWithClips(t *testing.T) {
	a := failed(48)
	a.Clips = []Clip{{Idx: 1, Link: "b"}, {Idx: 2}}
	r := at(t, Rendering)
	must(t, r.Answer(noon, r.ExportTaskID, 1, ongoing("a"), noon))
	must(t, r.ClipDone(noon, r.ExportTaskID, 0, 1, Object{Key: "a"}, nil, ""))
	must(t, r.Answer(noon, r.ExportTaskID, 2, a, noon))
	if r.State != Mirroring || r.Read != ReadNone || r.HoldsSlot() || r.Clips[1].State != ClipReady || r.Clips[2].State != ClipFailed || len(Due(r)) != 1 {
		t.Fatalf("%s, read %q, due %v", r.State, r.Read, Due(r))
	}
	must(t, r.ClipDone(noon, r.ExportTaskID, 1, 1, Object{Key: "b"}, nil, ""))
	if r.State != Failed || r.Problem.Reason != ReasonRenderFailed || r.Problem.Detail != "no such clip" || r.ArchivedCount != 2 || len(Due(r)) != 0 {
		t.Errorf("%s: %+v", r.State, r.Problem)
	}
	if err := r.Retry(noon, RetryOptions{}); !errors.Is(err, ErrPaid) {
		t.Errorf("taken up again: %v", err)
	}

	a.Clips = []Clip{{Idx: 0, Link: "a"}} // all that there is: it is no complete archive all the same
	r = at(t, Rendering)
	must(t, r.Answer(noon, r.ExportTaskID, 1, a, noon))
	must(t, r.ClipDone(noon, r.ExportTaskID, 0, 1, Object{Key: "a"}, nil, ""))
	if r.State != Failed || r.Sealable() {
		t.Errorf("%s", r.State)
	}

	r = at(t, Rendering) // a link that is refused is asked about, and there is no other
	must(t, r.Answer(noon, r.ExportTaskID, 1, a, noon))
	for range 2 {
		must(t, r.ClipRefused(noon, 0, r.Clips[0].Round, "a", Problem{Reason: ReasonLinkRefused}))
	}
	if r.State != Mirroring || r.Read == ReadNone {
		t.Fatalf("%s, read %q", r.State, r.Read)
	}
	must(t, r.Answer(noon, r.ExportTaskID, r.Step, failed(48), noon))
	if r.State != Failed || r.Clips[0].State != ClipFailed || r.Read != ReadNone {
		t.Errorf("%s, read %q", r.State, r.Read)
	}
}

func TestDrain(t *testing.T) {
	r := at(t, Rendering)
	must(t, r.Cancel(noon))
	if r.Read != ReadDrain || !r.HoldsSlot() || r.Step != 1 {
		t.Fatalf("canceled: read %q, step %d", r.Read, r.Step)
	}
	must(t, r.Answer(noon, r.ExportTaskID, 1, ongoing("a"), noon))
	if r.State != Canceled || r.Read != ReadDrain || len(r.Clips) != 0 {
		t.Fatalf("%s, read %q, %d clips", r.State, r.Read, len(r.Clips))
	}
	must(t, r.Answer(noon, r.ExportTaskID, 2, succeeded("a"), noon))
	if r.Read != ReadNone || r.HoldsSlot() || len(Due(r)) != 0 {
		t.Errorf("the slot is not free after the end: read %q", r.Read)
	}
	must(t, r.Retry(noon, RetryOptions{}))
	if r.State != Mirroring || r.Read != ReadRefresh {
		t.Errorf("taken up as %s, read %q", r.State, r.Read)
	}
}

func TestReadFaults(t *testing.T) {
	r := at(t, Rendering)
	must(t, r.ReadFault(noon, 1, Problem{Reason: ReasonProviderUnavailable, Detail: "503"}, noon.Add(time.Second)))
	if r.Step != 2 || r.ReadFaults != 1 || r.Problem.Detail != "503" || r.Read != ReadRender {
		t.Errorf("%+v", r)
	}
	must(t, r.Answer(noon, r.ExportTaskID, 2, ongoing(), noon))
	if r.ReadFaults != 0 || !r.Problem.None() {
		t.Errorf("an answer leaves %d faults and %+v", r.ReadFaults, r.Problem)
	}
}

func TestDeadlines(t *testing.T) {
	r := at(t, Rendering)
	for _, c := range []struct {
		expire, now time.Time
		past, near  bool
	}{
		{time.Time{}, noon.Add(72 * time.Hour), false, false},
		{time.Time{}, noon.Add(72*time.Hour + 1), true, false},
		{noon.Add(2 * time.Hour), noon, false, false},
		{noon.Add(2 * time.Hour), noon.Add(time.Hour), false, false},
		{noon.Add(2 * time.Hour), noon.Add(time.Hour + 1), false, true},
		{noon.Add(2 * time.Hour), noon.Add(2 * time.Hour), false, true},
		{noon.Add(2 * time.Hour), noon.Add(2*time.Hour + 1), true, true},
	} {
		r.ExpireAt = c.expire
		if past, near := r.PastDeadline(c.now), r.NearDeadline(c.now); past != c.past || near != c.near {
			t.Errorf("expire %s, now %s: past %v, near %v", c.expire, c.now, past, near)
		}
	}
}

// Links that died in our queue say how long links live: older ones are asked for before
// they are tried, all in one read, and not again before a clip has come through.
func TestLinksThatAreTooOldAreAskedFor(t *testing.T) {
	dead := Problem{Reason: ReasonLinkRefused, Detail: "403"}
	r := at(t, Rendering)
	must(t, r.Answer(noon, "task1", r.Step, succeeded("a0", "b0", "c0"), noon))
	late := noon.Add(5 * time.Second)
	if r.LinkTooOld(late, 0) {
		t.Fatal("nobody knows yet how long links live")
	}
	must(t, r.ClipRefused(late, 0, r.Clips[0].Round, "a0", dead))
	must(t, r.ClipRefused(late.Add(2*time.Second), 0, r.Clips[0].Round, "a0", dead)) // and the provider is asked
	now := late.Add(3 * time.Second)
	must(t, r.Answer(now, "task1", r.Step, succeeded("a1", "b1", "c1"), now))
	if r.LinkLife != 5*time.Second || r.LinkTooOld(now.Add(4*time.Second), 1) {
		t.Fatalf("links live for %s", r.LinkLife)
	}
	must(t, r.ClipDone(now, "task1", 0, r.Clips[0].Round, Object{}, nil, ""))
	now = now.Add(6 * time.Second)
	for idx := 1; idx <= 2; idx++ {
		must(t, r.ClipAged(now, idx, r.Clips[idx].Round))
	}
	if steps := Due(r); len(steps) != 1 || steps[0].Kind != StepPoll || r.Clips[1].Refusals != 0 {
		t.Errorf("%+v is due", steps)
	}
	must(t, r.Answer(now, "task1", r.Step, succeeded("a2", "b2", "c2"), now))
	if c := r.Clips[1]; !c.Urgent || c.NotBefore.After(now) || c.Link != "b2" {
		t.Errorf("it does not go next: %+v", c)
	}
	now = now.Add(6 * time.Second)
	if r.LinkTooOld(now, 1) {
		t.Error("it is asked for again though no clip came through")
	}
	must(t, r.ClipRefused(now, 1, r.Clips[1].Round, "b2", dead))
	if c := r.Clips[1]; c.Refusals != 1 || c.State != ClipReady {
		t.Errorf("%+v", c)
	}
}

// A link that was dead when it came says nothing of how long links live.
func TestALinkThatWasDeadWhenItCameIsWaitedFor(t *testing.T) {
	r := at(t, Rendering)
	now := noon
	must(t, r.Answer(now, "task1", r.Step, succeeded("0"), now))
	for i := range 2 {
		must(t, r.ClipRefused(now.Add(time.Second), 0, r.Clips[0].Round, "0", Problem{Reason: ReasonLinkRefused}))
		if c := r.Clips[0]; c.Refusals != i+1 {
			t.Errorf("%+v", c)
		}
	}
	must(t, r.Answer(now, "task1", r.Step, succeeded("1"), now))
	if r.LinkLife != 0 {
		t.Errorf("links live for %s", r.LinkLife)
	}
}
