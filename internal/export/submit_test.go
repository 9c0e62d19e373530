package export

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// at brings a new record to the state, the way it comes there.
func at(t *testing.T, s State) *Record {
	t.Helper()
	r := newRecord()
	if s == Queued {
		return r
	}
	must(t, r.Intend(noon, "me"))
	switch s {
	case Submitting:
	case Held:
		must(t, r.Lose(noon, "me", noon, Hold, Problem{Reason: ReasonAnswerLost, Detail: "the answer was lost"}))
	case Failed:
		must(t, r.Reject(noon, "me", Problem{Reason: ReasonRequestRejected, Detail: "no"}))
	case Canceled:
		must(t, r.Cancel(noon))
	default:
		must(t, r.Accept(noon, "task1", "name", "CREATED"))
		if s == Rendering {
			return r
		}
		if s == Expired {
			must(t, r.Expire(noon.Add(73*time.Hour), "task1", Problem{Reason: ReasonTaskForgotten, Detail: "gone"}))
			return r
		}
		must(t, r.Answer(noon, r.ExportTaskID, r.Step, succeeded("a", "b"), noon))
		if s == Archived {
			for idx := range 2 {
				must(t, r.ClipDone(noon, r.ExportTaskID, idx, r.Clips[idx].Round, Object{Key: "k", Size: 5}, nil, ""))
			}
			must(t, r.Seal(noon, "manifest"))
		}
	}
	if r.State != s {
		t.Fatalf("brought to %s, not %s", r.State, s)
	}
	return r
}

// succeeded is a reading with a clip for each link, the empty one for none.
func succeeded(links ...string) Reading {
	a := Reading{Status: "SUCCEEDED", Succeeded: true, ExpireAt: noon.Add(48 * time.Hour)}
	for idx, link := range links {
		a.Clips = append(a.Clips, Clip{Idx: idx, Title: "title " + link, Link: link})
	}
	return a
}

func ongoing(links ...string) Reading {
	a := succeeded(links...)
	a.Status, a.Succeeded = "ONGOING", false
	return a
}

// failed is a reading that says what the export cost; less than nothing for one
// that does not.
func failed(cost float64) Reading {
	return Reading{Status: "Failed", Failed: true, Message: "no such clip", CostUsage: max(cost, 0), Free: cost == 0}
}

// In every state an answer that says "accepted" is kept.
func TestLateAccept(t *testing.T) {
	for _, c := range []struct {
		in, to State
		task   string // the export's task afterwards
		read   ReadReason
	}{
		{Queued, Rendering, "late", ReadRender},
		{Submitting, Rendering, "late", ReadRender},
		{Held, Rendering, "late", ReadRender},
		{Failed, Rendering, "late", ReadRender},
		{Canceled, Canceled, "late", ReadDrain},
		{Rendering, Rendering, "task1", ReadRender},
		{Mirroring, Mirroring, "task1", ReadNone},
		{Archived, Archived, "task1", ReadNone},
		{Expired, Expired, "task1", ReadNone},
	} {
		r := at(t, c.in)
		must(t, r.Accept(noon, "late", "n", "CREATED"))
		if r.State != c.to || r.ExportTaskID != c.task || r.Read != c.read {
			t.Errorf("%s: now %s as %s, read %q", c.in, r.State, r.ExportTaskID, r.Read)
		}
		if dup := slices.Contains(r.Duplicates, "late"); dup != (c.task != "late") {
			t.Errorf("%s: duplicates %v", c.in, r.Duplicates)
		}
		if c.read != ReadNone && !r.HoldsSlot() {
			t.Errorf("%s: an accepted export holds no slot", c.in)
		}
		before := clone(r)
		must(t, r.Accept(noon, "late", "n", "CREATED")) // and once more
		if !equal(before, r) {
			t.Errorf("%s: the same answer twice changes the record", c.in)
		}
	}
}

func TestAcceptRefusals(t *testing.T) {
	r := at(t, Submitting)
	if err := r.Accept(noon, "", "n", "CREATED"); err == nil {
		t.Error("accepted without a task")
	}
	r.Previous = []string{"old"}
	if err := r.Accept(noon, "old", "", ""); !errors.Is(err, ErrStale) {
		t.Errorf("accepting a task that was given up: %v", err)
	}
	if r.State != Submitting {
		t.Errorf("a refused answer led to %s", r.State)
	}
}

// What comes of a request is recorded only by the run that sent it, or for it.
func TestOutcomeNamesItsIntent(t *testing.T) {
	for _, in := range []State{Submitting, Canceled} {
		for _, by := range []string{"", "other"} {
			r := at(t, in)
			if err := r.Reject(noon, by, Problem{Reason: ReasonRequestRejected, Detail: "no"}); !errors.Is(err, ErrStale) {
				t.Errorf("%s: Reject by %q: %v", in, by, err)
			}
			if err := r.Lose(noon, by, noon, Resubmit, Problem{Reason: ReasonAnswerLost, Detail: "lost"}); !errors.Is(err, ErrStale) {
				t.Errorf("%s: Lose by %q: %v", in, by, err)
			}
			must(t, r.PutBack(noon, by, noon, Problem{Reason: ReasonProviderUnavailable, Detail: "wait"}))
			if r.State != in || r.IntentBy != "me" {
				t.Errorf("%s: put back by %q: %s, intent of %q; the doubt is gone", in, by, r.State, r.IntentBy)
			}
		}
	}
	r := at(t, Submitting)
	must(t, r.PutBack(noon, "", noon.Add(time.Minute), Problem{Reason: ReasonProviderUnavailable, Detail: "wait"}))
	if r.Round != 1 || !r.NotBefore.Equal(noon.Add(time.Minute)) {
		t.Errorf("a stranger's put-back: round %d, not before %s; want a later step", r.Round, r.NotBefore)
	}
}

