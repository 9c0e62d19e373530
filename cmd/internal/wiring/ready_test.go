package wiring

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/redistest"
)

// TestRedisIsReadyWhenItTakesWrites: what answers a ping may be of no use.
func TestRedisIsReadyWhenItTakesWrites(t *testing.T) {
	master, replica := redistest.Start(t).Client(), redistest.Start(t).Client()
	ask := func(rdb redis.UniversalClient) string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		return fault.SentenceOf(takesWrites(ctx, rdb))
	}
	if got := ask(master); got != "" {
		t.Errorf("a master: %s", got)
	}
	without := redistest.Start(t, redistest.Config("rename-command", "SET", "")).Client()
	if got := ask(without); !strings.Contains(got, "does not know a command") || !strings.Contains(got, "6.2 or newer") {
		t.Errorf("without SET: %s", got)
	}
	host, port, _ := net.SplitHostPort(master.Options().Addr)
	if err := replica.ReplicaOf(t.Context(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
	if got := ask(replica); !strings.Contains(got, "READONLY") || !strings.Contains(got, "point CLIPFERRY_REDIS_URL at the master") {
		t.Errorf("a replica: %s", got)
	}
	if err := master.ConfigSet(t.Context(), "requirepass", "hunter2").Err(); err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]string{"": "asks for a password", "wrong": "refuses the user name or the password"} {
		rdb := redis.NewClient(&redis.Options{Addr: master.Options().Addr, Password: password})
		got := ask(rdb)
		_ = rdb.Close()
		if !strings.Contains(got, want) || strings.Contains(got, "hunter2") {
			t.Errorf("password %q: %s", password, got)
		}
	}
	gone := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	defer gone.Close()
	if got := ask(gone); got != "Redis does not answer" {
		t.Errorf("nobody: %s", got)
	}
}
