package e2e_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTheBudgetIsSpentWell runs two worker processes against the emulator with
// its time six times faster, so that 15 requests a minute are 15 in 10 s; the
// workers are told 84 a minute, which is the same spacing. It takes minutes and
// so runs only with CLIPFERRY_SOAK set.
func TestTheBudgetIsSpentWell(t *testing.T) {
	if os.Getenv("CLIPFERRY_SOAK") == "" {
		t.Skip("set CLIPFERRY_SOAK=1 to run it; it takes about four minutes")
	}
	for _, shape := range []string{"fixed", "sliding", "bucket"} {
		t.Run(shape, func(t *testing.T) { budgetOn(t, shape) })
	}
}

func budgetOn(t *testing.T, shape string) {
	const speed, slots, exports = 6, 5, 30
	h := newHouse(t, "--speed", fmt.Sprint(speed), "--limit-shape", shape, "--burst", "2")
	dice := rand.New(rand.NewPCG(6, 1))
	var lines []string
	var renders []time.Duration
	for i := range exports {
		render := time.Duration(10+dice.IntN(41)) * time.Second // real seconds
		renders = append(renders, render)
		lines = append(lines, fmt.Sprintf(`{"job_id":"job-%d","project_id":"p%d~clips=4~render=%s"}`, i, i, render*speed))
	}
	rate := "CLIPFERRY_API_REQUESTS_PER_MINUTE=84"
	h.worker(rate)
	h.worker(rate)
	out, code := h.clipferry(strings.Join(lines, "\n"), "enqueue", "--file", "-")
	if code != 0 {
		t.Fatalf("exit %d", code)
	}
	h.awaitAll(strings.Fields(out), "archived", 10*time.Minute)

	req, err := http.NewRequest(http.MethodGet, h.provider+"/_emulator/state", nil)
	must(t, err)
	var state struct {
		Refused map[string]int
		Submits []struct {
			AcceptedAt time.Time `json:"accepted_at"`
			EndSeenAt  time.Time `json:"end_seen_at"`
			Reads      int
		}
	}
	must(t, json.Unmarshal(h.get(req), &state))
	var first, last time.Time
	reads := 0
	for _, s := range state.Submits {
		if first.IsZero() || s.AcceptedAt.Before(first) {
			first = s.AcceptedAt
		}
		if s.EndSeenAt.After(last) {
			last = s.EndSeenAt
		}
		reads += s.Reads
	}
	took, ideal := last.Sub(first), clairvoyant(renders, slots)
	t.Logf("%s: %d exports in %s, the clairvoyant's are %s (%.3f times); %d reads; refused %v",
		shape, len(state.Submits), took.Round(time.Second/10), ideal, float64(took)/float64(ideal), reads, state.Refused)
	if len(state.Submits) != exports || state.Refused["rate"] > 0 || state.Refused["active"] > 2 {
		t.Errorf("%d submits, refused %v", len(state.Submits), state.Refused)
	}
	if float64(took) > 1.2*float64(ideal) {
		t.Errorf("took %s, more than 1.2 times %s", took, ideal)
	}
}

// clairvoyant is the makespan of one who refills each slot at the very moment
// that its render ends.
func clairvoyant(renders []time.Duration, slots int) time.Duration {
	free := make([]time.Duration, slots)
	for _, r := range renders {
		slices.Sort(free)
		free[0] += r
	}
	return slices.Max(free)
}
