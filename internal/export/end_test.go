package export

import (
	"errors"
	"strconv"
	"testing"
	"time"
)

func TestClipRounds(t *testing.T) {
	later := noon.Add(time.Minute)
	r := at(t, Mirroring)
	must(t, r.ClipRetry(noon, 0, 1, Problem{Reason: ReasonTransferFailed, Detail: "cut"}, true, later))
	if c := r.Clips[0]; c.Round != 2 || c.Faults != 1 || c.BadBodies != 1 || !c.NotBefore.Equal(later) || c.Problem.Detail != "cut" {
		t.Errorf("%+v", c)
	}
	for name, err := range map[string]error{
		"retry": r.ClipRetry(noon, 0, 1, Problem{}, false, later), "fail": r.ClipFail(noon, 0, 1, Problem{}),
		"refused": r.ClipRefused(noon, 0, 1, "a", Problem{}), "urge": r.Urge(noon, 0, 1),
		"unknown": r.ClipFail(noon, 9, 1, Problem{}), "urge far from the deadline": r.Urge(noon, 0, 2),
		"done in a round to come": r.ClipDone(noon, r.ExportTaskID, 0, 3, Object{}, nil, ""),
	} {
		if !errors.Is(err, ErrStale) {
			t.Errorf("%s: %v, want ErrStale", name, err)
		}
	}
	must(t, r.Urge(noon.Add(47*time.Hour+time.Minute), 0, 2))
	if c := r.Clips[0]; !c.Urgent || c.Round != 3 {
		t.Errorf("%+v", c)
	}
	must(t, r.ClipDone(noon, r.ExportTaskID, 0, 1, Object{Key: "late", Size: 3}, nil, "")) // a round given up, and yet it is here
	if c := r.Clips[0]; c.State != ClipArchived || c.Object.Key != "late" || r.ArchivedCount != 1 {
		t.Errorf("%+v", c)
	}
	must(t, r.ClipDone(noon, r.ExportTaskID, 0, 1, Object{Key: "again", Size: 4}, nil, ""))
	if r.ArchivedCount != 1 || r.ArchivedBytes != 3 || r.Clips[0].Object.Key != "late" {
		t.Errorf("archived twice: %d clips, %d bytes", r.ArchivedCount, r.ArchivedBytes)
	}
}

// A refusal by a link's server costs that server a second try, then the provider
// one read; the same link again says that it works, another one goes first.
func TestRefusedLinks(t *testing.T) {
	why := Problem{Reason: ReasonLinkRefused, Detail: "403"}
	r := at(t, Mirroring)
	must(t, r.ClipRefused(noon, 0, 1, "a", why))
	if c := r.Clips[0]; c.State != ClipReady || c.Round != 2 || !c.NotBefore.Equal(noon.Add(2*time.Second)) || r.Read != ReadNone {
		t.Fatalf("%+v, read %q; want the same link tried again", c, r.Read)
	}
	must(t, r.ClipRefused(noon, 0, 2, "a", why))
	if r.Clips[0].State != ClipStale || r.Read != ReadRefresh || !r.PollAt.Equal(noon) {
		t.Fatalf("%s, read %q at %s", r.Clips[0].State, r.Read, r.PollAt)
	}
	step := r.Step
	must(t, r.ClipRefused(noon, 1, 1, "b", why))
	must(t, r.ClipRefused(noon, 1, 2, "b", why)) // one read serves both
	if r.Step != step {
		t.Error("a second read for the second clip")
	}
	must(t, r.Answer(noon, r.ExportTaskID, step, succeeded("a", "b2"), noon))
	same, other := r.Clips[0], r.Clips[1]
	if same.State != ClipReady || same.Round != 4 || !same.NotBefore.Equal(noon.Add(4*time.Second)) || same.Urgent || same.Problem.Reason != why.Reason {
		t.Errorf("the same link: %+v; want it tried again, later", same)
	}
	if other.State != ClipReady || other.Round != 4 || !other.NotBefore.Equal(noon) || !other.Urgent || r.Read != ReadNone {
		t.Errorf("another link: %+v, read %q; want it tried at once and first", other, r.Read)
	}
}

