package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/redistest"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
)

// A member that was canceled has no error to show.
func TestABatchShowsWhatFailed(t *testing.T) {
	var out bytes.Buffer
	c := &console{out: cli.NewPrinter(&out)}
	v := view.Batch{Batch: "season-1", Members: 2, Final: 2, Problems: []view.BatchProblem{{ID: "a", State: "canceled"}, {ID: "b", State: "failed", Error: "out of disk"}}}
	if err := (&statusFlags{}).showBatch(c, v); err != nil || !strings.HasSuffix(out.String(), "  a canceled\n  b failed: out of disk\n") {
		t.Errorf("%v: %s", err, &out)
	}
}

// Nothing is canceled or paid for again that the dry run with the same filter did not name.
func TestBulkChangesWhatTheDryRunNames(t *testing.T) {
	server := redistest.Start(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	l := ledger.New(ledger.Options{Redis: rdb})
	request := tasks.Export{ProjectID: "p"}
	add := func(id, show string, change func(*export.Record, time.Time) error) {
		t.Helper()
		now := time.Now()
		r := export.New(id, request.Body(), request.Digest(), "p", now)
		r.Labels = map[string]string{"show": show}
		if err := change(r, now); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	failed := func(r *export.Record, now time.Time) error {
		return errors.Join(r.Intend(now, "w"), r.Reject(now, "w", export.Problem{Reason: export.ReasonRequestRejected}))
	}
	paid := func(r *export.Record, now time.Time) error {
		r.CostUsage = 12
		err := errors.Join(r.Intend(now, "w"), r.Accept(now, "task-"+r.ID, "", ""), r.Fail(now, export.Problem{Reason: export.ReasonRenderFailed}))
		r.Outcome, r.FinishedAt = export.RenderFailed, now
		return err
	}
	queued := func(*export.Record, time.Time) error { return nil }
	add("free", "1", failed)
	add("paid-1", "1", paid)
	add("paid-2", "2", paid)
	add("waits", "1", queued)
	add("others", "2", queued)
	command := func(want int, args ...string) (string, string) {
		t.Helper()
		var out, msg bytes.Buffer
		if code := run(t.Context(), args, []string{"CLIPFERRY_REDIS_URL=" + server.URL()}, nil, &out, &msg); code != want {
			t.Fatalf("%v: exit %d, want %d\n%s%s", args, code, want, &out, &msg)
		}
		return out.String(), msg.String()
	}
	state := func(id string) export.State {
		t.Helper()
		r, err := l.Load(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return r.State
	}
	command(2, "cancel")
	command(2, "retry", "--pay-again")
	command(2, "cancel", "--state", "queued", "id")
	command(2, "retry", "--label", "show=1", "--pay-again")

	if out, _ := command(0, "cancel", "--label", "show=1", "--dry-run"); out != "waits queued\n" || state("waits") != export.Queued {
		t.Errorf("dry run of a cancel: %s", out)
	}
	if out, _ := command(0, "cancel", "--label", "show=1"); out != "waits canceled\n" || state("others") != export.Queued {
		t.Errorf("cancel: %s", out)
	}
	if _, msg := command(0, "cancel", "--label", "show=1"); !strings.Contains(msg, "nothing was canceled") {
		t.Errorf("cancel with nothing open: %q", msg)
	}
	_, msg := command(0, "retry", "--state", "failed", "--label", "show=1", "--dry-run")
	_, token, _ := strings.Cut(strings.TrimSpace(msg), "--confirm ")
	if !strings.Contains(msg, "1 exports would go on at no cost") || !strings.Contains(msg, "12 units") || token == "" || state("free") != export.Failed {
		t.Fatalf("dry run of a retry: %s", msg)
	}
	command(2, "retry", "--state", "failed", "--pay-again", "--confirm", token) // of another filter: two would be paid for
	if state("paid-1") != export.Failed || state("free") != export.Failed {
		t.Error("a token of another dry run changed something")
	}
	command(0, "retry", "--state", "failed", "--label", "show=1")
	if state("free") != export.Queued || state("paid-1") != export.Failed {
		t.Errorf("without --pay-again: %s, %s", state("free"), state("paid-1"))
	}
	command(0, "retry", "--state", "failed", "--label", "show=1", "--pay-again", "--confirm", token)
	if state("paid-1") != export.Queued || state("paid-2") != export.Failed {
		t.Errorf("with it: %s, %s", state("paid-1"), state("paid-2"))
	}
}
