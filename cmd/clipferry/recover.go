package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/clipferry/clipferry/cmd/internal/wiring"
	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/recovery"
)

func recoverCommand() command {
	return command{
		name: "recover", summary: "after a loss of Redis: rebuild every open export from the receipts in S3",
		details: `Nothing is submitted again: the exports go on with the provider's tasks that
were paid for. Safe at any time, twice, and beside running workers.`,
		flags: func(*pflag.FlagSet) action { return runRecover },
	}
}

func runRecover(ctx context.Context, c *console, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	conn, err := c.connect(ctx, config.NeedsS3)
	if err != nil {
		return err
	}
	defer conn.close()
	archive, links, err := wiring.Archive(ctx, conn.cfg, conn.ledger, c.logger(conn.cfg))
	if err != nil {
		return err
	}
	defer links.Close()
	to, err := wiring.Envelope(conn.cfg)
	if err != nil {
		return err
	}
	done, err := recovery.New(conn.ledger, queue.New(conn.rdb), time.Now).Recover(ctx, archive, to)
	fmt.Fprintf(c.stdout, "rebuilt %d exports; %d are known already, %d are over\n", done.Rebuilt, done.Known, done.Closed)
	if done.Repaired > 0 {
		fmt.Fprintf(c.stdout, "repaired %d whose record was older than its receipt\n", done.Repaired)
	}
	return err
}