// Nothing fails before the deadline because of refusals, however many there are;
// then the export has expired, and says which clip is why.
func TestALinkIsRefusedUntilTheDeadline(t *testing.T) {
	for name, link := range map[string]func(n int) string{
		"the same one each time": func(int) string { return "a" },
		"another one each time":  strconv.Itoa,
		"none":                   func(int) string { return "" },
	} {
		r, now, tries := at(t, Mirroring), noon, 0
		must(t, r.ClipDone(noon, r.ExportTaskID, 1, 1, Object{}, nil, ""))
		reads := r.Polls
		for r.State == Mirroring {
			if r.Read != ReadNone {
				now = r.PollAt
				must(t, r.Answer(now, r.ExportTaskID, r.Step, succeeded(link(r.Step), "b"), now.Add(15*time.Minute)))
				continue
			}
			c := r.Clips[0]
			now = c.NotBefore
			tries++
			must(t, r.ClipRefused(now, 0, c.Round, c.Link, Problem{Reason: ReasonLinkRefused, Detail: "404"}))
		}
		if r.State != Expired || now.Before(r.ExpireAt) || r.Problem.Cause == nil || r.Problem.Cause.Reason != ReasonLinkRefused ||
			r.Problem.Cause.Clip != 0 || r.Problem.Cause.Detail != "404" {
			t.Errorf("%s: %s at %s, %+v", name, r.State, now, r.Problem)
		}
		if reads = r.Polls - reads; link(0) != "" && (tries < 290 || reads > 45) {
			t.Errorf("%s: %d tries and %d reads in two days", name, tries, reads)
		}
	}
}

func TestRefusedLinkThatWasReplaced(t *testing.T) {
	r := at(t, Mirroring)
	r.Clips[0].Link = "fresh"
	must(t, r.ClipRefused(noon, 0, 1, "a", Problem{Reason: ReasonLinkRefused, Detail: "403"}))
	if c := r.Clips[0]; c.State != ClipReady || c.Round != 2 || r.Read != ReadNone {
		t.Errorf("%s, round %d, read %q; want the fresh link tried at once", c.State, c.Round, r.Read)
	}
}

func TestRefusedLinkPastTheDeadline(t *testing.T) {
	r := at(t, Mirroring)
	must(t, r.ClipDone(noon, r.ExportTaskID, 1, 1, Object{}, nil, ""))
	must(t, r.ClipRefused(noon.Add(49*time.Hour), 0, 1, "a", Problem{Reason: ReasonLinkRefused, Detail: "403"}))
	if r.State != Expired || r.Problem.Reason != ReasonDeadlinePassed || r.ArchivedCount != 1 || r.ClipCount != 2 {
		t.Errorf("%s: %+v", r.State, r.Problem)
	}
}

// The reason for a clip's failure is still told after later reads.
func TestReasonOfAFailedClipStays(t *testing.T) {
	r := at(t, Rendering)
	must(t, r.Answer(noon, r.ExportTaskID, 1, ongoing("a", "b"), noon))
	must(t, r.ClipFail(noon, 0, 1, Problem{Reason: ReasonContentWrong, Detail: "no video"}))
	must(t, r.Answer(noon, r.ExportTaskID, 2, succeeded("a", "b"), noon))
	must(t, r.ClipDone(noon, r.ExportTaskID, 1, 1, Object{}, nil, ""))
	if r.State != Failed || r.Problem.Reason != ReasonClipsFailed || r.Problem.Cause.Clip != 0 || r.Problem.Cause.Detail != "no video" {
		t.Errorf("%s: %+v", r.State, r.Problem)
	}
}

