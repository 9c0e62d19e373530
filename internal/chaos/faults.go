package main

import (
	"context"
	"sync"
	"time"

	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/retry"
)

// What the provider and its CDN do.
const (
	provider5xx        = "5xx"
	provider429        = "429"
	providerReset      = "reset"
	providerSlow       = "slow"
	providerLost       = "accepts and does not answer"
	providerLostBehind = "accepts, and its gateway answers 502"
	providerForbids    = "403"
	providerMalformed  = "malformed answers"

	cdnTruncates    = "truncated bodies"
	cdnErrorPage    = "error page with 200"
	cdnDeadLink     = "dead links"
	cdnStalls       = "stalls"
	cdnResets       = "resets"
	cdnChanges      = "the file changes within a transfer"
	cdn503          = "503"
	cdnIgnoresRange = "ranges ignored"
)

// big are the projects whose clips take several requests; only there can a file
// be seen to change.
const big = "big-"

// orders are the emulator's faults by their names here.
var orders = map[string][]emulator.Fault{
	provider5xx: {
		{Kind: emulator.FaultStatus, Route: emulator.RouteSubmit, Status: 503, Probability: 0.5},
		{Kind: emulator.FaultStatus, Route: emulator.RouteRead, Status: 500, Probability: 0.5},
	},
	provider429: {
		{Kind: emulator.FaultStatus, Route: emulator.RouteSubmit, Status: 429, RetryAfter: "3", Probability: 0.5},
		{Kind: emulator.FaultStatus, Route: emulator.RouteRead, Status: 429, Probability: 0.3},
	},
	providerReset: {
		{Kind: emulator.FaultReset, Route: emulator.RouteSubmit, Probability: 0.3},
		{Kind: emulator.FaultReset, Route: emulator.RouteRead, Probability: 0.4},
	},
	providerSlow: {
		{Kind: emulator.FaultDelay, Route: emulator.RouteSubmit, Delay: emulator.Duration(3 * time.Second), Probability: 0.7},
		{Kind: emulator.FaultDelay, Route: emulator.RouteRead, Delay: emulator.Duration(2 * time.Second), Probability: 0.5},
	},
	providerLost:       {{Kind: emulator.FaultLost, Route: emulator.RouteSubmit, Probability: 0.3}},
	providerLostBehind: {{Kind: emulator.FaultStatus, Route: emulator.RouteSubmit, Status: 502, Acted: true, Probability: 0.3}},
	providerForbids: {
		{Kind: emulator.FaultStatus, Route: emulator.RouteSubmit, Status: 403},
		{Kind: emulator.FaultStatus, Route: emulator.RouteRead, Status: 403},
	},
	providerMalformed: {
		{Kind: emulator.FaultMalformed, Route: emulator.RouteRead, Probability: 0.4},
		{Kind: emulator.FaultMalformed, Route: emulator.RouteSubmit, Probability: 0.2},
	},

	cdnTruncates: {{Kind: emulator.FaultTruncate, Route: emulator.RouteClip, Bytes: 20_000, Probability: 0.6}},
	cdnErrorPage: {
		{Kind: emulator.FaultErrorPage, Route: emulator.RouteClip, Probability: 0.4},
		{Kind: emulator.FaultErrorPage, Route: emulator.RouteThumbnail, Probability: 0.4},
	},
	cdnDeadLink: {{Kind: emulator.FaultDeadLink, Route: emulator.RouteClip, Probability: 0.5}},
	cdnStalls:   {{Kind: emulator.FaultStall, Route: emulator.RouteClip, Bytes: 30_000, Delay: emulator.Duration(8 * time.Second), Probability: 0.3}},
	cdnResets:   {{Kind: emulator.FaultReset, Route: emulator.RouteClip, Probability: 0.5}},
	// One request each: a file that is another from beginning to end is what the
	// source serves, and nobody could tell.
	cdnChanges:      {{Kind: emulator.FaultChanged, Route: emulator.RouteClip, Project: big + "*", Count: 1}},
	cdn503:          {{Kind: emulator.FaultStatus, Route: emulator.RouteClip, Status: 503, RetryAfter: "2", Probability: 0.6}},
	cdnIgnoresRange: {{Kind: emulator.FaultIgnoreRange, Route: emulator.RouteClip, Probability: 0.5}},
}

// window is a fault that was carried out.
type window struct {
	stream, what string
	from, to     time.Time
}

// tormentor carries out a schedule.
type tormentor struct {
	h     *house
	fleet *fleet

	mu      sync.Mutex
	windows []window
}

// run carries out all streams and returns when the last fault is over.
func (t *tormentor) run(ctx context.Context, all map[string][]event) {
	began := time.Now()
	var wg sync.WaitGroup
	for stream, events := range all {
		wg.Go(func() {
			for _, e := range events {
				if retry.Wait(ctx, time.Until(began.Add(e.at))) != nil {
					return
				}
				err := guard(func() error {
					t.carryOut(ctx, stream, e)
					return nil
				})
				if err != nil { // a server did not come back: said already
					return
				}
			}
		})
	}
	wg.Wait()
}

func (t *tormentor) carryOut(ctx context.Context, stream string, e event) {
	t.h.Logf("%-8s %s, %s", stream, e.what, e.length.Round(10*time.Millisecond))
	from := time.Now()
	switch stream {
	case streamWorkers:
		t.fleet.hit(e)
		t.record(window{stream, e.what, from, from})
		return
	case streamRedis:
		t.redis(ctx, e)
	case streamS3:
		t.s3(ctx, e)
	default:
		t.provider(ctx, e)
	}
	t.record(window{stream, e.what, from, time.Now()})
}

func (t *tormentor) record(w window) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.windows = append(t.windows, w)
}

func (t *tormentor) redis(ctx context.Context, e event) {
	if e.what == doKill {
		t.h.redis.Kill()
		_ = retry.Wait(ctx, e.length)
		t.h.redis.Restart()
		return
	}
	t.h.wire.set(mode(e.what))
	_ = retry.Wait(ctx, e.length)
	t.h.wire.set(pass)
}

func (t *tormentor) s3(ctx context.Context, e event) {
	if e.what == doKill {
		t.h.s3.Kill()
		_ = retry.Wait(ctx, e.length)
		t.h.s3.Restart(t.h)
		return
	}
	t.h.gateway.set(mode(e.what), 0.5)
	_ = retry.Wait(ctx, e.length)
	t.h.gateway.set(pass, 0)
}

func (t *tormentor) provider(ctx context.Context, e event) {
	var ids []string
	for _, f := range orders[e.what] {
		id, err := t.h.provider.Inject(f)
		if err != nil {
			t.h.Errorf("%s: %v", e.what, err)
			continue
		}
		ids = append(ids, id)
	}
	_ = retry.Wait(ctx, e.length)
	for _, id := range ids {
		t.h.provider.Clear(id)
	}
}
