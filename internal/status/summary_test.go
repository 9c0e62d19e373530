package status_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/status"
	"github.com/clipferry/clipferry/internal/units"
	"github.com/clipferry/clipferry/tasks"
)

func TestAccountsAreSummedUp(t *testing.T) {
	w := newWatch(t)
	for i := range 3 {
		w.enqueue(t, tasks.Export{JobID: fmt.Sprint("e", i), ProjectID: "p", Account: "eu"})
	}
	w.purses["eu"].status.Line = []string{"z"}
	w.purses["eu"].status.Held = make([]budget.Slot, 4)
	w.purses["default"].status.Credit = 0.4
	w.purses["default"].status.Opens = w.purses["default"].status.At.Add(4 * time.Second)
	w.purses["default"].status.Halted = "key_refused"
	w.purses["default"].day = units.Day{Spent: 96}
	out, err := w.reader.Read(t.Context(), nil, "eu", "default", "eu")
	must(t, err)
	var got []string
	for _, s := range out.Accounts {
		got = append(got, s.Summary(time.Now()))
	}
	want := []string{
		"default: 0 of 5 slots used, next request in 10 s, 0 queued, 96 units spent today; HALTED: it waits for the provider to accept the API key again, which it refuses (401 or 403)",
		"eu: 4 of 5 slots used, 3 requests left at once, 4 queued",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	free := status.AccountStatus{Name: "x", Budget: budget.Status{Credit: math.Inf(1)}, Today: units.Day{Spent: 9, Cap: 9, Ends: time.Now().Add(time.Hour)}}
	if got := free.Summary(time.Now()); got != "x: no limits, 0 queued, 9 of 9 units spent today; no further exports for 60 min" {
		t.Error(got)
	}
	if got := free.Spending(); got != "" {
		t.Error(got)
	}
	spent := status.AccountStatus{Budget: budget.Status{
		Sent:    map[budget.Kind]int64{budget.Submit: 12, budget.Read: 48, budget.Refresh: 1},
		Refused: map[budget.Kind]int64{budget.Read: 2}, Failed: map[budget.Kind]int64{budget.Submit: 1, budget.Read: 2},
		Ends: 11, Duration: 172 * time.Second, Predicted: 180 * time.Second, Lag: 6240 * time.Millisecond,
	}}
	if got := spent.Spending(); got != "requests so far: 12 submits, 48 reads, 1 for fresh links; 2 refused, 3 failed; "+
		"renders take 172 s (180 s expected), their ends are seen after 6.2 s" {
		t.Error(got)
	}
	w.purses["eu"].err = errors.New("boom")
	if _, err := w.reader.Read(t.Context(), nil, "eu"); err == nil || !strings.Contains(err.Error(), "account eu: boom") {
		t.Errorf("%v", err)
	}
}

// TestTheRealBudgetIsEnough: an empty one, with nobody in line.
