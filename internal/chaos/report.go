package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/clipferry/clipferry/internal/export"
)

// report is what came out.
type report struct {
	cfg     config
	settled time.Duration // after the last fault
	states  map[export.State]int
	faults  map[string]int // by stream and name

	enqueued, repeated                          int
	charged, answersLost                        int
	again, againLost, againKilled, doubts       int
	clips, manifests, unnamed, aborted, letters int
	bytes                                       int64
	started, killed, stopped, skipped, gaveUp   int
	taken, resent                               int
	slowestStop                                 time.Duration
	ordersMoved, othersMoved                    string
	requests                                    map[string]map[string]int

	mu       sync.Mutex
	breaches []string
}

func newReport(cfg config) *report {
	return &report{cfg: cfg, states: map[export.State]int{}, faults: map[string]int{}}
}

// breach records a broken promise.
func (r *report) breach(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.breaches = append(r.breaches, fmt.Sprintf(format, args...))
}

// kept reports whether every promise was.
func (r *report) kept() bool { return len(r.breaches) == 0 }

// count is how many breaches begin with a word.
func (r *report) count(word string) (n int) {
	for _, b := range r.breaches {
		if strings.HasPrefix(b, word+":") {
			n++
		}
	}
	return n
}

// print writes the table and, below it, each broken promise.
func (r *report) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("seed, faults for, workers", "%d, %s, %d", r.cfg.seed, r.cfg.duration, r.cfg.workers)
	row("exports enqueued", "%d, and %d of them a second time", r.enqueued, r.repeated)
	row("ended", "%s", listed(r.states))
	row("workers", "%d processes: %d killed, %d told to stop (the slowest took %s), %d gave up at their start without Redis; %d faults met nobody",
		r.started, r.killed, r.stopped, r.slowestStop.Round(100*time.Millisecond), r.gaveUp, r.skipped)
	row("  reads, transfers and manifests of the killed go on after", "%s", r.othersMoved)
	row("  their orders", "%s", r.ordersMoved)
	for _, name := range slices.Sorted(maps.Keys(r.faults)) {
		if !strings.HasPrefix(name, streamWorkers) {
			row("  "+name, "%d times", r.faults[name])
		}
	}
	row("requests to the provider", "%s", requestsOf(r.requests))
	row("charged by the provider", "%d, of which %d answers were lost", r.charged, r.answersLost)
	row("submitted again", "%d: %d after a lost answer, %d after the death of the worker that had it; %d doubts recorded",
		r.again, r.againLost, r.againKilled, r.doubts)
	if r.cfg.inDoubt == export.Hold {
		row("held", "%d: %d found at the provider and taken up, %d not there and sent again", r.taken+r.resent, r.taken, r.resent)
	}
	row("archived", "%d clips, %.1f MB, %d manifests; %d clips in S3 of superseded tasks", r.clips, float64(r.bytes)/1e6, r.manifests, r.unnamed)
	row("dead letters of asynq", "%d", r.letters)
	row("unfinished uploads swept", "%d", r.aborted)
	row("settled after the last fault", "%s (at most %s)", r.settled.Round(time.Second), r.cfg.within)
	row("exports lost", "%d", r.count("lost"))
	row("clips that differ from their source", "%d", r.count("differs"))
	row("paid twice without a lost answer", "%d", r.count("paid twice"))
	row("uploads left behind", "%d", r.count("left behind"))
	row("promises broken", "%d", len(r.breaches))
	_ = w.Flush() // a terminal that is gone needs no table
	for _, b := range r.breaches {
		fmt.Fprintln(out, "BROKEN", b)
	}
}

func listed(states map[export.State]int) string {
	var parts []string
	for _, s := range export.States() {
		if n := states[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	return strings.Join(parts, ", ")
}

func requestsOf(requests map[string]map[string]int) string {
	var parts []string
	for _, route := range slices.Sorted(maps.Keys(requests)) {
		statuses := slices.SortedFunc(maps.Keys(requests[route]), cmp.Compare[string])
		var by []string
		for _, s := range statuses {
			by = append(by, fmt.Sprintf("%s×%d", s, requests[route][s]))
		}
		parts = append(parts, route+" "+strings.Join(by, " "))
	}
	return strings.Join(parts, "; ")
}

func listedCounts(counts map[export.State]int64) string {
	states := map[export.State]int{}
	for s, n := range counts {
		states[s] = int(n)
	}
	return listed(states)
}