func TestPutBack(t *testing.T) {
	later := noon.Add(time.Minute)
	r := at(t, Submitting)
	must(t, r.PutBack(noon, "me", later, Problem{Reason: ReasonProviderUnavailable, Detail: "refused"}))
	if r.State != Queued || r.Round != 1 || !r.NotBefore.Equal(later) || r.Problem.Detail != "refused" || r.IntentBy != "" {
		t.Errorf("%+v", r)
	}
	must(t, r.PutBack(noon, "", noon, Problem{})) // a worker that stops before its intent
	if r.State != Queued || r.Round != 2 || r.Problem.Detail != "refused" {
		t.Errorf("%+v", r)
	}
}

func TestLose(t *testing.T) {
	r := at(t, Submitting)
	must(t, r.Lose(noon, "me", noon, Resubmit, Problem{Reason: ReasonAnswerLost, Detail: "lost"}))
	if r.State != Queued || r.Round != 1 || r.Doubts != 1 || r.Problem.Detail != "lost" {
		t.Errorf("resubmit: %+v", r)
	}
	if err := r.Lose(noon, "me", noon, Resubmit, Problem{Reason: ReasonAnswerLost, Detail: "lost"}); !errors.Is(err, ErrStale) {
		t.Errorf("lost twice: %v", err)
	}
	r = at(t, Held)
	if r.Problem != (Problem{Reason: ReasonAnswerLost, Detail: "the answer was lost", Since: noon}) {
		t.Errorf("held for %+v", r.Problem)
	}
	if r.Doubts != 1 || len(Due(r)) != 0 {
		t.Errorf("held: %d doubts, due %v", r.Doubts, Due(r))
	}
}

// A canceled export whose request is in doubt is not sent again unasked: when
// it is taken up, the doubt is settled first.
func TestCanceledInDoubt(t *testing.T) {
	r := at(t, Canceled)
	must(t, r.Lose(noon, "me", noon, Resubmit, Problem{Reason: ReasonAnswerLost, Detail: "lost"}))
	if r.State != Canceled || r.Problem.Reason != ReasonAnswerLost {
		t.Fatalf("%s: %+v", r.State, r.Problem)
	}
	must(t, r.Retry(noon, RetryOptions{}))
	if r.State != Submitting || r.Round != 1 || len(Due(r)) != 1 {
		t.Fatalf("taken up as %s, round %d, due %v", r.State, r.Round, Due(r))
	}
	must(t, r.Lose(noon, "me", noon, Hold, Problem{Reason: ReasonAnswerLost, Detail: "lost"}))
	if r.State != Held || r.Doubts != 1 {
		t.Errorf("%s after %d doubts, want held after one", r.State, r.Doubts)
	}

	r = at(t, Canceled)
	must(t, r.PutBack(noon, "me", noon, Problem{Reason: ReasonProviderUnavailable, Detail: "refused"})) // it was not taken after all
	must(t, r.Retry(noon, RetryOptions{}))
	if r.State != Queued {
		t.Errorf("a canceled export that was refused is taken up as %s", r.State)
	}
}

// What was written ahead and not sent is in nobody's way; what is not known to be
// there is remembered besides what was there before.
func TestUnsent(t *testing.T) {
	r := newRecord()
	for _, step := range []struct {
		by      string
		written bool
		want    string
	}{{"a", true, "a"}, {"b", false, "a b"}, {"b", false, "a b"}, {"", true, "a b"}, {"c", true, "c b"}, {"d", false, "c b d"}, {"e", true, "e d"}} {
		if r.Unsent(step.by, step.written); strings.Join(r.Settled, " ") != step.want {
			t.Errorf("after %s: %v", step.by, r.Settled)
		}
	}
	for i := range 100 {
		r.Unsent(fmt.Sprint(i), false)
	}
	if len(r.Settled) != maxSettled || r.Settled[0] != "e" || r.Settled[maxSettled-1] != "99" {
		t.Errorf("%v", r.Settled)
	}
	if err := r.Lose(noon, "e", noon, Hold, Problem{Reason: ReasonAnswerLost}); !errors.Is(err, ErrStale) {
		t.Errorf("an intent that was not sent is in doubt: %v", err)
	}
	must(t, r.Cancel(noon))
	if says, due := r.ReceiptDue(); says != ReceiptCanceled || !due {
		t.Errorf("its receipt says %q, due %v", says, due)
	}
}

// What a person lets be paid for again is no doubt that counts any more: the new
// request has as many as the first one had.
func TestPayAgainSettlesTheDoubts(t *testing.T) {
	r := newRecord()
	lose := func() {
		must(t, r.Intend(noon, "me"))
		must(t, r.Lose(noon, "me", noon, Resubmit, Problem{Reason: ReasonAnswerLost}))
	}
	for range MaxDoubts {
		lose()
	}
	if r.State != Held {
		t.Fatalf("%s after %d doubts", r.State, r.Doubts)
	}
	if err := r.Retry(noon, RetryOptions{}); !errors.Is(err, ErrPaid) {
		t.Fatalf("retry without a word about money: %v", err)
	}
	must(t, r.Retry(noon, RetryOptions{PayAgain: true}))
	if r.Suspect() {
		t.Error("it still waits for the provider to answer reads")
	}
	lose()
	if want := noon.Add(5 * time.Second); r.State != Queued || r.Doubts != MaxDoubts+1 || !r.NotBefore.Equal(want) {
		t.Errorf("%s after %d doubts, not before %s", r.State, r.Doubts, r.NotBefore)
	}
}
