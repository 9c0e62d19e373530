package ledger

import (
	"context"
	"errors"
	"testing"
	"time"
)

func testLease(t *testing.T, e *env) {
	ctx := t.Context()
	a, err := e.Lease(ctx, "x", "submit", time.Minute)
	must(t, err)
	if _, err := e.Lease(ctx, "x", "submit", time.Minute); !errors.Is(err, ErrLeased) {
		t.Fatalf("a second lease: %v", err)
	}
	for _, other := range []struct{ id, name string }{{"x", "mirror"}, {"y", "submit"}} {
		if _, err := e.Lease(ctx, other.id, other.name, time.Minute); err != nil {
			t.Errorf("%v: %v", other, err)
		}
	}
	must(t, a.Renew(ctx))
	must(t, a.Release(ctx))
	b, err := e.Lease(ctx, "x", "submit", time.Minute)
	must(t, err)
	if err := a.Renew(ctx); !errors.Is(err, ErrLeased) {
		t.Errorf("renewing a lease that somebody else holds: %v", err)
	}
	must(t, a.Release(ctx)) // not ours any more: takes nothing away
	must(t, b.Renew(ctx))

	f, err := e.FleetLease(ctx, "sweep", time.Minute)
	must(t, err)
	if _, err := e.FleetLease(ctx, "sweep", time.Minute); !errors.Is(err, ErrLeased) {
		t.Errorf("a second fleet lease: %v", err)
	}
	must(t, f.Release(ctx))
}

func testLeaseLost(t *testing.T, e *env) {
	ctx := t.Context()
	a, err := e.Lease(ctx, "x", "submit", 60*time.Millisecond)
	must(t, err)
	e.pass(80 * time.Millisecond)
	if err := a.Renew(ctx); !errors.Is(err, ErrLeased) {
		t.Errorf("renewing an expired lease: %v", err)
	}
	b, err := e.Lease(ctx, "x", "submit", time.Minute)
	must(t, err)
	must(t, b.Release(ctx))

	// A lease taken away ends the context that it was kept for.
	c, err := e.Lease(ctx, "x", "mirror", 90*time.Millisecond)
	must(t, err)
	kept, stop := c.Keep(ctx)
	defer stop()
	must(t, e.rdb.Del(ctx, c.key).Err())
	select {
	case <-kept.Done():
		if err := context.Cause(kept); !errors.Is(err, ErrLeased) {
			t.Errorf("cause: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the context of a lost lease goes on")
	}
}

func testLeaseKept(t *testing.T, e *env) {
	const ttl = 2 * time.Second
	ctx := t.Context()
	a, err := e.Lease(ctx, "x", "submit", ttl)
	must(t, err)
	kept, stop := a.Keep(ctx)
	for start := time.Now(); time.Since(start) < 2*ttl; time.Sleep(ttl / 10) {
		if kept.Err() != nil {
			t.Fatalf("the lease was lost: %v", context.Cause(kept))
		}
		if _, err := e.Lease(ctx, "x", "submit", ttl); !errors.Is(err, ErrLeased) {
			t.Fatalf("a kept lease was given away: %v", err)
		}
	}
	stop()
	if kept.Err() == nil {
		t.Error("stop does not end the context")
	}
}

// Without Redis nobody knows whether the lease still is ours: past its time it
// must be taken for lost, whatever the network does.
func TestLeaseEndsWithoutRedis(t *testing.T) {
	const ttl = 200 * time.Millisecond
	e := onMiniredis(t)
	e.Ledger = New(Options{Redis: e.rdb})
	a, err := e.Lease(t.Context(), "x", "submit", ttl)
	must(t, err)
	taken := time.Now()
	kept, stop := a.Keep(t.Context())
	defer stop()
	must(t, e.rdb.Close())
	select {
	case <-kept.Done():
		if held := time.Since(taken); held > ttl+5*time.Second {
			t.Errorf("held for %s, longer than %s", held, ttl)
		}
		if err := context.Cause(kept); !errors.Is(err, ErrLeased) {
			t.Errorf("cause: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the lease never ends")
	}
}
