package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/cmd/internal/wiring"
	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/catalog"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/worker"
)

func workerCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use: "worker", Short: "carry exports from the queue to S3 until SIGTERM or SIGINT",
		Long: `Any number of workers share one Redis, one budget at the provider and one
bucket. At the first signal a worker takes nothing new, waits for paid
requests that are under way and stops; a second signal ends it at once.

Environment:` + variableList(),
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.work(cmd.Context()) },
	}
}

// variableList is every variable with its default, for the help text.
func variableList() string {
	var b strings.Builder
	for _, v := range config.Variables() {
		fmt.Fprintf(&b, "  %s", v.Name)
		if v.Default != "" {
			fmt.Fprintf(&b, " (%s)", v.Default)
		}
		b.WriteString("\n" + cli.Fold(v.Description, "      ", cli.HelpWidth))
	}
	return b.String()
}

// gcOfWorkers is how much garbage the collector lets pile up, in percent of what is
// live: that is little, since the buffers of transfers are elsewhere.
const gcOfWorkers = 250

func (c *console) work(ctx context.Context) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcOfWorkers)
	}
	f, err := c.openFront(ctx, config.NeedsAPI|config.NeedsS3)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		err := f.work(ctx, c)
		f.close()
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(f.cfg.ShutdownTimeout + shutdownSlack):
		f.log.Warn("the worker ends though what it asked last has not been answered")
		return nil
	}
}

// shutdownSlack is how long all that is left of a stopping worker may take beyond
// its ShutdownTimeout: with the default it is gone within 30 s of its signal,
// whoever hangs.
const shutdownSlack = 1500 * time.Millisecond

// work runs a worker until ctx ends.
func (f *front) work(ctx context.Context, c *console) error {
	for _, found := range examineRedis(ctx, f.rdb) {
		if found.verdict != good {
			f.log.Warn("Redis: "+found.text, logkey.Hint, found.hint)
		}
	}
	accounts, closeAccounts, err := wiring.Accounts(f.cfg, f.rdb, f.log)
	if err != nil {
		return err
	}
	defer closeAccounts()
	notifier, err := wiring.Notifier(f.cfg, f.rdb, f.ledger, f.telemetry.Notified, f.log)
	if err != nil {
		return err
	}
	defer notifier.Close()
	if err := f.passThrough(accounts); err != nil {
		return err
	}
	if f.passed != nil {
		defer context.AfterFunc(ctx, f.passed.Stop)()
		defer f.passed.Stop() // what was sent has its answer before the budget is closed
	}
	store := catalog.NewStore(f.archive)
	f.catalog = store
	o := worker.Options{
		Redis: f.rdb, Ledger: f.ledger, Archive: f.archive, Accounts: accounts, Catalog: store,
		Notifier: notifier, Observer: f.telemetry, Logger: f.log,
	}
	if f.passed != nil {
		o.Passed = f.passed
	}
	w, err := wiring.NewWorker(f.cfg, o)
	if err != nil {
		return err
	}
	server, err := f.listen(ctx, accounts)
	if errors.Is(err, syscall.EADDRINUSE) && cli.Env(c.env, "CLIPFERRY_HTTP_ADDR") == "" {
		// Nobody asked for this address, and a second worker on one machine is
		// an ordinary thing: the exports go before the pages.
		f.log.Warn("the default address is taken, so this worker serves no HTTP; set CLIPFERRY_HTTP_ADDR", logkey.Error, err)
		server, err = nil, nil
	}
	if err != nil {
		return err
	}
	err = workAndServe(ctx, w, server, f.log)
	select {
	case <-w.Drained():
	default: // Redis is away, and what its shutdown waits for is left behind
		f.inUse = true
	}
	return err
}

// workAndServe runs the worker and, where there is one, the server, which goes
// on while the worker drains so that probes see it do so. If the server fails
// the worker stops in order, too.
func workAndServe(ctx context.Context, w *worker.Worker, server *wiring.Server, log *slog.Logger) error {
	if server == nil {
		return w.Run(ctx)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(ctx, server.Drain)()
	serving, endServing := context.WithCancel(context.WithoutCancel(ctx))
	defer endServing()
	served := make(chan error, 1)
	go func() {
		err := server.Serve(serving)
		if err != nil {
			log.Error("the HTTP server failed; the worker stops", logkey.Error, err)
			stop()
		}
		served <- err
	}()
	err := w.Run(ctx)
	endServing()
	return errors.Join(err, <-served)
}

// flushTimeout is how long the last spans may take to reach their collector.
const flushTimeout = 2 * time.Second
