package sim

import "testing"

// TestShortRenders holds how soon the ends of short renders are seen where requests
// cost nothing, or the limits are large, and what that costs.
func TestShortRenders(t *testing.T) {
	for _, c := range []struct {
		name          string
		load          Workload
		p95, requests float64
		limited       bool
	}{
		{"no limits, 36 at once", Workload{Burst: 36}, 2, 6, false},
		{"no limits, 1,000 at once", Workload{Burst: 1000}, 2, 6, false},
		{"no limits, 60 a minute", Workload{Arrivals: 60}, 2, 6, false},
		{"large limits, 36 at once", Workload{Burst: 36}, 3, 6, true},
		{"large limits, 1,000 at once", Workload{Burst: 1000}, 3, 6, true},
		{"large limits, 100 a minute", Workload{Arrivals: 100}, 3, 6, true},
		{"large limits, saturated", Workload{}, 3, 6, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := Setup{Workload: c.load, Policy: Ours, Workers: 2, Hours: 0.5}
			s.Workload.Least, s.Workload.Most = 2, 6
			if c.limited {
				s.PerMinute, s.Slots = 600, 200
			}
			all := runs(s, 3)
			if p95 := Median(all, func(f Figures) float64 { return f.P95 }); p95 > c.p95 {
				t.Errorf("p95 lag %.2f s, the bound %.0f s", p95, c.p95)
			}
			if n := Median(all, func(f Figures) float64 { return f.Requests }); n > c.requests {
				t.Errorf("%.2f requests an export, the bound %.0f", n, c.requests)
			}
			for _, f := range all {
				if f.RateRefusals+f.SlotRefusals > 0 {
					t.Errorf("refused %d times for the rate, %d for slots", f.RateRefusals, f.SlotRefusals)
				}
			}
		})
	}
}
