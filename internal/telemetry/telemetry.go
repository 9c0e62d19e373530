// Package telemetry shows a fleet at work: Prometheus metrics and OpenTelemetry
// traces. It watches and never decides: nothing of clipferry depends on it, and
// when Redis or a collector is slow it is the picture that suffers.
//
// There are two kinds of metrics, and they add up differently.
//
//   - What happened in this process: counters and histograms, kept by
//     [Telemetry] as the worker's observer, by a hook on the Redis client and as
//     the archive's observer. Over the fleet they are summed.
//   - What is true of the whole fleet, because it is in Redis: exports by
//     state, queues, budgets, Redis itself. Every process reports the same, so
//     over the fleet the maximum is taken, never the sum. It is read when
//     Prometheus asks, at most once in ten seconds, and left out (not repeated)
//     when it can't be had; clipferry_source_up says so.
//
// Labels are bounded: states, kinds, queues, classes, names of accounts. Ids,
// links, keys and error texts are never labels. They are in the logs (package
// logkey names the keys) and, but for secrets, in traces.
//
// It is not for logging, nor for what an operator sees of one export (packages
// view and status).
package telemetry

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/tasks"
)

// Options configures a Telemetry. All of it is optional.
type Options struct {
	// Version is the program's, for clipferry_build_info.
	Version string
	// Accounts are the names of the configured provider accounts, the only
	// values that the label account takes; tasks.DefaultAccount when empty.
	Accounts []string
	// Tenants are those that have queues of their own here; queues of any others count
	// as one.
	Tenants []string
	// Tracing makes spans; nil makes none.
	Tracing *Tracing
	Logger  *slog.Logger
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Telemetry holds the metrics of one process and makes its spans. It is safe
// for concurrent use.
type Telemetry struct {
	registry *prometheus.Registry
	tracing  *Tracing
	log      *slog.Logger
	now      func() time.Time
	accounts []string
	tenants  []string
	deadlines
	instruments
}

// New returns a Telemetry with a registry of its own.
func New(o Options) *Telemetry {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(o.Accounts) == 0 {
		o.Accounts = []string{tasks.DefaultAccount}
	}
	registry := prometheus.NewRegistry()
	t := &Telemetry{
		registry: registry, tracing: o.Tracing, log: o.Logger, now: o.Now,
		accounts: o.Accounts, tenants: o.Tenants, deadlines: deadlines{now: o.Now}, instruments: newInstruments(registry, o.Accounts),
	}
	t.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(o.Version), &t.deadlines,
	)
	return t
}

func buildInfo(version string) prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "clipferry_build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	info.Set(1)
	return info
}

// Registry is where the metrics are; others may add theirs.
func (t *Telemetry) Registry() *prometheus.Registry { return t.registry }

// Handler answers Prometheus. What can't be read is left out of the answer, the
// rest is there.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.InstrumentMetricHandler(t.registry, promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{
		ErrorLog:            &onceAMinute{log: t.log, message: "metrics are not complete", now: t.now},
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
		Timeout:             9 * time.Second, // under Prometheus's own ten
		EnableOpenMetrics:   true,
	}))
}

// onceAMinute logs the reports of a library as warnings, one a minute at most: of a
// scraper that has left, promhttp reports every metric.
type onceAMinute struct {
	log     *slog.Logger
	message string
	now     func() time.Time
	last    atomic.Int64 // Unix time
}

// Println is promhttp's.
func (l *onceAMinute) Println(v ...any) {
	now := l.now().Unix()
	if last := l.last.Load(); now-last >= 60 && l.last.CompareAndSwap(last, now) {
		l.log.Warn(l.message, logkey.Error, strings.TrimSpace(fmt.Sprintln(v...)))
	}
}

// Handle is otel's.
func (l *onceAMinute) Handle(err error) { l.Println(err) }

// queueLabel returns the value of the label queue: no producer can make up one.
func (t *Telemetry) queueLabel(name string) string {
	kind, account, tenant := tasks.ParseQueue(name)
	if tenant != "" && !slices.Contains(t.tenants, tenant) {
		tenant = "other"
	}
	return tasks.TenantQueue(kind, t.account(account), tenant)
}

// account returns the value of the label account for an export's account.
func (t *Telemetry) account(name string) string {
	switch {
	case name == "", name == tasks.DefaultAccount:
		return tasks.DefaultAccount
	case slices.Contains(t.accounts, name):
		return name
	default:
		return "other"
	}
}
