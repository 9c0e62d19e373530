package telemetry_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/telemetry"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// fleet is one worker with a real queue, ledger and gate; the provider and S3
// are stand-ins.
type fleet struct {
	rdb *redis.Client
	l   *ledger.Ledger
	tel *telemetry.Telemetry
}

// soonGate has an export read again soon.
type soonGate struct{ *budget.Gate }

func (soonGate) NextRead(context.Context, string) (time.Time, error) { return time.Now(), nil }

func startFleet(t *testing.T, tracing *telemetry.Tracing) fleet {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	log := slog.New(slog.DiscardHandler)
	gate, err := budget.New(budget.Options{Redis: rdb, Account: worker.DefaultAccount, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	f := fleet{rdb: rdb, l: ledger.New(ledger.Options{Redis: rdb}), tel: telemetry.New(telemetry.Options{Tracing: tracing})}
	rdb.AddHook(f.tel.RedisHook())
	w, err := worker.New(worker.Options{
		Redis: rdb, Ledger: f.l, Archive: &archive{receipts: map[string]storage.Receipt{}}, Logger: log, Observer: f.tel,
		Accounts: map[string]worker.Account{worker.DefaultAccount: {Provider: &fakeProvider{}, Gate: soonGate{gate}}},
		// Its waits are none of what is shown here: it looks often, and finds them over.
		PollInterval: 100 * time.Millisecond, Now: func() time.Time { return time.Now().Add(-time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		gate.Close()
	})
	return f
}

// archived waits for the export's end.
func (f fleet) archived(t *testing.T, id string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		r, err := f.l.LoadHead(t.Context(), id)
		if err == nil && r.State == export.Archived {
			return
		}
		if err == nil && r.State.Final() {
			t.Fatalf("export is %s: %s", r.State, r.Problem.Reason)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the export is not archived after a minute")
}

// names counts spans by name, and fails if they aren't one connected trace
// without a secret in it.
func names(t *testing.T, spans tracetest.SpanStubs) map[string]int {
	t.Helper()
	known, count := map[string]bool{}, map[string]int{}
	for _, s := range spans {
		known[s.SpanContext.SpanID().String()] = true
		count[s.Name]++
	}
	roots := 0
	for _, s := range spans {
		if s.SpanContext.TraceID() != spans[0].SpanContext.TraceID() {
			t.Errorf("%s is in a trace of its own", s.Name)
		}
		if !s.Parent.SpanID().IsValid() {
			roots++
		} else if !known[s.Parent.SpanID().String()] {
			t.Errorf("the parent of %s is unknown", s.Name)
		}
		for _, a := range s.Attributes {
			if strings.Contains(a.Value.String(), "s3cr3t") {
				t.Errorf("%s shows a secret in %s", s.Name, a.Key)
			}
		}
	}
	if roots != 1 {
		t.Errorf("%d spans have no parent, want the one that it all began with", roots)
	}
	return count
}

func TestOneExportIsOneTrace(t *testing.T) {
	for _, c := range []struct {
		name   string
		traced bool // whether the producer traces
	}{{"from the enqueue", true}, {"from the submit of a producer without traces", false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			exporter := tracetest.NewInMemoryExporter()
			tracing, err := telemetry.NewTracing(t.Context(), telemetry.TracingOptions{Exporter: exporter})
			if err != nil {
				t.Fatal(err)
			}
			f := startFleet(t, tracing)
			var opts []tasks.Option
			ctx, enqueued := t.Context(), func(error) {}
			if c.traced {
				opts = append(opts, tasks.WithTraceHeaders(tracing.Headers))
				ctx, enqueued = tracing.Enqueue(ctx)
			}
			id, err := tasks.NewClientFromRedis(f.rdb, opts...).Enqueue(ctx, tasks.Export{ProjectID: "p1"})
			enqueued(err)
			if err != nil {
				t.Fatal(err)
			}
			f.archived(t, id)
			waitForSpan(t, exporter, "seal export")
			got := names(t, exporter.GetSpans())
			want := map[string]int{
				"submit export": 1, "provider submit": 1, "poll export": 2, "provider read": 2,
				"mirror export": 3, "transfer clip": 3, "seal export": 1,
			}
			if c.traced {
				want["enqueue export"] = 1
			}
			for name, n := range want {
				// A sweep at the same time may add a step again that ends this
				// moment; it comes late, does nothing, and is a span all the same.
				late := got[name] > n && strings.HasSuffix(name, " export") && name != "enqueue export"
				if got[name] != n && !late {
					t.Errorf("%d spans of %s, want %d; there are %v", got[name], name, n, got)
				}
			}
			failed := 0
			for _, s := range exporter.GetSpans() {
				if s.Name == "transfer clip" && s.Status.Code == codes.Error {
					failed++
				}
			}
			if failed != 1 {
				t.Errorf("%d transfers are marked as failed, want 1", failed)
			}
			wantLines(t, scrape(t, f.tel),
				`clipferry_provider_requests_total{account="default",kind="submit",result="answered"} 1`,
				`clipferry_provider_requests_total{account="default",kind="read",result="answered"} 2`,
				`clipferry_exports_accepted_total{account="default"} 1`,
				`clipferry_exports_ended_total{state="archived"} 1`,
				`clipferry_units_spent_total{account="default"} 48`,
				`clipferry_clips_archived_total 2`, `clipferry_mirror_bytes_total 2000`,
				`clipferry_faults_total{class="retry",step="mirror"} 1`,
				`clipferry_sweep_duration_seconds_count{outcome="ok"} 1`,
			)
		})
	}
}

func waitForSpan(t *testing.T, exporter *tracetest.InMemoryExporter, name string) {
	t.Helper()
	for range 200 {
		for _, s := range exporter.GetSpans() {
			if s.Name == name {
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("no span %s", name)
}

func TestTracingIsOffWithoutAnExporter(t *testing.T) {
	clearOTEL(t)
	tracing, err := telemetry.NewTracing(t.Context(), telemetry.TracingOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if tracing.On() {
		t.Error("it is on")
	}
	ctx, end := tracing.Enqueue(t.Context())
	end(errors.New("full"))
	if h := tracing.Headers(ctx); h != nil {
		t.Errorf("headers %v", h)
	}
	if err := tracing.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	// A trace that somebody else keeps is passed on all the same.
	const theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	var passed string
	h := tracing.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx, end := tracing.Enqueue(r.Context())
		defer end(nil)
		passed = tracing.Headers(ctx)["traceparent"]
	}))
	req := httptest.NewRequest("POST", "/api/v2/clips/export", nil)
	req.Header.Set("traceparent", theirs)
	h.ServeHTTP(httptest.NewRecorder(), req)
	if passed != theirs {
		t.Errorf("passed on %q", passed)
	}
}

func TestNilTracing(t *testing.T) {
	var tracing *telemetry.Tracing
	ctx, end := tracing.Enqueue(t.Context())
	end(nil)
	if tracing.On() || tracing.Headers(ctx) != nil || tracing.Shutdown(ctx) != nil {
		t.Error("a nil Tracing does something")
	}
	served := false
	tracing.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true })).
		ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	if !served {
		t.Error("a nil Tracing swallows requests")
	}
}

func otlp(ctx context.Context) (sdk.SpanExporter, error) { return otlptracehttp.New(ctx) }

func clearOTEL(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES",
	} {
		t.Setenv(name, "")
	}
}

func TestStandardVariables(t *testing.T) {
	for _, c := range []struct {
		name string
		env  map[string]string
		on   bool
		fail string
	}{
		{"nothing", nil, false, ""},
		{"an endpoint", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, true, ""},
		{"an endpoint for traces", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, true, ""},
		{"otlp", map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true, ""},
		{"none", map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, false, ""},
		{"disabled", map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, false, ""},
		{"another exporter", map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, false, "OTEL_TRACES_EXPORTER"},
		{"grpc", map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, false, "OTEL_EXPORTER_OTLP_PROTOCOL"},
		{"grpc for something else", map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			clearOTEL(t)
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			tracing, err := telemetry.NewTracing(t.Context(), telemetry.TracingOptions{NewExporter: otlp})
			if c.fail != "" {
				if err == nil || !strings.Contains(err.Error(), c.fail) {
					t.Fatalf("error %v, want one that names %s", err, c.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tracing.On() != c.on {
				t.Errorf("on is %v", tracing.On())
			}
			if err := tracing.Shutdown(t.Context()); err != nil { // nothing was recorded: nobody is asked
				t.Error(err)
			}
		})
	}
}

func TestSpansReachACollector(t *testing.T) {
	clearOTEL(t)
	var got atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/v1/traces" && r.Header.Get("Content-Type") == "application/x-protobuf" &&
			strings.Contains(string(body), "enqueue export") && strings.Contains(string(body), "ferry-eu") {
			got.Add(1)
		}
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_SERVICE_NAME", "ferry-eu")
	tracing, err := telemetry.NewTracing(t.Context(), telemetry.TracingOptions{Version: "v1", NewExporter: otlp})
	if err != nil {
		t.Fatal(err)
	}
	_, end := tracing.Enqueue(t.Context())
	end(nil)
	if err := tracing.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got.Load() != 1 {
		t.Errorf("the collector got %d matching requests", got.Load())
	}
}

func TestRequestsAreSpans(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	tracing, err := telemetry.NewTracing(t.Context(), telemetry.TracingOptions{Exporter: exporter})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v2/clips/export/{taskId}", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("flush through the handler: %v", err)
		}
	})
	tracing.Handler(mux).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/v2/clips/export/exp_1", nil))
	spans := exporter.GetSpans()
	if len(spans) != 1 || spans[0].Name != "GET /api/v2/clips/export/{taskId}" || spans[0].Status.Code != codes.Error {
		t.Errorf("spans %+v", spans)
	}
}
