package units

import (
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/redistest"
)

var noon = time.Date(2026, 4, 7, 12, 0, 0, 0, time.FixedZone("UTC+14", 14*3600)) // 22:00 UTC, the day before

func onBothRedis(t *testing.T, test func(t *testing.T, rdb redis.UniversalClient)) {
	t.Run("miniredis", func(t *testing.T) {
		rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
		t.Cleanup(func() { rdb.Close() })
		test(t, rdb)
	})
	t.Run("redis-server", func(t *testing.T) { test(t, redistest.Start(t).Client()) })
}

func day(t *testing.T, m *Meter, now time.Time) Day {
	t.Helper()
	d, err := m.Today(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestATaskCountsOnceHoweverOftenItIsTold(t *testing.T) {
	onBothRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		m := New(rdb, "eu", 0)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for _, units := range []float64{48, 12.5, 48} { // a late teller knows less
					if err := m.Add(t.Context(), "task-1", noon, units); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if err := m.Add(t.Context(), "task-2", noon.Add(time.Hour), 0.3); err != nil {
			t.Fatal(err)
		}
		if d := day(t, m, noon); d.Spent != 48.3 || d.Cap != 0 || d.Reached() || d.Held {
			t.Errorf("spent %+v", d)
		}
		if ends := day(t, m, noon).Ends; !ends.Equal(time.Date(2026, 4, 7, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("the day ends %s", ends)
		}
		for name, other := range map[string]float64{
			"another account": day(t, New(rdb, "us", 0), noon).Spent,
			"the next day":    day(t, m, noon.Add(3*time.Hour)).Spent,
		} {
			if other != 0 {
				t.Errorf("%s: %g", name, other)
			}
		}
		if ttl := rdb.TTL(t.Context(), m.key(noon)).Val(); ttl <= 0 || ttl > keep {
			t.Errorf("kept for %s", ttl)
		}
	})
}

func TestACapHoldsUntilTheDayEnds(t *testing.T) {
	onBothRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		m, ctx := New(rdb, "eu", 100), t.Context()
		wait := func(now time.Time) time.Time {
			until, err := m.Wait(ctx, now)
			if err != nil {
				t.Fatal(err)
			}
			return until
		}
		if err := m.Add(ctx, "a", noon, 99.9); err != nil {
			t.Fatal(err)
		}
		if until := wait(noon); !until.IsZero() {
			t.Errorf("held until %s with something left", until)
		}
		if d := day(t, m, noon); d.Held {
			t.Errorf("%+v", d)
		}
		if err := m.Add(ctx, "b", noon, 48); err != nil { // overshot by what was in flight
			t.Fatal(err)
		}
		ends := time.Date(2026, 4, 7, 0, 0, 0, 0, time.UTC)
		if until := wait(noon); !until.Equal(ends) {
			t.Errorf("held until %s", until)
		}
		if until := wait(ends); !until.IsZero() {
			t.Errorf("still held the next day, until %s", until)
		}
		// One who has no configuration sees why.
		if d := day(t, New(rdb, "eu", 0), noon); d.Cap != 100 || !d.Reached() || !d.Held {
			t.Errorf("%+v", d)
		}
		if d := day(t, New(rdb, "eu", 0), noon.Add(heldFor)); d.Cap != 0 || d.Reached() || d.Held {
			t.Errorf("nobody waits any more, and still %+v", d)
		}
		if until, err := New(rdb, "eu", 0).Wait(ctx, noon); err != nil || !until.IsZero() {
			t.Errorf("without a cap of its own: %s, %v", until, err)
		}
	})
}

func TestRedisDownIsAnError(t *testing.T) {
	m := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr(), MaxRetries: -1})
	defer rdb.Close()
	m.Close()
	meter := New(rdb, "eu", 1)
	if err := meter.Add(t.Context(), "a", noon, 1); err == nil {
		t.Error("Add")
	}
	if _, err := meter.Today(t.Context(), noon); err == nil {
		t.Error("Today")
	}
	if _, err := meter.Wait(t.Context(), noon); err == nil {
		t.Error("Wait")
	}
}
