// Command bench measures how well the provider's budget is spent, in virtual
// time, with the scheduling code that production runs:
//
//	go run ./internal/budget/bench
//
// It prints the tables of docs/performance.md. The same seeds give the
// same figures.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/clipferry/clipferry/internal/budget/sim"
)

func main() {
	seeds := flag.Int("seeds", 4, "seeds for each figure")
	first := flag.Uint64("seed", 1, "the first of them")
	hours := flag.Float64("hours", 24, "virtual hours of each run")
	flag.Parse()
	began := time.Now()
	b := bench{out: os.Stdout, seeds: *seeds, first: *first, hours: *hours}
	b.saturated()
	b.special()
	b.progress()
	b.passed()
	b.short()
	fmt.Printf("\n%d seeds from %d on, of %g virtual hours, over the limiter shapes %v, in %v.\n",
		*seeds, *first, *hours, sim.Shapes, time.Since(began).Round(time.Second))
}

type bench struct {
	out   io.Writer
	seeds int
	first uint64
	hours float64
}

// base is what the runs have in common: the provider's own limits, saturated.
func (b bench) base(median float64) sim.Setup {
	return sim.Setup{
		Workload: sim.Workload{Median: median, Sigma: 0.5}, Policy: sim.Ours,
		PerMinute: 15, Slots: 5, Workers: 4, Hours: b.hours,
	}
}

const head = "| %s | policy | %% of clairvoyant | mean lag | p50 | p95 | p99 | requests an export | refusals (rate/slot) an export | longest gap |\n|---|---|---|---|---|---|---|---|---|---|\n"

func (b bench) saturated() {
	fmt.Fprintf(b.out, "## Saturated, 15 requests a minute, 5 slots\n\n"+head, "median")
	for _, median := range []float64{60, 120, 300, 900} {
		s := b.base(median)
		if median == 900 {
			s.Hours *= 2 // few exports an hour
		}
		for _, p := range []sim.Policy{sim.Ours, sim.Oracle, sim.Equal, sim.Every30, sim.Every8} {
			s.Policy = p
			b.row(fmt.Sprintf("%.0f s", median), s)
		}
	}
}

func (b bench) special() {
	fmt.Fprintf(b.out, "\n## Other loads, median 120 s\n\n"+head, "load")
	for _, c := range []struct {
		name   string
		change func(*sim.Setup)
	}{
		{"a quarter of capacity", func(s *sim.Setup) { s.Workload.Load = 0.25 }},
		{"one in twenty five times longer", func(s *sim.Setup) { s.Workload.Tail = 5 }},
		{"2.5 times longer from the middle on", func(s *sim.Setup) { s.Workload.Shift = 2.5 }},
		{"nothing renders for ten minutes", func(s *sim.Setup) { s.Workload.Stall = 10 * time.Minute }},
		{"requests take 2 s", func(s *sim.Setup) { s.Latency = 2 * time.Second }},
		{"strangers send 3 a minute", func(s *sim.Setup) { s.Strangers = 3 }},
		{"one worker", func(s *sim.Setup) { s.Workers = 1 }},
		{"twenty workers", func(s *sim.Setup) { s.Workers = 20 }},
	} {
		s := b.base(120)
		c.change(&s)
		for _, p := range []sim.Policy{sim.Ours, sim.Equal} {
			s.Policy = p
			b.row(c.name, s)
		}
	}
	s := b.base(120)
	s.PerMinute, s.Slots, s.Hours = 600, 200, b.hours/48
	b.row("600 requests, 200 slots", s)
}

func (b bench) progress() {
	fmt.Fprintf(b.out, "\n## How clips become ready, median 120 s\n\n"+head, "progress")
	for _, p := range []sim.Progress{sim.Parallel, sim.NotGiven, sim.AtTheEnd, sim.Early, sim.Misleading} {
		s := b.base(120)
		s.Workload.Progress = p
		b.row(string(p), s)
	}
}

