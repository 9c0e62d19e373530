package export

import (
	"testing"
	"time"
)

func TestDoesNotKnow(t *testing.T) {
	r := at(t, Rendering)
	for range MaxUnknown - 1 {
		must(t, r.DoesNotKnow(noon, r.Step, noon))
		if r.State != Rendering {
			t.Fatalf("given up after %d", r.Unknown)
		}
	}
	must(t, r.DoesNotKnow(noon, r.Step, noon))
	if r.State != Failed || r.Problem != (Problem{Reason: ReasonTaskUnknown, Count: MaxUnknown, Since: noon}) {
		t.Fatalf("%s: %+v", r.State, r.Problem)
	}
	again := clone(r)
	must(t, again.Retry(noon, RetryOptions{}))
	if again.State != Rendering || again.ExportTaskID != "task1" || again.Unknown != 0 {
		t.Errorf("taken up as %s of %s", again.State, again.ExportTaskID)
	}
	must(t, r.Retry(noon, RetryOptions{PayAgain: true}))
	if r.State != Queued || len(r.Previous) != 1 {
		t.Errorf("pay again: %s, previous %v", r.State, r.Previous)
	}

	// An answer in between starts the count anew; past the deadline once is enough.
	r = at(t, Rendering)
	must(t, r.DoesNotKnow(noon, 1, noon))
	must(t, r.Answer(noon, r.ExportTaskID, 2, ongoing(), noon))
	if r.Unknown != 0 {
		t.Error("the count goes on after an answer")
	}
	must(t, r.DoesNotKnow(noon.Add(49*time.Hour), 3, noon))
	if r.State != Expired {
		t.Errorf("%s past the deadline", r.State)
	}

	// A canceled one that the provider does not know holds no slot; taken up
	// again it is read as one that may still render.
	r = at(t, Rendering)
	must(t, r.Cancel(noon))
	for range MaxUnknown {
		must(t, r.DoesNotKnow(noon, r.Step, noon))
	}
	if r.State != Canceled || r.Read != ReadNone || r.HoldsSlot() {
		t.Errorf("%s, read %q", r.State, r.Read)
	}
	must(t, r.Retry(noon, RetryOptions{}))
	if r.State != Rendering || !r.HoldsSlot() {
		t.Errorf("taken up as %s", r.State)
	}
}

// Before the deadline the links that are known outlive the provider's memory of the task.
func TestATaskThatIsUnknownGoesOnByItsLinks(t *testing.T) {
	refused := Problem{Reason: ReasonLinkRefused, Detail: "403"}
	// unknown has one clip in transfer and one refused, and a provider that knows nothing of it.
	unknown := func(t *testing.T, reads int, wanted ...int) *Record {
		t.Helper()
		r := at(t, Rendering)
		r.Wanted = wanted
		must(t, r.Answer(noon, "task1", r.Step, succeeded("a", "b"), noon))
		for range 2 {
			must(t, r.ClipRefused(noon, 0, r.Clips[0].Round, "a", refused))
		}
		for range reads {
			must(t, r.DoesNotKnow(noon, r.Step, noon))
		}
		return r
	}
	t.Run("the refused one too", func(t *testing.T) {
		r := unknown(t, MaxUnknown-1)
		if r.Clips[0].State != ClipStale {
			t.Fatalf("clips%s", clipsOf(r))
		}
		must(t, r.DoesNotKnow(noon, r.Step, noon))
		if c := r.Clips[0]; r.State != Mirroring || c.State != ClipReady || c.Link != "a" || !c.NotBefore.After(noon) || r.Read == ReadNone {
			t.Fatalf("%s, read %q, clips%s", r.State, r.Read, clipsOf(r))
		}
		must(t, r.ClipDone(noon, "task1", 0, r.Clips[0].Round, Object{Key: "a"}, nil, ""))
		must(t, r.ClipDone(noon, "task1", 1, r.Clips[1].Round, Object{Key: "b"}, nil, ""))
		must(t, r.DoesNotKnow(noon, r.Step, noon))
		if !r.Sealable() {
			t.Errorf("%s: %+v", r.State, r.Problem)
		}
	})
	t.Run("and the provider may remember", func(t *testing.T) {
		r := unknown(t, MaxUnknown+3)
		must(t, r.Answer(noon, "task1", r.Step, succeeded("c", "d"), noon))
		if r.Unknown != 0 || r.Clips[0].Link != "c" || r.Read != ReadNone {
			t.Errorf("unknown %d times, read %q, clips%s", r.Unknown, r.Read, clipsOf(r))
		}
	})
	t.Run("until none is left", func(t *testing.T) {
		r := unknown(t, MaxUnknown, 0, 1, 2)
		must(t, r.ClipDone(noon, "task1", 0, r.Clips[0].Round, Object{Key: "a"}, nil, ""))
		must(t, r.ClipDone(noon, "task1", 1, r.Clips[1].Round, Object{Key: "b"}, nil, ""))
		must(t, r.DoesNotKnow(noon, r.Step, noon))
		if r.State != Failed || r.Problem.Reason != ReasonTaskUnknown || r.ArchivedCount != 2 || r.Clips[2].State != ClipFailed {
			t.Fatalf("%s: %+v, clips%s", r.State, r.Problem, clipsOf(r))
		}
		must(t, r.Retry(noon, RetryOptions{}))
		if r.State != Mirroring || r.Clips[2].State != ClipWaiting {
			t.Errorf("taken up as %s, clips%s", r.State, clipsOf(r))
		}
	})
	t.Run("and a dead link at the deadline takes no living one with it", func(t *testing.T) {
		r, past := unknown(t, MaxUnknown), noon.Add(49*time.Hour)
		must(t, r.ClipRefused(past, 0, r.Clips[0].Round, "a", refused))
		must(t, r.ClipRetry(past, 1, r.Clips[1].Round, Problem{Reason: ReasonTransferFailed}, false, past))
		if r.State != Mirroring {
			t.Fatalf("%s: %+v", r.State, r.Problem)
		}
		must(t, r.DoesNotKnow(past, r.Step, past))
		must(t, r.ClipDone(past, "task1", 1, r.Clips[1].Round, Object{Key: "b"}, nil, ""))
		if r.State != Expired || r.ArchivedCount != 1 {
			t.Errorf("%s, %d archived", r.State, r.ArchivedCount)
		}
	})
	t.Run("one that renders holds no slot meanwhile", func(t *testing.T) {
		r := at(t, Rendering)
		r.Wanted = []int{0}
		half := succeeded("a")
		half.Status, half.Succeeded = "ONGOING", false
		must(t, r.Answer(noon, "task1", r.Step, half, noon))
		for range MaxUnknown {
			must(t, r.DoesNotKnow(noon, r.Step, noon))
		}
		if r.State != Rendering || r.HoldsSlot() {
			t.Fatalf("%s, holds a slot: %v", r.State, r.HoldsSlot())
		}
		must(t, r.ClipDone(noon, "task1", 0, r.Clips[0].Round, Object{Key: "a"}, nil, ""))
		must(t, r.DoesNotKnow(noon, r.Step, noon))
		if !r.Sealable() { // all that was asked for is there
			t.Errorf("%s: %+v", r.State, r.Problem)
		}
	})
}

