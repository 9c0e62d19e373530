package budget

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/redistest"
)

// TestReadsWithoutLimitsNeedNoRedis. Orders do: the fleet may have halted them.
func TestReadsWithoutLimitsNeedNoRedis(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	g, err := New(Options{Redis: client, Account: "test", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	for i := range 100 {
		r := Request{Export: time.Duration(i).String(), Kind: Read}
		if err := g.Hold(t.Context(), r.Export, time.Now(), "", 1); err != nil {
			t.Fatal(err)
		}
		if next, err := g.NextRead(t.Context(), r.Export); err != nil || time.Until(next) > gapFree {
			t.Fatalf("next read in %v, %v", time.Until(next), err)
		}
		mustDone(t, mustWait(t, g, r), Outcome{Result: Answered, Ended: true, Succeeded: true})
	}
	if _, err := g.Wait(t.Context(), Request{Export: "a", Kind: Submit}); err == nil {
		t.Error("an order goes though nobody can say whether orders are halted")
	}
}

const gapFree = 10 * time.Second

func TestCluster(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a cluster")
	}
	client := redistest.StartCluster(t, 3).Client()
	gate := gates(t, func(o *Options) { o.Redis = client })
	one, two := gate(Options{MaxActive: 1}), gate(Options{MaxActive: 1})
	mustDone(t, mustWait(t, one, Request{Export: "a", Kind: Submit}), accepted)
	got := make(chan *Turn)
	go func() { got <- mustWait(t, two, Request{Export: "b", Kind: Submit}) }()
	for {
		if st, err := one.Status(t.Context()); err == nil && st.Waiting[Submit] == 1 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	start := time.Now()
	mustDone(t, mustWait(t, one, Request{Export: "a", Kind: Read}), Outcome{Result: Answered, Ended: true})
	mustDone(t, <-got, accepted)
	if waited := time.Since(start); waited > quietFlying*4/5 { // by when it would look by itself
		t.Fatalf("the other worker heard of the free slot after %v", waited)
	}
}

// TestRedisRestarts kills Redis while somebody waits, and again while it holds
// nothing that wasn't stored.
func TestRedisRestarts(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("restarts a Redis")
	}
	server := redistest.Start(t)
	gate := gates(t, func(o *Options) { o.Redis = server.Client() })
	one, two := gate(Options{MaxActive: 1}), gate(Options{MaxActive: 1})
	mustDone(t, mustWait(t, one, Request{Export: "a", Kind: Submit}), accepted)
	got := make(chan *Turn)
	go func() { got <- mustWait(t, two, Request{Export: "b", Kind: Submit}) }()
	time.Sleep(100 * time.Millisecond)
	server.Restart()
	for one.Release(t.Context(), "a") != nil {
		time.Sleep(100 * time.Millisecond)
	}
	mustDone(t, <-got, accepted)
	held, err := one.Slots(t.Context())
	if err != nil || len(held) != 1 || held[0] != "b" {
		t.Fatalf("held %v, %v", held, err)
	}
}

// TestRedisHangs freezes Redis for longer than a round trip may take.
func TestRedisHangs(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for a Redis that hangs")
	}
	server := redistest.Start(t)
	gate := gates(t, func(o *Options) { o.Redis = server.Client() })
	one, two := gate(Options{MaxActive: 1}), gate(Options{MaxActive: 1})
	mustDone(t, mustWait(t, one, Request{Export: "a", Kind: Submit}), accepted)
	server.Pause()
	time.AfterFunc(storeTimeout+time.Second, server.Resume)
	got := make(chan *Turn)
	go func() { got <- mustWait(t, two, Request{Export: "b", Kind: Submit}) }()
	for one.Release(t.Context(), "a") != nil {
		time.Sleep(50 * time.Millisecond)
	}
	mustDone(t, <-got, accepted)
	st, err := two.Status(t.Context())
	if err != nil || len(st.Held) != 1 || st.Held[0].Export != "b" || st.InFlight[Submit] != 0 {
		t.Fatalf("%+v, %v", st, err)
	}
}
