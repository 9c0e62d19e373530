package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/observe"
)

// horizons are the times ahead for which clips that are due are counted. With
// the rate at which clips are archived they answer the question that matters:
// will a clip's deadline come before its mirror does? Work that is due within h
// gets done in time only if the fleet archives that much within h.
var horizons = []struct {
	name string
	time.Duration
}{
	{"1h", time.Hour}, {"6h", 6 * time.Hour}, {"24h", 24 * time.Hour}, {"72h", 72 * time.Hour},
}

// staleAfter is how long what a sweep found is shown. Another worker may make
// the next sweep, so an old finding must not be shown beside its newer one.
const staleAfter = 3 * time.Minute

// deadlines shows what the last sweep of this process found open. The sweeper
// reads every open export each minute anyway; reading them all once more at
// each scrape, of each worker, would not be kind to Redis.
type deadlines struct {
	now func() time.Time

	mu   sync.Mutex
	at   time.Time
	open []observe.Deadline
}

var (
	descLeast = desc("headroom_least_seconds", "The least time to expire_at over all exports that are not archived yet, as of the last sweep; absent without one. Negative: past it.")
	descDue   = desc("clips_due", "Clips that the provider has finished and that are not archived yet, by how soon their expire_at comes (cumulative), as of the last sweep.", "within")
)

func (d *deadlines) found(open []observe.Deadline) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.open = d.now(), open
}

// Describe sends nothing, as what was found may be nothing.
func (d *deadlines) Describe(chan<- *prometheus.Desc) {}

// Collect shows the findings as of now: headroom shrinks between sweeps.
func (d *deadlines) Collect(out chan<- prometheus.Metric) {
	d.mu.Lock()
	at, open := d.at, d.open
	d.mu.Unlock()
	now := d.now()
	if at.IsZero() || now.Sub(at) > staleAfter {
		return
	}
	due := make([]int, len(horizons))
	var least time.Time
	for _, e := range open {
		if least.IsZero() || e.ExpireAt.Before(least) {
			least = e.ExpireAt
		}
		for i, h := range horizons {
			// While the provider renders, its clips are not ours to hurry.
			if e.State == export.Mirroring && e.ExpireAt.Sub(now) < h.Duration {
				due[i] += e.ClipsLeft
			}
		}
	}
	if !least.IsZero() {
		gauge(out, descLeast, least.Sub(now).Seconds())
	}
	for i, h := range horizons {
		gauge(out, descDue, float64(due[i]), h.name)
	}
}
