package telemetry_test

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/observe"
	"github.com/clipferry/clipferry/internal/telemetry"
)

func scrape(t *testing.T, tel *telemetry.Telemetry) string {
	t.Helper()
	w := httptest.NewRecorder()
	tel.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != 200 {
		t.Fatalf("scrape: status %d, %v", w.Code, err)
	}
	return string(body)
}

func wantLines(t *testing.T, body string, lines ...string) {
	t.Helper()
	have := strings.Split(body, "\n")
	for _, line := range lines {
		if !slices.Contains(have, line) {
			name, _, _ := strings.Cut(line, "{")
			name, _, _ = strings.Cut(name, " ")
			var near []string
			for _, h := range have {
				if strings.HasPrefix(h, name) {
					near = append(near, h)
				}
			}
			t.Errorf("no line %q; there is\n\t%s", line, strings.Join(near, "\n\t"))
		}
	}
}

func TestFleetIsReadAtTheScrape(t *testing.T) {
	tel := telemetry.New(telemetry.Options{Version: "v1", Accounts: []string{"default", "bulk"}})
	tel.Watch(telemetry.Sources{
		Ledger: counts{export.Rendering: 5, export.Held: 1}, Queues: someQueues,
		Budgets: map[string]telemetry.Budget{"default": someBudget, "bulk": noLimits},
		Bucket:  bucketDown{}, Catalog: bucketDown{},
		Ready: func(context.Context) bool { return true },
	})
	body := scrape(t, tel)
	wantLines(
		t, body,
		`clipferry_exports{state="rendering"} 5`, `clipferry_exports{state="archived"} 0`,
		`clipferry_queue_tasks{queue="clipferry-submit",state="pending"} 40`,
		`clipferry_queue_tasks{queue="clipferry-seal",state="pending"} 0`, // has no task yet
		`clipferry_queue_oldest_seconds{queue="clipferry-submit"} 90`,
		`clipferry_queue_paused{queue="clipferry-poll"} 1`,
		`clipferry_budget_credits{account="default"} 1.5`,
		`clipferry_budget_requests_per_minute{account="default",limit="believed"} 12.75`,
		`clipferry_budget_slots{account="default",limit="configured"} 5`,
		`clipferry_budget_slots_used{account="default"} 2`, `clipferry_budget_slots_in_doubt{account="default"} 1`,
		`clipferry_budget_halted{account="default",reason="key_refused"} 1`,
		`clipferry_budget_halted{account="bulk",reason="key_refused"} 0`,
		`clipferry_budget_waiting{account="default",kind="submit"} 2`,
		`clipferry_archive_halted 1`, `clipferry_catalog_failing 1`,
		`clipferry_ready 1`, `clipferry_source_up{source="ledger"} 1`,
	)
	if strings.Contains(body, `clipferry_budget_credits{account="bulk"}`) {
		t.Error("an account without a limit shows a number of credits")
	}
}

func TestQueuesOfAccounts(t *testing.T) {
	tel := telemetry.New(telemetry.Options{Accounts: []string{"eu"}}) // which is the default one, too
	tel.Watch(telemetry.Sources{Queues: queues{
		"clipferry-submit": {Pending: 1}, "clipferry-submit.eu": {Pending: 2},
		"clipferry-submit.made-up-1": {Pending: 3, Oldest: time.Second}, "clipferry-submit.made-up-2": {Pending: 4, Oldest: 2 * time.Second},
	}})
	body := scrape(t, tel)
	wantLines(
		t, body,
		`clipferry_queue_tasks{queue="clipferry-submit",state="pending"} 1`,
		`clipferry_queue_tasks{queue="clipferry-submit.eu",state="pending"} 2`,
		`clipferry_queue_tasks{queue="clipferry-submit.other",state="pending"} 7`,
		`clipferry_queue_oldest_seconds{queue="clipferry-submit.other"} 2`,
	)
	if strings.Contains(body, "made-up") {
		t.Error("a producer can make up label values")
	}
}

func TestASourceThatFailsIsLeftOut(t *testing.T) {
	tel := telemetry.New(telemetry.Options{})
	tel.Watch(telemetry.Sources{Ledger: counts(nil), Queues: someQueues})
	body := scrape(t, tel)
	wantLines(t, body, `clipferry_source_up{source="ledger"} 0`, `clipferry_source_up{source="queues"} 1`,
		`clipferry_queue_tasks{queue="clipferry-submit",state="pending"} 40`)
	if strings.Contains(body, "clipferry_exports{") {
		t.Error("numbers that could not be read are shown")
	}
}