// The provider can't be read past the deadline: a clip that waits for a fresh link is
// given up, and takes none along whose link may live.
func TestWhatIsLinkedGoesOnWhereResultsAreNotRead(t *testing.T) {
	r, past := at(t, Mirroring), noon.Add(49*time.Hour)
	r.Clips[1].State = ClipStale
	must(t, r.Expire(past, "task1", Problem{Reason: ReasonResultsUnread}))
	if r.State != Mirroring || r.Read != ReadNone || r.Clips[0].State != ClipReady || r.Clips[1].State != ClipFailed {
		t.Fatalf("%s, clips%s", r.State, clipsOf(r))
	}
	must(t, r.ClipDone(past, "task1", 0, r.Clips[0].Round, Object{Key: "a"}, nil, ""))
	if r.State != Expired || r.ArchivedCount != 1 {
		t.Errorf("%s, %d archived", r.State, r.ArchivedCount)
	}
}

// The provider forgets the task while clips are on their way whose links live on.
func TestClipsThatAreLinkedOutliveTheirTask(t *testing.T) {
	past := noon.Add(49 * time.Hour)
	forgotten := func(t *testing.T) *Record {
		t.Helper()
		r := at(t, Rendering)
		must(t, r.Answer(noon, "task1", 1, succeeded("a", ""), noon))
		must(t, r.DoesNotKnow(past, r.Step, past))
		if r.State != Mirroring || r.Read != ReadNone || r.Clips[0].State != ClipReady || r.Clips[1].State != ClipFailed {
			t.Fatalf("%s, read %q, clips%s", r.State, r.Read, clipsOf(r))
		}
		return r
	}
	t.Run("and are archived", func(t *testing.T) {
		r := forgotten(t)
		must(t, r.ClipDone(past, "task1", 0, r.Clips[0].Round, Object{Key: "k"}, nil, ""))
		if r.State != Expired || r.Problem.Reason != ReasonDeadlinePassed || r.ArchivedCount != 1 {
			t.Errorf("%s: %+v", r.State, r.Problem)
		}
	})
	t.Run("or are not", func(t *testing.T) {
		r := forgotten(t)
		must(t, r.ClipRefused(past, 0, r.Clips[0].Round, "a", Problem{Reason: ReasonLinkRefused, Detail: "403"}))
		if r.State != Expired || r.Problem.Reason != ReasonDeadlinePassed || r.ArchivedCount != 0 {
			t.Errorf("%s: %+v", r.State, r.Problem)
		}
	})
	t.Run("nothing more was needed", func(t *testing.T) {
		r := at(t, Mirroring)
		must(t, r.ClipDone(noon, "task1", 0, 1, Object{Key: "k"}, nil, ""))
		must(t, r.ClipRefused(noon, 1, 1, "b", Problem{Reason: ReasonLinkRefused, Detail: "403"}))
		must(t, r.ClipRefused(noon, 1, 2, "b", Problem{Reason: ReasonLinkRefused, Detail: "403"}))
		must(t, r.ClipDone(noon, "task1", 1, 1, Object{Key: "k"}, nil, "")) // another run had it
		must(t, r.DoesNotKnow(past, r.Step, past))
		if !r.Sealable() {
			t.Errorf("%s, read %q, clips%s: all are archived", r.State, r.Read, clipsOf(r))
		}
	})
}
