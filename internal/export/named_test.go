package export

import (
	"slices"
	"testing"
)

// named returns an export of clip 1 whose task a person has named.
func named(t *testing.T) *Record {
	t.Helper()
	r := newRecord()
	r.Wanted = []int{1}
	must(t, r.Intend(noon, "token"))
	must(t, r.Lose(noon, "token", noon, Hold, Problem{Reason: ReasonAnswerLost}))
	must(t, r.Retry(noon, RetryOptions{SubmittedAs: "wrong"}))
	return r
}

func TestATaskNamedWrongIsHeldAgain(t *testing.T) {
	for name, c := range map[string]struct {
		reads  int
		read   func(*Record) error
		reason Reason
	}{
		"unknown": {2, func(r *Record) error { return r.DoesNotKnow(noon, r.Step, noon) }, ReasonTaskNotFound},
		"of another project": {1, func(r *Record) error {
			return r.Answer(noon, r.ExportTaskID, r.Step, Reading{
				Status: "SUCCEEDED", Succeeded: true, CostUsage: 8,
				Clips: []Clip{{Idx: 1, Link: "https://x/1"}, {Idx: 2, Link: "https://x/2"}},
			}, noon)
		}, ReasonTaskForeign},
	} {
		t.Run(name, func(t *testing.T) {
			r := named(t)
			for range c.reads {
				if _, due := r.ReceiptDue(); due {
					t.Error("S3 is told of a task that nobody has seen")
				}
				must(t, c.read(r))
			}
			if r.State != Held || r.accepted() || r.Problem.Reason != c.reason || r.Problem.Detail != "wrong" || len(r.Clips) != 0 {
				t.Fatalf("%s as %q with %d clips: %+v", r.State, r.ExportTaskID, len(r.Clips), r.Problem)
			}
			if !r.Suspect() || slices.Contains(r.Previous, "wrong") || r.HoldsSlot() {
				t.Errorf("suspect %t, previous %v, slot %t", r.Suspect(), r.Previous, r.HoldsSlot())
			}
			must(t, r.Retry(noon, RetryOptions{SubmittedAs: "right"}))
			must(t, r.Answer(noon, "right", r.Step, Reading{
				Status: "SUCCEEDED", Succeeded: true, Clips: []Clip{{Idx: 1, Link: "https://x/1"}, {Idx: 2}},
			}, noon))
			if _, due := r.ReceiptDue(); r.State != Mirroring || r.ClipCount != 1 || !due {
				t.Errorf("%s with %d clips, receipt due: %t", r.State, r.ClipCount, due)
			}
		})
	}
}

// The provider's own word comes late, and is the better one.
func TestAnAcceptanceTakesThePlaceOfATaskThatNobodyHasSeen(t *testing.T) {
	r := named(t)
	must(t, r.Accept(noon, "right", "", "CREATED"))
	if r.State != Rendering || r.ExportTaskID != "right" || len(r.Duplicates) > 0 || r.Named {
		t.Errorf("%s as %q, duplicates %v", r.State, r.ExportTaskID, r.Duplicates)
	}
}
