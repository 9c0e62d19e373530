package budget

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/clipferry/clipferry/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// fleet makes gates of one account, as many workers would.
type fleet struct {
	t     *testing.T
	gate  func(o Options) *Gate
	store func() store
	// lose forgets everything, as FLUSHALL does.
	lose func()
}

// onEach runs the test over every store that a gate may stand on: in memory
// and virtual time, on miniredis, and on a real Redis.
func onEach(t *testing.T, test func(t *testing.T, f fleet)) {
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newTroubled()
			f := fleet{t: t, store: func() store { return m }, lose: m.lose}
			f.gate = gates(t, func(o *Options) { o.store = m })
			test(t, f)
		})
	})
	t.Run("miniredis", func(t *testing.T) {
		m := miniredis.RunT(t)
		client := redis.NewClient(&redis.Options{Addr: m.Addr()})
		t.Cleanup(func() { _ = client.Close() })
		onRedis(t, client, test)
	})
	if testing.Short() {
		return
	}
	t.Run("redis", func(t *testing.T) { onRedis(t, redistest.Start(t).Client(), test) })
}

func onRedis(t *testing.T, client redis.UniversalClient, test func(t *testing.T, f fleet)) {
	f := fleet{
		t: t, store: func() store { return newRedisStore(client, "test") },
		lose: func() {
			if err := client.FlushAll(context.Background()).Err(); err != nil {
				t.Fatal(err)
			}
		},
	}
	f.gate = gates(t, func(o *Options) { o.Redis = client })
	test(t, f)
}

func gates(t *testing.T, on func(*Options)) func(Options) *Gate {
	return func(o Options) *Gate {
		t.Helper()
		o.Account, o.Logger = "test", quiet()
		on(&o)
		g, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.Close)
		return g
	}
}

// mustWait waits for a turn, for two minutes at most.
func mustWait(t *testing.T, g *Gate, r Request) *Turn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	turn, err := g.Wait(ctx, r)
	if err != nil {
		t.Fatalf("wait for a %s of %s: %v", r.Kind, r.Export, err)
	}
	return turn
}

func mustDone(t *testing.T, turn *Turn, o Outcome) {
	t.Helper()
	if err := turn.Done(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// noTurn says that no turn comes within d.
func noTurn(t *testing.T, g *Gate, r Request, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if turn, err := g.Wait(ctx, r); err == nil {
		_ = turn.Done(t.Context(), Outcome{Result: NotSent})
		t.Fatalf("a %s of %s got a turn", r.Kind, r.Export)
	}
}

// troubled is a store in memory that is slow, fails and forgets as it is told to,
// and counts round trips.
type troubled struct {
	*memory
	mu      sync.Mutex
	trips   int
	delay   time.Duration // of each round trip
	failing error
}

func newTroubled() *troubled { return &troubled{memory: newMemory()} }

func (m *troubled) trip() error {
	m.mu.Lock()
	m.trips++
	delay, err := m.delay, m.failing
	m.mu.Unlock()
	if delay > 0 {
		time.Sleep(delay)
	}
	return err
}

func (m *troubled) Load(ctx context.Context, worker string) (snapshot, error) {
	if err := m.trip(); err != nil {
		return snapshot{}, err
	}
	return m.memory.Load(ctx, worker)
}

func (m *troubled) Swap(ctx context.Context, c change) (reply, error) {
	if err := m.trip(); err != nil {
		return reply{}, err
	}
	return m.memory.Swap(ctx, c)
}

// lose forgets everything, as FLUSHALL does.
func (m *troubled) lose() {
	m.memory.mu.Lock()
	defer m.memory.mu.Unlock()
	m.version, m.recent = 0, nil
	m.fields, m.last = map[string]string{}, map[string]int64{}
}

// fail makes every round trip fail with err, until it is called with nil.
func (m *troubled) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failing = err
}

// count is how many round trips there were.
func (m *troubled) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.trips
}

// mute loses what would be published to those who watch now.
func (m *troubled) mute() {
	m.memory.mu.Lock()
	defer m.memory.mu.Unlock()
	clear(m.watchers)
}
