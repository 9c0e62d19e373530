package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/cmd/internal/wiring"
	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/recovery"
)

func recoverCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use: "recover", Short: "after a loss of Redis: rebuild every open export from the receipts in S3",
		Long: `Batches that were not complete are rebuilt too; what was never ordered exists
in Redis alone, and its producer has to enqueue it again.

Nothing is submitted again: the exports go on with the provider's tasks that
were paid for. Safe at any time, twice, and beside running workers.`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.recover(cmd.Context()) },
	}
}

func (c *console) recover(ctx context.Context) error {
	conn, err := c.connect(ctx, config.NeedsS3)
	if err != nil {
		return err
	}
	defer conn.close()
	if err := conn.openArchive(ctx, nil); err != nil {
		return err
	}
	to, err := wiring.Envelope(conn.cfg)
	if err != nil {
		return err
	}
	lost := recovery.New(conn.rdb, conn.ledger, queue.New(conn.rdb), time.Now)
	lost.Passed = wiring.RestorePassed(conn.cfg, conn.rdb, conn.ledger, conn.archive, conn.renameSlot)
	lost.Recall = conn.recall
	done, err := lost.Recover(ctx, conn.archive, to)
	_ = c.out.Printf("rebuilt %d exports; %d are known already, %d are over\n", done.Rebuilt, done.Known, done.Closed)
	for _, b := range done.Batches {
		_ = c.out.Printf("rebuilt batch %s\n", b.Name)
		switch {
		case b.Missing > 0 && err != nil: // the receipts that say so may be those that could not be read
			_ = c.out.Printf("%d of its exports were not found, and not everything could be read: recover again\n", b.Missing)
		case b.Missing > 0:
			_ = c.out.Printf("%d of its exports were not ordered and are lost: enqueue the same file under its name again\n", b.Missing)
		}
	}
	if done.Passed > 0 {
		_ = c.out.Printf("restored %d records of calls that were passed through\n", done.Passed)
	}
	if done.Repaired > 0 {
		_ = c.out.Printf("repaired %d whose record was older than its receipt\n", done.Repaired)
	}
	return err
}

// recall tells the account's budget of an order whose answer nobody can read.
func (c *connection) recall(ctx context.Context, account, export string, sent time.Time) error {
	return c.withGate(c.cfg.Account(account), func(g *budget.Gate) error { return g.RecallOdd(ctx, export, sent) })
}

// renameSlot has the account's budget hold a slot under the name of whoever has taken it
// over.
func (c *connection) renameSlot(ctx context.Context, account, from, to string) error {
	return c.withGate(c.cfg.Account(account), func(g *budget.Gate) error { return g.Rename(ctx, from, to) })
}
