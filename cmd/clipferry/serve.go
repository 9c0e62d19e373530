package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/config"
)

func serveCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use: "serve", Short: "serve the HTTP API, metrics and Asynqmon, without a worker",
		Long: `A worker serves the same unless CLIPFERRY_HTTP_ADDR is empty. It needs no key of
the provider's.`,
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
	server, err := f.listen(ctx, nil)
	if err != nil {
		return err
	}
	if server == nil {
		return config.Faults{{Variable: "CLIPFERRY_HTTP_ADDR", Message: "empty: there is nothing to serve"}}
	}
	return server.Serve(ctx)
}
