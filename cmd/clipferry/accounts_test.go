package main

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/s3test"
	"github.com/clipferry/clipferry/tasks"
)

// awaitStatus asks `clipferry status` until an export is as wanted.
func (b *bench) awaitStatus(id string, ok func(waitingView) bool) waitingView {
	b.t.Helper()
	var last string
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(200 * time.Millisecond) {
		last, _ = b.clipferry(cli.Done, "status", "--json", id)
		var v waitingView
		if err := json.Unmarshal([]byte(last), &v); err != nil {
			b.t.Fatalf("%v: %s", err, last)
		}
		if ok(v) {
			return v
		}
	}
	b.t.Fatalf("not within a minute: %s", last)
	return waitingView{}
}

// TestTwoKeys: two accounts with limits of their own, one that nobody has, and a
// cap on a day's units, with the program as it is run.
func TestTwoKeys(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	provider, err := emulator.New(emulator.Options{
		Limits: emulator.Limits{MaxActive: 5}, Keys: []string{"key-of-eu", "key-of-us"}, Speed: 100,
		Render: emulator.Render{Fixed: 100 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(provider)
	defer web.Close()
	b.env = append(b.env, "CLIPFERRY_API_BASE_URL="+web.URL, "CLIPFERRY_API_KEY=", "CLIPFERRY_API_REQUESTS_PER_MINUTE=0",
		"CLIPFERRY_API_KEYS=eu:key-of-eu,us:key-of-us", "CLIPFERRY_API_LIMITS=us:0/1", "CLIPFERRY_API_DAILY_UNITS=us:0.5",
		"CLIPFERRY_LINK_ALLOWED_CIDRS=127.0.0.0/8", "CLIPFERRY_HTTP_ADDR="+s3test.FreeAddr(t))
	b.clipferry(cli.Done, "enqueue", "--project-id", "a~clips=1", "--job-id", "first-us", "--account", "us")
	b.clipferry(cli.Done, "enqueue", "--project-id", "b~clips=1", "--job-id", "nobodys", "--account", "jp")
	b.clipferry(cli.Done, "enqueue", "--project-id", "c~clips=1", "--job-id", "plain")
	r := start(t, b.command("worker"))
	r.await(r.stderr, `"msg":"worker started"`)

	archived := func(v waitingView) bool { return v.State == "archived" }
	if v := b.awaitStatus("first-us", archived); v.Account != "us" || v.CostUsage <= 0.5 {
		t.Errorf("%+v", v)
	}
	if v := b.awaitStatus("plain", archived); v.Account != "eu" { // the first of the list is the default
		t.Errorf("%+v", v)
	}
	b.awaitStatus("nobodys", func(v waitingView) bool {
		return v.State == "queued" && v.WaitingFor == "a worker with account jp: none of those running has it"
	})

	// The account has spent its units; the other one goes on.
	b.clipferry(cli.Done, "enqueue", "--project-id", "d~clips=1", "--job-id", "second-us", "--account", "us")
	v := b.awaitStatus("second-us", func(v waitingView) bool { return strings.HasPrefix(v.WaitingFor, "the next day, in ") })
	if v.State != "queued" || v.Attempts != 0 || !strings.HasSuffix(v.WaitingFor, " of its 0.5 units of today") {
		t.Errorf("%+v", v)
	}
	b.clipferry(cli.Done, "enqueue", "--project-id", "e~clips=1", "--job-id", "more", "--wait")
	_, list := b.clipferry(cli.Done, "list")
	if !strings.Contains(list, "account us: 0 of 1 slots used, ") || !strings.Contains(list, " of 0.5 units spent today; no further exports for ") ||
		!strings.Contains(list, "account eu: 0 of 5 slots used, 0 queued, ") || strings.Contains(list, "account default") {
		t.Errorf("list:\n%s", list)
	}
	// Whoever has no configuration sees the reason, too.
	env := b.env
	b.env = append(b.env, "CLIPFERRY_API_KEYS=", "CLIPFERRY_API_LIMITS=", "CLIPFERRY_API_DAILY_UNITS=")
	b.awaitStatus("second-us", func(v waitingView) bool { return strings.HasPrefix(v.WaitingFor, "the next day, in ") })
	b.env = env
	if out, _ := b.clipferry(cli.Done, "doctor"); !strings.Contains(out, "ok   provider (account eu): ") || !strings.Contains(out, "ok   provider (account us): ") {
		t.Errorf("doctor:\n%s", out)
	}
	r.signal(syscall.SIGTERM)
	r.ends(cli.Done)
}

// TestResumeLetsAHaltedAccountTry: an operator ends what nothing else does.
func TestResumeLetsAHaltedAccountTry(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if out, _ := b.clipferry(cli.Done, "resume"); out != "" {
		t.Errorf("with nothing halted: %q", out)
	}
	gate, err := budget.New(budget.Options{Redis: b.redis.Client(), Account: tasks.DefaultAccount, RequestsPerMinute: 15, MaxActive: 5, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gate.Close)
	for _, id := range []string{"a", "b"} {
		turn, err := gate.Wait(t.Context(), budget.Request{Export: id, Kind: budget.Submit})
		if err == nil {
			err = turn.Done(t.Context(), budget.Outcome{Result: budget.NotUnderstood})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if out, _ := b.clipferry(cli.Done, "resume"); !strings.Contains(out, "account default, halted by answers_not_understood, tries one request") {
		t.Errorf("said %q", out)
	}
	turn, err := gate.Wait(t.Context(), budget.Request{Export: "c", Kind: budget.Submit})
	if err == nil {
		err = turn.Done(t.Context(), budget.Outcome{Accepted: true})
	}
	if err != nil {
		t.Error(err)
	}
}