func (b bench) short() {
	fmt.Fprintf(b.out, "\n## Renders of 2 to 6 s\n\n"+head, "load")
	for _, limits := range []struct {
		name             string
		perMinute, slots int
	}{{"no limits", 0, 0}, {"600 requests, 200 slots", 600, 200}} {
		for _, load := range []struct {
			name string
			sim.Workload
		}{{"36 at once", sim.Workload{Burst: 36}}, {"1,000 at once", sim.Workload{Burst: 1000}}, {"100 a minute", sim.Workload{Arrivals: 100}}} {
			s := b.base(0)
			s.Workload = load.Workload
			s.Workload.Least, s.Workload.Most = 2, 6
			s.PerMinute, s.Slots, s.Workers, s.Hours = limits.perMinute, limits.slots, 2, b.hours/48
			b.row(limits.name+", "+load.name, s)
		}
	}
}

// passed prints how exports and what clients pass through share the budget.
func (b bench) passed() {
	fmt.Fprint(b.out, "\n## Passed through beside a full backlog, median 120 s\n\n"+
		"| clients | readers | % of clairvoyant | exports an hour | mean lag | p95 | passed through an hour | mean wait | longest | mean lag | age of answers, p95 | refusals |\n"+
		"|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, p := range []sim.Passed{{}, {Clients: 1, Readers: 1}, {Clients: 5, Readers: 5}, {Clients: 20, Readers: 20}} {
		s := b.base(120)
		s.Passed = p
		all := b.run(s)
		m := func(of func(sim.Figures) float64) float64 { return sim.Median(all, of) }
		fmt.Fprintf(b.out, "| %d | %d | %.2f | %.1f | %.1f | %.1f | %.1f | %.0f | %.0f | %.1f | %.0f | %.0f |\n", p.Clients, p.Readers,
			100*m(func(f sim.Figures) float64 { return f.Busy }), m(func(f sim.Figures) float64 { return float64(f.Exports) / s.Hours }),
			m(func(f sim.Figures) float64 { return f.Mean }), m(func(f sim.Figures) float64 { return f.P95 }),
			m(func(f sim.Figures) float64 { return float64(f.Passed) / s.Hours }), m(func(f sim.Figures) float64 { return f.PassedWait }),
			m(func(f sim.Figures) float64 { return f.PassedLongest }), m(func(f sim.Figures) float64 { return f.PassedLag }),
			m(func(f sim.Figures) float64 { return f.AnswerAge }), m(func(f sim.Figures) float64 { return float64(f.RateRefusals + f.SlotRefusals) }))
	}
}

// run runs a setup with every seed.
func (b bench) run(s sim.Setup) []sim.Figures {
	all := make([]sim.Figures, b.seeds)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			s := s
			s.Seed, s.Shape = b.first+uint64(i), sim.Shapes[i%len(sim.Shapes)]
			all[i] = sim.Run(s)
		})
	}
	wg.Wait()
	return all
}

// row runs a setup with every seed and prints the medians.
func (b bench) row(name string, s sim.Setup) {
	all := b.run(s)
	m := func(of func(sim.Figures) float64) float64 { return sim.Median(all, of) }
	throughput := "—" // without a backlog it is the arrivals that limit it
	if s.Workload.Load == 0 && s.Workload.Most == 0 {
		throughput = fmt.Sprintf("%.2f", 100*m(func(f sim.Figures) float64 { return f.Busy }))
	}
	gap := 0.0
	for _, f := range all {
		gap = max(gap, f.Gap)
	}
	per := func(of func(sim.Figures) int) float64 {
		return m(func(f sim.Figures) float64 { return float64(of(f)) / float64(max(1, f.Exports)) })
	}
	fmt.Fprintf(b.out, "| %s | %s | %s | %.1f | %.1f | %.1f | %.1f | %.1f | %.2f / %.2f | %.0f |\n", name, s.Policy, throughput,
		m(func(f sim.Figures) float64 { return f.Mean }), m(func(f sim.Figures) float64 { return f.P50 }),
		m(func(f sim.Figures) float64 { return f.P95 }), m(func(f sim.Figures) float64 { return f.P99 }),
		m(func(f sim.Figures) float64 { return f.Requests }),
		per(func(f sim.Figures) int { return f.RateRefusals }), per(func(f sim.Figures) int { return f.SlotRefusals }), gap)
}
