package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/cmd/internal/wiring"
	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/worker"
)

func serveCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use: "serve", Short: "serve the HTTP API, metrics and Asynqmon, without a worker",
		Long: `A worker serves the same unless CLIPFERRY_HTTP_ADDR is empty. It needs no key
of the provider's, unless it is to pass calls on that are no exports
(CLIPFERRY_HTTP_PASSTHROUGH).`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.serve(cmd.Context()) },
	}
}

func (c *console) serve(ctx context.Context) error {
	f, err := c.openFront(ctx, config.NeedsS3)
	if err != nil {
		return err
	}
	defer f.close()
	closePassed, err := f.openPassed(ctx)
	if err != nil {
		return err
	}
	defer closePassed()
	server, err := f.listen(ctx, nil)
	if err != nil {
		return err
	}
	if server == nil {
		return config.Faults{{Variable: "CLIPFERRY_HTTP_ADDR", Message: "empty: there is nothing to serve"}}
	}
	return server.Serve(ctx)
}

// openPassed makes what passes calls on, where there is a key for it, and reads what
// was passed through: no worker may be running.
func (f *front) openPassed(ctx context.Context) (closeAll func(), err error) {
	if len(f.cfg.HTTPAPIKeys) == 0 || f.cfg.Account("").Key == "" {
		return func() {}, nil
	}
	accounts, closeAccounts, err := wiring.Accounts(f.cfg, f.rdb, f.log)
	if err != nil {
		return nil, err
	}
	if err := f.passThrough(accounts); err != nil {
		closeAccounts()
		return nil, err
	}
	if f.passed == nil {
		return closeAccounts, nil
	}
	ended := make(chan struct{})
	ctx, stop := context.WithCancel(ctx)
	go func() {
		defer close(ended)
		if err := worker.ServePassed(ctx, f.rdb, f.passed, f.log); err != nil {
			f.log.Error("what is passed through is not read to its end here", logkey.Error, err)
		}
	}()
	unhook := context.AfterFunc(ctx, f.passed.Stop)
	return func() { unhook(); stop(); f.passed.Stop(); <-ended; closeAccounts() }, nil
}