func TestChangesBecomeCounts(t *testing.T) {
	now := time.Date(2026, 4, 7, 12, 0, 0, 0, time.UTC)
	tel := telemetry.New(telemetry.Options{Now: func() time.Time { return now }})
	ctx := t.Context()
	r := export.New("e1", nil, "d", "p", now)
	change := func(after func(r *export.Record)) {
		before := *r
		now = now.Add(10 * time.Second)
		after(r)
		tel.Changed(ctx, &before, r)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	change(func(r *export.Record) { must(r.Intend(now, "a")) })
	change(func(r *export.Record) {
		must(r.Lose(now, "a", now, export.Resubmit, export.Problem{Reason: export.ReasonAnswerLost, Detail: "lost"}))
	})
	change(func(r *export.Record) { must(r.Intend(now, "b")) })
	change(func(r *export.Record) { must(r.Accept(now, "task-1", "", "")) })
	change(func(r *export.Record) { must(r.Accept(now, "task-2", "", "")) }) // the lost one turns up
	ongoing := export.Reading{Status: "ONGOING"}
	change(func(r *export.Record) { must(r.Answer(now, r.ExportTaskID, r.Step, ongoing, now)) })
	ended := export.Reading{
		Status: "SUCCEEDED", Succeeded: true, CostUsage: 48, ExpireAt: now.Add(time.Hour),
		Clips: []export.Clip{{Idx: 0, Link: "https://x/0"}, {Idx: 1, Link: "https://x/1"}},
	}
	change(func(r *export.Record) { must(r.Answer(now, r.ExportTaskID, r.Step, ended, now)) })
	for idx := range 2 {
		change(func(r *export.Record) {
			must(r.ClipDone(now, r.ExportTaskID, idx, r.Clips[idx].Round, export.Object{Key: "k", Size: 5}, nil, ""))
		})
	}
	change(func(r *export.Record) { must(r.Seal(now, "manifest.json")) })

	wantLines(
		t, scrape(t, tel),
		`clipferry_submits_in_doubt_total{account="default"} 1`,
		`clipferry_export_problems_total{reason="answer_lost"} 1`,
		`clipferry_export_problems_total{reason="render_failed"} 0`,
		`clipferry_submits_duplicate_total{account="default"} 1`,
		`clipferry_exports_accepted_total{account="default"} 1`,
		`clipferry_units_spent_total{account="default"} 48`,
		`clipferry_clips_archived_total 2`,
		`clipferry_exports_ended_total{state="archived"} 1`,
		`clipferry_exports_ended_total{state="failed"} 0`,
		`clipferry_detection_lag_seconds_sum 5`,    // read 10 s after the read before: 5 s on average
		`clipferry_render_duration_seconds_sum 30`, // accepted 30 s before
		`clipferry_export_duration_seconds_sum 100`,
		`clipferry_headroom_at_archive_seconds_count 2`,
	)
}

// TestQuantilesAreWrongByLittle: a quantile is known no better than the bucket that
// it falls into. The provider keeps clips for three days, so clips archived at once
// and clips that waited for half a day must not share one.
func TestQuantilesAreWrongByLittle(t *testing.T) {
	families, err := telemetry.New(telemetry.Options{}).Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	bounds := map[string][]float64{}
	for _, f := range families {
		h := f.GetMetric()[0].GetHistogram()
		if h == nil || !strings.HasPrefix(f.GetName(), "clipferry_") {
			continue
		}
		for _, b := range h.GetBucket() {
			bounds[f.GetName()] = append(bounds[f.GetName()], b.GetUpperBound())
		}
	}
	if len(bounds) == 0 {
		t.Fatal("no histogram")
	}
	for name, b := range bounds {
		for i := 1; i < len(b); i++ {
			if b[i-1] > 0 && b[i] > 2.5*b[i-1] {
				t.Errorf("%s: %g is taken for anything up to %g", name, b[i-1], b[i])
			}
		}
	}
	const hour = 3600.
	left := bounds["clipferry_headroom_at_archive_seconds"]
	for _, at := range []float64{71.75 * hour, 71.2 * hour, 70.5 * hour} {
		i, _ := slices.BinarySearch(left, at)
		if i == 0 || i == len(left) || left[i]-left[i-1] > hour {
			t.Errorf("%g h left are not told from an hour more or less: %v", at/hour, left)
		}
	}
}

func TestAnExportFoundAgainIsNotCountedAgain(t *testing.T) {
	tel := telemetry.New(telemetry.Options{})
	before := export.New("e1", nil, "d", "p", time.Now())
	after := *before
	if err := after.Accept(time.Now(), "task-1", "", ""); err != nil {
		t.Fatal(err)
	}
	tel.Changed(t.Context(), before, &after)
	wantLines(t, scrape(t, tel), `clipferry_exports_accepted_total{account="default"} 0`)
}

func TestRequestsTransfersAndFaults(t *testing.T) {
	tel := telemetry.New(telemetry.Options{Accounts: []string{"main"}})
	ctx := t.Context()
	tel.Requested(ctx, observe.Request{Account: "main", Kind: budget.Submit, Result: budget.Answered, Took: time.Second, Waited: 20 * time.Second})
	tel.Requested(ctx, observe.Request{Account: "main", Kind: budget.Refresh, Result: budget.Refused, Took: time.Second})
	tel.Requested(ctx, observe.Request{Account: "stranger", Kind: budget.Read, Result: budget.NotSent})
	tel.Transferred(ctx, observe.Transfer{Bytes: 3 << 20, Fetched: 2 << 20, Took: 2 * time.Second})
	tel.Transferred(ctx, observe.Transfer{Took: time.Second, Err: errors.New("reset")})
	tel.Faulted(ctx, export.StepMirror, fault.New(fault.LinkExpired, "dead", nil))
	tel.Faulted(ctx, "nonsense", errors.New("what?"))
	_, end := tel.StepBegins(ctx, observe.Run{Kind: export.StepPoll})
	wantLines(t, scrape(t, tel), `clipferry_steps_running{step="poll"} 1`)
	end(observe.PutOff, errors.New("busy"))
	wantLines(
		t, scrape(t, tel),
		`clipferry_provider_requests_total{account="main",kind="submit",result="answered"} 1`,
		`clipferry_provider_requests_total{account="main",kind="refresh",result="refused"} 1`,
		`clipferry_provider_requests_total{account="other",kind="read",result="not_sent"} 1`,
		`clipferry_provider_request_duration_seconds_count{kind="read"} 0`,
		`clipferry_turn_wait_seconds_sum{kind="submit"} 20`,
		`clipferry_mirror_bytes_total 3.145728e+06`,
		`clipferry_mirror_speed_bytes_per_second_sum 1.048576e+06`,
		`clipferry_mirror_duration_seconds_count{outcome="error"} 1`,
		`clipferry_faults_total{class="link_expired",step="mirror"} 1`,
		`clipferry_faults_total{class="retry",step="other"} 1`,
		`clipferry_steps_running{step="poll"} 0`,
		`clipferry_step_duration_seconds_count{outcome="put_off",step="poll"} 1`,
	)
}

func TestDeadlinesOfTheLastSweep(t *testing.T) {
	now := time.Date(2026, 4, 7, 12, 0, 0, 0, time.UTC)
	tel := telemetry.New(telemetry.Options{Now: func() time.Time { return now }})
	if body := scrape(t, tel); strings.Contains(body, "clipferry_headroom_least") || strings.Contains(body, "clipferry_clips_due") {
		t.Error("deadlines are shown before anybody looked")
	}
	tel.Swept(observe.Sweep{Took: time.Second, Open: []observe.Deadline{
		{State: export.Mirroring, ExpireAt: now.Add(5 * time.Hour), ClipsLeft: 3},
		{State: export.Mirroring, ExpireAt: now.Add(30 * time.Hour), ClipsLeft: 4},
		{State: export.Rendering, ExpireAt: now.Add(2 * time.Hour), ClipsLeft: 9},
	}})
	now = now.Add(time.Minute)
	wantLines(
		t, scrape(t, tel),
		`clipferry_headroom_least_seconds 7140`,
		`clipferry_clips_due{within="1h"} 0`, `clipferry_clips_due{within="6h"} 3`,
		`clipferry_clips_due{within="24h"} 3`, `clipferry_clips_due{within="72h"} 7`,
		`clipferry_sweep_last_success_timestamp_seconds 1.7755632e+09`,
	)
	now = now.Add(5 * time.Minute) // meanwhile another worker sweeps
	if body := scrape(t, tel); strings.Contains(body, "clipferry_headroom_least") {
		t.Error("an old finding is still shown")
	}
	tel.Swept(observe.Sweep{Err: errors.New("redis")})
	body := scrape(t, tel)
	wantLines(t, body, `clipferry_sweep_duration_seconds_count{outcome="error"} 1`)
	if strings.Contains(body, "clipferry_clips_due") {
		t.Error("a sweep that saw nothing is taken for one that found nothing due")
	}
	tel.Swept(observe.Sweep{})
	wantLines(t, scrape(t, tel), `clipferry_clips_due{within="1h"} 0`)
}

// TestLint holds every metric to Prometheus's conventions.
func TestLint(t *testing.T) {
	tel := telemetry.New(telemetry.Options{Version: "v1"})
	tel.Watch(telemetry.Sources{
		Ledger: counts{}, Queues: someQueues, Budgets: map[string]telemetry.Budget{"default": someBudget},
		Redis: noRedis, Ready: func(context.Context) bool { return false },
	})
	tel.Swept(observe.Sweep{Open: []observe.Deadline{{State: export.Mirroring, ExpireAt: time.Now(), ClipsLeft: 1}}})
	problems, err := testutil.GatherAndLint(tel.Registry())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := tel.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	ours := 0
	for _, f := range families {
		name := f.GetName()
		if strings.HasPrefix(name, "clipferry_") {
			ours++
		} else if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") && !strings.HasPrefix(name, "promhttp_") {
			t.Errorf("%s has none of the known prefixes", name)
		}
		if n := len(f.GetMetric()); n > 200 {
			t.Errorf("%s has %d series", name, n)
		}
	}
	if ours < 50 {
		t.Errorf("only %d metrics of ours are there from the start", ours)
	}
}

func TestNobodyTraces(t *testing.T) {
	tel := telemetry.New(telemetry.Options{})
	if h := tel.Trace(context.Background()); h != nil {
		t.Errorf("headers %v without tracing", h)
	}
}

func noRedis(context.Context, func(context.Context, *redis.Client) error) error { return nil }