func TestSealRounds(t *testing.T) {
	r := at(t, Mirroring)
	if err := r.Seal(noon, "m"); !errors.Is(err, ErrStale) {
		t.Errorf("sealed without its clips: %v", err)
	}
	for idx := range 2 {
		must(t, r.ClipDone(noon, r.ExportTaskID, idx, 1, Object{}, nil, ""))
	}
	must(t, r.SealRetry(noon, 0, Problem{Reason: ReasonManifestNotWritten, Detail: "503"}, noon.Add(time.Second)))
	if err := r.SealRetry(noon, 0, Problem{Reason: ReasonManifestNotWritten, Detail: "503"}, noon); !errors.Is(err, ErrStale) || r.SealRound != 1 {
		t.Errorf("the same round twice: %v, round %d", err, r.SealRound)
	}
	if err := r.Expire(noon.Add(100*time.Hour), "task1", Problem{Reason: ReasonTaskForgotten, Detail: "late"}); !errors.Is(err, ErrStale) {
		t.Errorf("expired with all its clips archived: %v", err)
	}
	must(t, r.Seal(noon, "m"))
	if r.State != Archived || !r.Problem.None() || r.Manifest != "m" {
		t.Errorf("%+v", r)
	}
}

func TestRetry(t *testing.T) {
	past := noon.Add(49 * time.Hour)
	failedClip := func(t *testing.T) *Record {
		r := at(t, Mirroring)
		must(t, r.ClipDone(noon, r.ExportTaskID, 0, 1, Object{Key: "k"}, nil, ""))
		must(t, r.ClipFail(noon, 1, 1, Problem{Reason: ReasonContentWrong, Detail: "no video"}))
		return r
	}
	renderFailed := func(cost float64) func(*testing.T) *Record {
		return func(t *testing.T) *Record {
			r := at(t, Rendering)
			must(t, r.Answer(noon, r.ExportTaskID, 1, failed(cost), noon))
			return r
		}
	}
	with := func(change func(*Record), from func(*testing.T) *Record) func(*testing.T) *Record {
		return func(t *testing.T) *Record {
			r := from(t)
			change(r)
			return r
		}
	}
	in := func(s State) func(*testing.T) *Record { return func(t *testing.T) *Record { return at(t, s) } }
	complete := func(t *testing.T) *Record {
		r := at(t, Mirroring)
		must(t, r.Fail(noon, Problem{Reason: ReasonStepGivenUp, Detail: "given up"}))
		for idx := range 2 {
			must(t, r.ClipDone(noon, r.ExportTaskID, idx, 1, Object{}, nil, ""))
		}
		return r
	}
	named := func(t *testing.T) *Record {
		r := at(t, Held)
		must(t, r.Retry(noon, RetryOptions{SubmittedAs: "wrong"}))
		return r
	}
	read := func(r *Record) {
		must(t, r.Answer(noon, r.ExportTaskID, r.Step, Reading{Status: "ONGOING"}, noon))
	}
	canceled := func(from func(*testing.T) *Record) func(*testing.T) *Record {
		return with(func(r *Record) { must(t, r.Cancel(noon)) }, from)
	}
	duplicate := func(r *Record) { r.Duplicates = []string{"dup1", "dup2"} }
	for _, c := range []struct {
		name string
		from func(*testing.T) *Record
		now  time.Time
		o    RetryOptions
		to   State
		task string
		err  error
	}{
		{"held, not there", in(Held), noon, RetryOptions{PayAgain: true}, Queued, "", nil},
		{"held, nobody has looked", in(Held), noon, RetryOptions{}, Held, "", ErrPaid},
		{"held, found", in(Held), noon, RetryOptions{SubmittedAs: "found"}, Rendering, "found", nil},
		{"rejected", in(Failed), noon, RetryOptions{}, Queued, "", nil},
		{"a clip failed", failedClip, noon, RetryOptions{}, Mirroring, "task1", nil},
		{"a clip failed, pay again is not needed", failedClip, noon, RetryOptions{PayAgain: true}, Mirroring, "task1", nil},
		{"a clip failed, too late", failedClip, past, RetryOptions{}, Failed, "task1", ErrPaid},
		{"a clip failed, too late, pay again", failedClip, past, RetryOptions{PayAgain: true}, Queued, "", nil},
		{"all archived but the seal, too late", complete, past, RetryOptions{}, Mirroring, "task1", nil},
		{"all archived but the seal, pay again is not needed", complete, past, RetryOptions{PayAgain: true}, Mirroring, "task1", nil},
		{"render failed for free", renderFailed(0), noon, RetryOptions{}, Queued, "", nil},
		{"render failed, nobody says whether it was charged", renderFailed(-1), noon, RetryOptions{}, Failed, "task1", ErrPaid},
		{"render failed, nobody says whether it was charged, pay again", renderFailed(-1), noon, RetryOptions{PayAgain: true}, Queued, "", nil},
		{"render failed and charged", renderFailed(48), noon, RetryOptions{}, Failed, "task1", ErrPaid},
		{"render failed and charged, pay again", renderFailed(48), noon, RetryOptions{PayAgain: true}, Queued, "", nil},
		{"render failed, a duplicate was paid for", with(duplicate, renderFailed(48)), noon, RetryOptions{}, Rendering, "dup2", nil},
		{"too late, a duplicate was paid for", with(duplicate, failedClip), past, RetryOptions{PayAgain: true}, Rendering, "dup2", nil},
		{"expired early", in(Expired), noon, RetryOptions{}, Rendering, "task1", nil},
		{"expired", in(Expired), noon.Add(73 * time.Hour), RetryOptions{}, Expired, "task1", ErrPaid},
		{"named wrong, another is named", named, noon, RetryOptions{SubmittedAs: "right"}, Rendering, "right", nil},
		{"named wrong, nothing else is said", named, noon, RetryOptions{}, Rendering, "wrong", ErrNotNow},
		{"named wrong, pay again while it is read", named, noon, RetryOptions{PayAgain: true}, Rendering, "wrong", ErrNotNow},
		{"named wrong and canceled, another is named", canceled(named), noon, RetryOptions{SubmittedAs: "right"}, Rendering, "right", nil},
		{"named wrong and canceled, pay again", canceled(named), noon, RetryOptions{PayAgain: true}, Queued, "", nil},
		{"named and read, another is named", with(read, named), noon, RetryOptions{SubmittedAs: "other"}, Rendering, "wrong", ErrNotNow},
		{"named, read and canceled, pay again is not needed", canceled(with(read, named)), noon, RetryOptions{PayAgain: true}, Rendering, "wrong", nil},
		{"accepted as another", in(Expired), noon, RetryOptions{SubmittedAs: "other"}, Expired, "task1", ErrNotNow},
		{"accepted as the same", in(Expired), noon, RetryOptions{SubmittedAs: "task1"}, Rendering, "task1", nil},
		{
			"found what was given up", with(func(r *Record) { r.Previous = []string{"old"} }, in(Held)), noon,
			RetryOptions{SubmittedAs: "old"},
			Held, "", ErrNotNow,
		},
		{"malformed", func(*testing.T) *Record {
			return NewFailed("x", Problem{Reason: ReasonTaskMalformed, Detail: "malformed"}, noon)
		}, noon, RetryOptions{}, Failed, "", ErrNotNow},
		{"archived", in(Archived), noon, RetryOptions{PayAgain: true}, Archived, "task1", ErrNotNow},
		{"open", in(Rendering), noon, RetryOptions{}, Rendering, "task1", ErrNotNow},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := c.from(t)
			before := clone(r)
			err := r.Retry(c.now, c.o)
			if !errors.Is(err, c.err) || r.State != c.to || r.ExportTaskID != c.task {
				t.Fatalf("%v, %s as %q; want %v, %s as %q", err, r.State, r.ExportTaskID, c.err, c.to, c.task)
			}
			if err != nil {
				if !equal(before, r) {
					t.Error("a refused retry changed the record")
				}
				return
			}
			if !r.Problem.None() || len(Due(r)) != 1 {
				t.Errorf("error %+v, due %v", r.Problem, Due(r))
			}
			if why := wayOn(r, c.now); why != "" {
				t.Error(why)
			}
		})
	}
}

