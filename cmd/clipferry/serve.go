package main

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/clipferry/clipferry/config"
)

func serveCommand() command {
	return command{
		name: "serve", summary: "serve the HTTP API, metrics and Asynqmon, without a worker",
		details: `A worker serves the same unless CLIPFERRY_HTTP_ADDR is empty. It needs no key of
the provider's.`,
		flags: func(*pflag.FlagSet) action { return runServe },
	}
}

func runServe(ctx context.Context, c *console, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	f, err := c.openFront(ctx, config.NeedsS3)
	if err != nil {
		return err
	}
	defer f.close()
	server, err := f.listen(ctx, nil)
	if err != nil {
		return err
	}
	if server == nil {
		return config.Faults{{Variable: "CLIPFERRY_HTTP_ADDR", Message: "empty: there is nothing to serve"}}
	}
	return server.Serve(ctx)
}
