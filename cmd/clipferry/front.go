package main

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/cmd/internal/wiring"
	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/passthrough"
	"github.com/clipferry/clipferry/internal/preflight"
	"github.com/clipferry/clipferry/internal/telemetry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/worker"
)

// front is what `worker` and `serve` have in common: everything but the work.
type front struct {
	*connection
	telemetry *telemetry.Telemetry
	tracing   *telemetry.Tracing
	flush     func()
	passed    *passthrough.Service // nil where nothing is passed through
	preflight *preflight.Service   // nil without a key of the provider's
	catalog   telemetry.Bucket     // nil where no worker runs
}

// openFront connects to Redis and S3, with everything observed.
func (c *console) openFront(ctx context.Context, needs config.Needs) (*front, error) {
	outliveReaders()
	conn, err := c.connect(ctx, needs)
	if err != nil {
		return nil, err
	}
	conn.log = c.loggerTo(&lossy{w: c.msg.Raw()}, conn.cfg)
	f := &front{connection: conn}
	if f.tracing, f.flush, err = startTracing(ctx, f.log); err != nil {
		conn.close()
		return nil, err
	}
	f.telemetry = telemetry.New(telemetry.Options{
		Version: cli.Version(version), Accounts: wiring.AccountNames(conn.cfg), Tenants: slices.Sorted(maps.Keys(conn.cfg.Tenants)), Tracing: f.tracing, Logger: f.log,
	})
	conn.rdb.AddHook(f.telemetry.RedisHook())
	if err := conn.openArchive(ctx, f.telemetry.S3); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// startTracing returns the tracing that the OTEL_* variables ask for, and what
// sends the last spans. The command's own context may be over by then.
func startTracing(ctx context.Context, log *slog.Logger) (*telemetry.Tracing, func(), error) {
	tracing, err := telemetry.NewTracing(ctx, telemetry.TracingOptions{
		Version: cli.Version(version), Logger: log,
		NewExporter: func(ctx context.Context) (sdk.SpanExporter, error) { return otlptracehttp.New(ctx) },
	})
	if err != nil {
		return nil, nil, err
	}
	return tracing, func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		if err := tracing.Shutdown(ctx); err != nil {
			log.Warn("the last spans were lost", logkey.Error, err)
		}
	}, nil
}

// passThrough makes what passes the provider's other calls on, and what looks at
// projects before they are ordered.
func (f *front) passThrough(accounts map[string]worker.Account) (err error) {
	if f.preflight, err = wiring.Preflight(f.cfg, f.rdb, accounts, wiring.PreflightWait, wiring.PreflightWithin); err != nil {
		return err
	}
	f.passed, err = wiring.Passthrough(f.cfg, f.rdb, f.ledger, f.archive, accounts, f.telemetry.Requested, f.log)
	return err
}

// close ends what was opened, in the opposite order.
func (f *front) close() {
	f.flush()
	f.connection.close()
}

// listen opens the HTTP server; nil where it is switched off.
func (f *front) listen(ctx context.Context, accounts map[string]worker.Account) (*wiring.Server, error) {
	return wiring.Listen(ctx, f.cfg, wiring.Front{
		Redis: f.rdb, Ledger: f.ledger, Archive: f.archive, Catalog: f.catalog, Accounts: accounts, Passed: f.passed, Preflight: f.preflight,
		Telemetry: f.telemetry, Tracing: f.tracing, Logger: f.log, Version: cli.Version(version),
	})
}
