package main

import (
	"math/rand/v2"
	"slices"
	"time"
)

// event is one fault: what, when, and for how long.
type event struct {
	at, length time.Duration
	what       string
	worker     int // whom a kill or a stop is for
}

// The streams of faults. Within one they come one after the other, so that
// each has an end; the streams know nothing of each other.
const (
	streamWorkers  = "workers"
	streamRedis    = "redis"
	streamS3       = "s3"
	streamProvider = "provider"
	streamCDN      = "cdn"
)

// What happens to workers and servers.
const (
	doKill = "SIGKILL" // and a restart after its length
	doStop = "SIGTERM"
)

// choice is one kind of fault with its share and its longest length.
type choice struct {
	what    string
	weight  int
	longest time.Duration
}

// Faults by stream. A length is drawn between a tenth of the longest and it.
var choices = map[string][]choice{
	streamRedis: {
		{doKill, 4, 3 * time.Second},
		{string(stall), 4, 20 * time.Second},
		{string(reset), 4, 10 * time.Second},
		{string(delay), 3, 15 * time.Second},
		{string(stall), 1, 90 * time.Second},
	},
	streamS3: {
		{doKill, 3, 5 * time.Second},
		{string(stall), 2, 20 * time.Second},
		{string(reset), 2, 10 * time.Second},
		{string(fail500), 3, 15 * time.Second},
		{string(slowDown), 4, 20 * time.Second},
		{string(cut), 3, 15 * time.Second},
		{string(lost), 3, 15 * time.Second},
		{string(delay), 2, 15 * time.Second},
	},
	streamProvider: {
		{provider5xx, 3, 15 * time.Second},
		{provider429, 2, 10 * time.Second},
		{providerReset, 3, 10 * time.Second},
		{providerSlow, 3, 15 * time.Second},
		{providerLost, 6, 20 * time.Second},
		{providerLostBehind, 3, 20 * time.Second},
		{providerForbids, 1, 10 * time.Second},
		{providerMalformed, 2, 10 * time.Second},
	},
	streamCDN: {
		{cdnTruncates, 3, 20 * time.Second},
		{cdnErrorPage, 3, 15 * time.Second},
		{cdnDeadLink, 3, 10 * time.Second},
		{cdnStalls, 3, 15 * time.Second},
		{cdnResets, 3, 15 * time.Second},
		{cdnChanges, 4, 30 * time.Second},
		{cdn503, 2, 15 * time.Second},
		{cdnIgnoresRange, 2, 20 * time.Second},
	},
}

// pauses are the mean times between two faults of a stream.
var pauses = map[string]time.Duration{
	streamRedis: 35 * time.Second, streamS3: 30 * time.Second,
	streamProvider: 15 * time.Second, streamCDN: 15 * time.Second,
}

// schedule draws all faults of a run.
func schedule(cfg config) map[string][]event {
	all := map[string][]event{streamWorkers: workerFaults(cfg)}
	for i, stream := range []string{streamRedis, streamS3, streamProvider, streamCDN} {
		all[stream] = serverFaults(cfg, stream, uint64(i+2))
	}
	return all
}

func workerFaults(cfg config) []event {
	r := rand.New(rand.NewPCG(cfg.seed, 1))
	var out []event
	add := func(n int, what string) {
		for range n {
			out = append(out, event{
				at:     time.Duration(r.Int64N(int64(cfg.duration))),
				length: time.Duration(r.Int64N(int64(1500 * time.Millisecond))),
				what:   what, worker: r.IntN(cfg.workers),
			})
		}
	}
	add(cfg.kills, doKill)
	add(cfg.stops, doStop)
	slices.SortFunc(out, func(a, b event) int { return int(a.at - b.at) })
	return out
}

func serverFaults(cfg config, stream string, salt uint64) []event {
	r := rand.New(rand.NewPCG(cfg.seed, salt))
	total := 0
	for _, c := range choices[stream] {
		total += c.weight
	}
	// A short run has short faults, so that it sees many of them.
	pause := min(pauses[stream], cfg.duration/8)
	var out []event
	for at := time.Duration(0); ; {
		at += pause/2 + time.Duration(r.Int64N(int64(pause)))
		c := pick(choices[stream], r.IntN(total))
		longest := min(c.longest, cfg.duration/5)
		length := longest/10 + time.Duration(r.Int64N(int64(longest-longest/10)))
		if at+length > cfg.duration {
			return out
		}
		out = append(out, event{at: at, length: length, what: c.what})
		at += length
	}
}

func pick(from []choice, n int) choice {
	for _, c := range from {
		if n < c.weight {
			return c
		}
		n -= c.weight
	}
	return from[0]
}
