package sim

import (
	"testing"
	"time"
)

// shared is a saturated provider whose slots several tenants want.
func shared(tenants ...Tenant) Figures {
	return Run(Setup{
		Workload: Workload{Median: 60, Sigma: 0.5}, Policy: Ours, PerMinute: 15, Slots: 5, Workers: 4,
		Hours: 12, Seed: 3, Tenants: tenants,
	})
}

// TestABacklogDelaysTheFirstOfAnother by no more than the renders in progress and its
// share.
func TestABacklogDelaysTheFirstOfAnother(t *testing.T) {
	f := shared(Tenant{Name: "news", Exports: 10_000}, Tenant{Name: "sport", Exports: 10, At: time.Hour})
	sport, news := f.Tenants["sport"], f.Tenants["news"]
	if sport.Before > 1 { // which may have had its slot already
		t.Errorf("%d exports of the other started before the first one", sport.Before)
	}
	if sport.First > 120 || sport.Starts != 10 || sport.Times[9] > 15*60 {
		t.Errorf("started after %v s", sport.Times)
	}
	if alone := shared(Tenant{Name: "news", Exports: 10_000}); news.Starts+sport.Starts < alone.Tenants["news"].Starts*98/100 {
		t.Errorf("%d and %d started, of one tenant %d", news.Starts, sport.Starts, alone.Tenants["news"].Starts)
	}
}

// TestSharesAreKept over a day, whoever came first.
func TestSharesAreKept(t *testing.T) {
	f := shared(Tenant{Name: "news", Share: 3, Exports: 10_000, At: time.Minute}, Tenant{Name: "sport", Share: 1, Exports: 10_000})
	news, sport := f.Tenants["news"].Starts, f.Tenants["sport"].Starts
	if ratio := float64(news) / float64(sport); ratio < 2.8 || ratio > 3.1 {
		t.Errorf("news started %d, sport %d: %.2f to 1", news, sport, ratio)
	}
}