// What a given-up task left under way must not pass for its successor's.
func TestPayAgainIsANewExport(t *testing.T) {
	past := noon.Add(49 * time.Hour)
	r := at(t, Mirroring)
	must(t, r.ClipRetry(noon, 0, 1, Problem{Reason: ReasonTransferFailed, Detail: "cut"}, false, noon))
	must(t, r.ClipFail(noon, 0, 2, Problem{Reason: ReasonContentWrong, Detail: "no video"}))
	must(t, r.ClipDone(noon, r.ExportTaskID, 1, 1, Object{Key: "old"}, nil, ""))
	must(t, r.Retry(past, RetryOptions{PayAgain: true}))
	if r.ClipCount != 0 || len(r.Clips) != 0 || r.Previous[0] != "task1" || r.RoundsBefore != 2 {
		t.Fatalf("%+v", r)
	}
	must(t, r.Intend(past, "me"))
	must(t, r.Accept(past, "task2", "", ""))
	must(t, r.Answer(past, r.ExportTaskID, r.Step, Reading{Status: "SUCCEEDED", Succeeded: true, Clips: succeeded("n0", "n1").Clips}, past))
	if c := r.Clips[0]; c.Round != 3 {
		t.Errorf("the first round of the new export is %d, want 3", c.Round)
	}
	if err := r.ClipDone(past, r.ExportTaskID, 0, 2, Object{Key: "old"}, nil, ""); !errors.Is(err, ErrStale) {
		t.Errorf("a clip of the old export: %v", err)
	}
	if err := r.ClipRetry(past, 0, 2, Problem{Reason: ReasonTransferFailed, Detail: "cut"}, false, past); !errors.Is(err, ErrStale) {
		t.Errorf("a failure of the old export: %v", err)
	}
}

