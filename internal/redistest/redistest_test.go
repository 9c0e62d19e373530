package redistest

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestKillAndRestartKeepData(t *testing.T) {
	ctx := context.Background()
	s := Start(t, Appendfsync("always"))
	c := s.Client()
	if got := c.ConfigGet(ctx, "appendfsync").Val()["appendfsync"]; got != "always" {
		t.Fatalf("appendfsync = %q", got)
	}
	for i := range 100 {
		if err := c.Set(ctx, "k"+strconv.Itoa(i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	addr := s.Addr()
	s.Kill()
	ctxDown, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := c.Ping(ctxDown).Err(); err == nil {
		t.Fatal("something answers after Kill")
	}
	s.Restart()
	if s.Addr() != addr {
		t.Fatalf("restarted at %s, was %s", s.Addr(), addr)
	}
	if n, err := c.DBSize(ctx).Result(); err != nil || n != 100 {
		t.Fatalf("after the restart: %d keys, %v; want 100", n, err)
	}
	s.Stop()
	s.Restart()
	if n, err := c.DBSize(ctx).Result(); err != nil || n != 100 {
		t.Fatalf("after an orderly stop: %d keys, %v; want 100", n, err)
	}
}

func TestServersAreApart(t *testing.T) {
	ctx := context.Background()
	a, b := Start(t), Start(t)
	if err := a.Client().Set(ctx, "k", 1, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n := b.Client().DBSize(ctx).Val(); n != 0 {
		t.Fatalf("the other server has %d keys", n)
	}
}

func TestClusterSpreadsKeysAndSurvivesPartly(t *testing.T) {
	ctx := context.Background()
	c := StartCluster(t, 3)
	if !strings.HasPrefix(c.URL(), "redis-cluster://127.0.0.1:") {
		t.Fatalf("URL() = %s", c.URL())
	}
	client := c.Client()
	for i := range 300 {
		if err := client.Set(ctx, strconv.Itoa(i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range c.Nodes {
		if keys := n.Client().DBSize(ctx).Val(); keys < 30 {
			t.Errorf("node %d has %d of 300 keys", i, keys)
		}
	}
	// Two keys of different slots never go through one script.
	err := client.Eval(ctx, "return redis.call('GET', KEYS[1]) or redis.call('GET', KEYS[2])", []string{"{a}", "{b}"}).Err()
	if err == nil {
		t.Error("a script over two slots passes: this is no cluster")
	}
}

func TestSentinelsReplaceTheMaster(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s := StartSentinel(t, 1)
	if !strings.HasPrefix(s.URL(), "redis-sentinel://127.0.0.1:") {
		t.Fatalf("URL() = %s", s.URL())
	}
	client := s.Client()
	if err := client.Set(ctx, "k", "before", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Wait(ctx, 1, 5*time.Second).Result(); err != nil || n != 1 {
		t.Fatalf("the write is on %d replicas, %v", n, err)
	}
	old := s.Failover()
	if got, err := client.Get(ctx, "k").Result(); err != nil || got != "before" {
		t.Fatalf("after the failover: %q, %v", got, err)
	}
	old.Restart()
	s.await(ctx, "the old master follows", s.whole)
}

func TestMissingRedisIsNamed(t *testing.T) {
	t.Setenv("CLIPFERRY_TEST_REDIS", "")
	t.Setenv("PATH", t.TempDir())
	if _, err := exec.LookPath("redis-server"); err == nil {
		t.Skip("redis-server is found without PATH")
	}
	for program, missing := range map[string]string{"": "redis-server", "/nowhere/valkey-server": "/nowhere/valkey-server"} {
		t.Setenv("CLIPFERRY_TEST_REDIS", program)
		f := &fakeT{TB: t}
		func() {
			defer func() { _ = recover() }()
			Start(f)
		}()
		if !strings.Contains(f.said, missing+" is not installed") {
			t.Errorf("CLIPFERRY_TEST_REDIS=%q: the test would end with %q", program, f.said)
		}
	}
}

// fakeT records how a test would end.
type fakeT struct {
	testing.TB
	said string
}

func (f *fakeT) Helper() {}

func (f *fakeT) Fatal(args ...any) {
	f.said, _ = args[0].(string)
	panic(f.said)
}
