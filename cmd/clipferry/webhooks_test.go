package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/queue"
)

const testSecret = "CLIPFERRY_WEBHOOK_SECRETS=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// TestAWebhookThatNobodyCanSignIsWarnedOf by what the workers have, not the producer.
func TestAWebhookThatNobodyCanSignIsWarnedOf(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	file := filepath.Join(t.TempDir(), "many.jsonl")
	lines := strings.Repeat(`{"project_id":"p","notify":{"webhook":"https://hooks.example.com/?token=hush"}}`+"\n", 1000)
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(t.TempDir(), "plain.jsonl")
	if err := os.WriteFile(plain, []byte(`{"project_id":"p"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	asking := [][]string{
		{"enqueue", "--project-id", "p", "--notify-webhook", "https://hooks.example.com/?token=hush"},
		{"enqueue", "--file", file},
		{"enqueue", "--file", file, "--batch", "many"},
		{"enqueue", "--file", plain, "--batch", "one", "--notify-webhook", "https://hooks.example.com/?token=hush"},
	}
	const (
		unknown = "warning: notify: no worker runs that could tell, and CLIPFERRY_WEBHOOK_SECRETS is not set here: unless the workers have it, no webhook is called\n"
		none    = "warning: notify: no worker that runs has CLIPFERRY_WEBHOOK_SECRETS: unless that changes before the exports end, no webhook is called\n"
	)
	said := func(when, want string, env ...string) {
		t.Helper()
		for _, args := range asking {
			former := b.env
			b.env = append(b.env[:len(b.env):len(b.env)], env...)
			_, msg := b.clipferry(cli.Done, args...)
			b.env = former
			if msg != want {
				t.Errorf("%s: %v said %q, want %q", when, args, msg, want)
			}
		}
		if _, msg := b.clipferry(cli.Done, "enqueue", "--project-id", "p", "--notify-task-type", "done"); msg != "" {
			t.Errorf("%s: of a task it said %q", when, msg)
		}
	}
	said("no worker", unknown)
	said("no worker, and a secret here", "", testSecret)

	b.clipferry(cli.Done, "pause") // nothing is to be ordered
	rdb := redis.NewClient(&redis.Options{Addr: b.redis.Addr()})
	defer rdb.Close()
	serves := func(name string, want bool) {
		t.Helper()
		for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
			fleet, err := queue.New(rdb).Fleet(t.Context())
			if err == nil && fleet.Queues[name] == want {
				return
			}
			if time.Since(began) > time.Minute {
				t.Fatalf("%s is served: %v, %v", name, !want, err)
			}
		}
	}
	worker := func(env ...string) *running {
		cmd := b.command("worker")
		cmd.Env = append(cmd.Env[:len(cmd.Env):len(cmd.Env)], "CLIPFERRY_API_BASE_URL=http://127.0.0.1:1")
		cmd.Env = append(cmd.Env, env...)
		return start(t, cmd)
	}
	without := worker()
	serves(queue.Poll, true)
	said("a worker without a secret", none)
	said("a worker without the secret that is here", none, testSecret)
	with := worker(testSecret)
	serves(queue.Notify, true)
	said("a worker with one", "")
	with.signal(syscall.SIGTERM)
	with.ends(cli.Done)
	serves(queue.Notify, false)
	said("only the other one", none)
	without.signal(syscall.SIGTERM)
	without.ends(cli.Done)
}

// TestAWebhookThatLeadsInsideIsWarnedOf once for each address, and as allowed here.
func TestAWebhookThatLeadsInsideIsWarnedOf(t *testing.T) {
	var w webhooks
	for i := range 100_000 {
		w.note(fmt.Sprintf("line %d: ", i+1), fmt.Sprintf("http://10.0.0.%d/%d?token=hush", i%3+1, i))
		w.note("", "https://hooks.example.com/")
	}
	for i := range 1000 {
		w.note("", fmt.Sprintf("http://10.1.%d.%d/", i/250, i%250))
	}
	cfg := &config.Config{WebhookAllowedCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/31"), netip.MustParsePrefix("10.1.0.0/16")}}
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1}) // who can't look at the workers says nothing of them
	defer rdb.Close()
	got := w.warnings(t.Context(), queue.New(rdb), cfg)
	const want = "line 1: notify: the webhook is not called: 10.0.0.1:80 is not a public address on port 80 or 443, unless CLIPFERRY_WEBHOOK_ALLOWED_CIDRS of the workers has it (so are 33333 more)"
	if len(got) != 1 || got[0] != want || len(w.odd) != maxWarnings {
		t.Errorf("%d kept, said %q", len(w.odd), got)
	}
}