func TestReceipt(t *testing.T) {
	for s, want := range map[State]string{
		Queued: "", Submitting: "", Held: "", Rendering: ReceiptOpen, Mirroring: ReceiptOpen, Failed: ReceiptFailed,
		Archived: ReceiptDone, Expired: ReceiptExpired, Canceled: "",
	} {
		r := at(t, s)
		says, due := r.ReceiptDue()
		if says != want || due != (want != "") {
			t.Errorf("%s: %q, due %v", s, says, due)
		}
		if !due {
			continue
		}
		r.ReceiptPut(r.ExportTaskID, r.Receipts, says)
		if _, due := r.ReceiptDue(); due {
			t.Errorf("%s: due again after it was written", s)
		}
		if r.NeedsCare() == s.Final() {
			t.Errorf("%s: needs care %v", s, r.NeedsCare())
		}
	}
	// Two writers that crossed, and one for a task that was given up.
	r := at(t, Mirroring)
	seen := r.Receipts
	r.ReceiptPut("task1", seen, ReceiptOpen)
	r.ReceiptPut("task1", seen, ReceiptOpen)
	if _, due := r.ReceiptDue(); due {
		t.Error("both said the same, and it is due again")
	}
	r.ReceiptPut("task1", seen, ReceiptFailed)
	if _, due := r.ReceiptDue(); !due {
		t.Error("two writers crossed, and it is not due again")
	}
	r.ReceiptPut("task1", r.Receipts, ReceiptOpen)
	r.ReceiptPut("task0", r.Receipts, ReceiptOpen)
	if _, due := r.ReceiptDue(); !due {
		t.Error("another task's receipt stands, and it is not due again")
	}
}

func TestRestore(t *testing.T) {
	r := newRecord()
	must(t, r.Restore(noon, "task1", "m", []Clip{{Idx: 0, Object: Object{Size: 3}}, {Idx: 2, Object: Object{Size: 4}}}))
	if r.State != Archived || r.ArchivedCount != 2 || r.ArchivedBytes != 7 || r.Clips[2].State != ClipArchived || r.NeedsCare() {
		t.Errorf("%+v", r)
	}
	if why := counters(r) + consistent(r); why != "" {
		t.Error(why)
	}
}

