package sim

import (
	"fmt"
	"testing"
)

// TestPassedAndExportsStarveNeither: a full backlog of exports beside clients that
// pass tasks through, and others that read a task made elsewhere every 8 s.
func TestPassedAndExportsStarveNeither(t *testing.T) {
	const alone = 97 // % of clairvoyant, and 100 exports an hour, with exports only
	for _, c := range []struct {
		Passed
		exports, passed float64 // an hour, at least
		wait            float64 // of a client's task, at most, seconds
		age             float64 // of 95 % of the answers to readers, at most, seconds
	}{
		{Passed{Clients: 1, Readers: 1}, 80, 13, 600, 16},
		{Passed{Clients: 20, Readers: 5}, 45, 45, 3000, 80},
	} {
		t.Run(fmt.Sprintf("%d clients, %d readers", c.Clients, c.Readers), func(t *testing.T) {
			t.Parallel()
			const hours = 6
			all := runs(Setup{
				Workload: Workload{Median: 120, Sigma: 0.5}, Policy: Ours,
				PerMinute: 15, Slots: 5, Workers: 4, Hours: hours, Passed: c.Passed,
			}, 3)
			check := func(what string, limit float64, atLeast bool, of func(Figures) float64) {
				if got := Median(all, of); atLeast && got < limit || !atLeast && got > limit {
					t.Errorf("%s is %.1f, the bound %.1f", what, got, limit)
				}
			}
			check("throughput of all", alone-5, true, func(f Figures) float64 { return 100 * f.Busy })
			check("exports an hour", c.exports, true, func(f Figures) float64 { return float64(f.Exports) / hours })
			check("tasks passed through an hour", c.passed, true, func(f Figures) float64 { return float64(f.Passed) / hours })
			check("mean lag of exports", 11, false, func(f Figures) float64 { return f.Mean })
			check("mean lag of what is passed through", 22, false, func(f Figures) float64 { return f.PassedLag })
			check("longest wait of a client", c.wait, false, func(f Figures) float64 { return f.PassedLongest })
			check("age of answers", c.age, false, func(f Figures) float64 { return f.AnswerAge })
			check("longest gap", 150, false, func(f Figures) float64 { return f.Gap })
			for _, f := range all {
				if f.RateRefusals+f.SlotRefusals > 0 {
					t.Errorf("refused %d times for the rate, %d for slots", f.RateRefusals, f.SlotRefusals)
				}
			}
		})
	}
}
