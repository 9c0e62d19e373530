package status

import (
	"fmt"
	"math"
	"time"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/pace"
)

// Summary is the status in one line for people.
func (s AccountStatus) Summary(now time.Time) string {
	st := s.Budget
	text := s.Name + ": "
	switch {
	case st.Slots == 0 && st.RequestsPerMinute == 0:
		text += "no limits" // and so nobody counts
	case st.Slots == 0:
		text += fmt.Sprintf("%d running", len(st.Held))
	default:
		text += fmt.Sprintf("%d of %d slots used", len(st.Held), st.Slots)
	}
	switch {
	case math.IsInf(st.Credit, 0), st.RequestsPerMinute == 0:
	case st.Credit >= 1:
		text += fmt.Sprintf(", %.0f requests left at once", math.Floor(st.Credit))
	case !st.Opens.IsZero():
		text += ", next request in " + roughly(st.Opens.Sub(st.At))
	}
	text += fmt.Sprintf(", %d queued", s.Queued)
	if s.Today.Cap > 0 {
		text += fmt.Sprintf(", %s of %s units spent today", amount(s.Today.Spent), amount(s.Today.Cap))
	} else if s.Today.Spent > 0 {
		text += fmt.Sprintf(", %s units spent today", amount(s.Today.Spent))
	}
	if s.Today.Reached() {
		text += "; no further exports for " + roughly(s.Today.Ends.Sub(now))
	}
	if why := Halted(st); why != "" {
		text += "; HALTED: it waits for " + why
	}
	return text
}

// Spending is what the account's requests went to since its state was made, in
// one line for people; empty before the first one.
func (s AccountStatus) Spending() string {
	st := s.Budget
	var sent, refused, failed int64
	for _, kind := range pace.Kinds {
		sent, refused, failed = sent+st.Sent[kind], refused+st.Refused[kind], failed+st.Failed[kind]
	}
	if sent == 0 {
		return ""
	}
	text := fmt.Sprintf("requests so far: %d submits, %d reads, %d for fresh links; %d refused, %d failed",
		st.Sent[budget.Submit], st.Sent[budget.Read], st.Sent[budget.Refresh], refused, failed)
	if n := st.Sent[budget.Other]; n > 0 {
		text += fmt.Sprintf("; %d of other calls that were passed through", n)
	}
	if st.Ends > 0 {
		text += fmt.Sprintf("; renders take %.0f s (%.0f s expected), their ends are seen after %.1f s",
			st.Duration.Seconds(), st.Predicted.Seconds(), st.Lag.Seconds())
	}
	return text
}