// An export of which every clip is archived does not expire over a read that was still
// due: an answer of an odd form, or one that did not come.
func TestWhatIsCompleteDoesNotExpire(t *testing.T) {
	past := noon.Add(73 * time.Hour)
	r := at(t, Mirroring)
	for idx := range r.ClipCount {
		must(t, r.ClipDone(noon, "task1", idx, 1, Object{Key: "k"}, nil, ""))
	}
	r.wantRead(ReadMissing, noon)
	odd := succeeded("a", "b")
	odd.Odd = "its status is new"
	again := clone(r)
	if must(t, again.Answer(noon, "task1", again.Step, odd, noon)); !again.Sealable() {
		t.Errorf("after an odd answer: %s, read %q", again.State, again.Read)
	}
	if must(t, r.Expire(past, "task1", Problem{Reason: ReasonTaskForgotten})); !r.Sealable() || !r.Problem.None() {
		t.Errorf("past its deadline: %s, read %q, %+v", r.State, r.Read, r.Problem)
	}
}

// A step that was under way when its task was given up, or when its deadline
// moved, must not expire what goes on.
func TestOnlyWhatHasExpiredExpires(t *testing.T) {
	past := noon.Add(49 * time.Hour)
	for name, c := range map[string]struct {
		now  time.Time
		task string
		err  error
	}{
		"its own task, past the deadline":   {past, "task1", nil},
		"its own task, before the deadline": {noon.Add(47 * time.Hour), "task1", ErrStale},
		"another task, past the deadline":   {past, "task0", ErrStale},
		"no task at all, past the deadline": {past, "", ErrStale},
	} {
		t.Run(name, func(t *testing.T) {
			r := at(t, Mirroring)
			for _, clip := range r.Clips {
				clip.State = ClipStale
			}
			before := clone(r)
			err := r.Expire(c.now, c.task, Problem{Reason: ReasonTaskForgotten, Detail: "gone"})
			if !errors.Is(err, c.err) || (err != nil) != (c.err != nil) {
				t.Fatalf("%v, want %v", err, c.err)
			}
			if err != nil && !equal(before, r) || err == nil && r.State != Expired {
				t.Errorf("%+v", r)
			}
		})
	}
}

// Paid again, Redis lost, rebuilt from the receipt of the second task: its rounds
// and steps begin at 1 again, as those of the first did, which are under way.
func TestALateStepOfAnotherTaskIsNotTaken(t *testing.T) {
	r := at(t, Queued)
	must(t, r.Accept(noon, "task2", "", ""))
	if err := r.Answer(noon, "task1", r.Step, succeeded("old"), noon); !errors.Is(err, ErrStale) {
		t.Errorf("what was read of the first task: %v", err)
	}
	must(t, r.Answer(noon, "task2", r.Step, succeeded("a"), noon))
	before := clone(r)
	if err := r.ClipDone(noon, "task1", 0, 1, Object{Key: "old"}, nil, ""); !errors.Is(err, ErrStale) || !equal(before, r) {
		t.Errorf("a clip of the first task: %v, %+v", err, r)
	}
	must(t, r.ClipDone(noon, "task2", 0, 1, Object{Key: "new"}, nil, ""))
}

// An export that expires by itself says which clip it waited for, and why.
func TestWhatExpiresNamesTheClipInTheWay(t *testing.T) {
	r := at(t, Mirroring)
	for n := 1; n <= 2; n++ {
		must(t, r.ClipRefused(noon, 1, n, "b", Problem{Reason: ReasonLinkRefused, Detail: "403"}))
	}
	must(t, r.ClipDone(noon, "task1", 0, r.Clips[0].Round, Object{Key: "a"}, nil, ""))
	must(t, r.Expire(noon.Add(73*time.Hour), r.ExportTaskID, Problem{}))
	if cause := r.Problem.Cause; cause == nil || cause.Reason != ReasonLinkRefused || cause.Clip != 1 {
		t.Errorf("%+v because %+v", r.Problem, cause)
	}
}
