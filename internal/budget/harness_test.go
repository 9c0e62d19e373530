package budget

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

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
			m := newMemory()
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
	t.Run("redis", func(t *testing.T) { onRedis(t, startRedis(t), test) })
}

func onRedis(t *testing.T, client *redis.Client, test func(t *testing.T, f fleet)) {
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

// startRedis runs a real redis-server on a free port of the loopback.
func startRedis(t *testing.T) *redis.Client {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server isn't installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	cmd := exec.Command(path, "--port", strconv.Itoa(port), "--bind", "127.0.0.1",
		"--save", "", "--appendonly", "no", "--dir", t.TempDir(), "--loglevel", "warning")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))})
	t.Cleanup(func() {
		_ = client.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	deadline := time.Now().Add(10 * time.Second)
	for client.Ping(context.Background()).Err() != nil {
		if time.Now().After(deadline) {
			t.Fatal("redis-server doesn't answer")
		}
		time.Sleep(20 * time.Millisecond)
	}
	return client
}

// mustWait waits for a turn, for a minute at most.
func mustWait(t *testing.T, g *Gate, r Request) *Turn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
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
