package sim

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
)

// bound is a row of the table that the project promises.
type bound struct {
	median, busy, lag, p95, requests float64
	hours                            float64
}

var bounds = []bound{
	{60, 91.5, 8.5, 22, 5, 8},
	{120, 96.5, 6.5, 17, 8.5, 8},
	{300, 98.5, 6, 15, 16, 12},
	{900, 99.3, 6.5, 16, 36, 24},
}

// TestBounds holds the simulated fleet to its bounds, saturated, with fifteen
// requests a minute and five slots, against each shape of limiter.
func TestBounds(t *testing.T) {
	for _, b := range bounds {
		t.Run(fmt.Sprintf("%.0f s", b.median), func(t *testing.T) {
			t.Parallel()
			all := runs(Setup{
				Workload: Workload{Median: b.median, Sigma: 0.5}, Policy: Ours,
				PerMinute: 15, Slots: 5, Workers: 4, Hours: b.hours,
			}, 4)
			check := func(what string, got, limit float64, atLeast bool) {
				if atLeast && got < limit || !atLeast && got > limit {
					t.Errorf("%s is %.2f, the bound %.2f", what, got, limit)
				}
			}
			check("throughput", 100*Median(all, func(f Figures) float64 { return f.Busy }), b.busy, true)
			check("mean lag", Median(all, func(f Figures) float64 { return f.Mean }), b.lag, false)
			check("p95 lag", Median(all, func(f Figures) float64 { return f.P95 }), b.p95, false)
			check("requests an export", Median(all, func(f Figures) float64 { return f.Requests }), b.requests, false)
			for _, f := range all {
				if f.RateRefusals+f.SlotRefusals > 0 {
					t.Errorf("refused %d times for the rate, %d for slots", f.RateRefusals, f.SlotRefusals)
				}
				check("longest gap", f.Gap, 150, false)
			}
		})
	}
}

// runs runs the setup with so many seeds, over all shapes of limiter.
func runs(s Setup, seeds int) []Figures {
	all := make([]Figures, seeds)
	var wg sync.WaitGroup
	for i := range seeds {
		wg.Go(func() {
			s := s
			s.Seed = uint64(i + 1)
			if s.Shape == "" {
				s.Shape = Shapes[i%len(Shapes)]
			}
			all[i] = Run(s)
		})
	}
	wg.Wait()
	return all
}

// TestMisleadingProgress holds that answers which mislead never cost more than
// not using them at all would: sharing reads equally.
func TestMisleadingProgress(t *testing.T) {
	for _, p := range []Progress{AtTheEnd, Early, NotGiven, Misleading} {
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			s := Setup{
				Workload: Workload{Median: 120, Sigma: 0.5, Progress: p}, Policy: Ours,
				PerMinute: 15, Slots: 5, Workers: 4, Hours: 8,
			}
			ours := runs(s, 2)
			s.Policy = Equal
			equal := runs(s, 2)
			busy := func(f Figures) float64 { return f.Busy }
			if a, b := Median(ours, busy), Median(equal, busy); a < b {
				t.Errorf("throughput %.4f, equal shares %.4f", a, b)
			}
		})
	}
}

// TestLightLoad holds the lag when there is more than enough of everything.
func TestLightLoad(t *testing.T) {
	t.Parallel()
	all := runs(Setup{
		Workload: Workload{Median: 120, Sigma: 0.5, Load: 0.25}, Policy: Ours,
		PerMinute: 15, Slots: 5, Workers: 4, Hours: 24,
	}, 4)
	if p95 := Median(all, func(f Figures) float64 { return f.P95 }); p95 > 12 {
		t.Errorf("p95 lag %.1f s, the bound 12 s", p95)
	}
}

// TestRunsRepeat holds that the same setup gives the same figures.
func TestRunsRepeat(t *testing.T) {
	t.Parallel()
	s := Setup{
		Workload: Workload{Median: 60, Sigma: 0.5}, Policy: Ours, Shape: Sliding,
		PerMinute: 15, Slots: 5, Workers: 2, Hours: 2, Seed: 9,
	}
	if a, b := Run(s), Run(s); !reflect.DeepEqual(a, b) {
		t.Errorf("%+v\n%+v", a, b)
	}
}

// TestComparisons holds that what we compare with is what it says: the
// clairvoyant reads are better than ours, and no budget at all is worse.
func TestComparisons(t *testing.T) {
	t.Parallel()
	s := Setup{
		Workload: Workload{Median: 60, Sigma: 0.5}, Shape: Sliding,
		PerMinute: 15, Slots: 5, Workers: 2, Hours: 8, Seed: 5,
	}
	var busy []float64
	for _, p := range []Policy{Every8, Every30, Ours, Oracle} {
		s.Policy = p
		busy = append(busy, Run(s).Busy)
	}
	if !slices.IsSorted(busy) {
		t.Errorf("throughput of %v", busy)
	}
}
