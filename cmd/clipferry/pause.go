package main

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/cmd/internal/wiring"
	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/queue"
)

func pauseCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use: "pause [QUEUE…]", Short: "order nothing more at the provider, or let queues rest",
		Long: `Without a QUEUE, all from which exports are ordered and paid for rest: new
exports wait, and what was paid for is read and archived all the same. What a
worker has taken out already still goes on: up to two exports for each worker
and account. It lasts until clipferry resume, over restarts too.`,
		ValidArgs: queue.All(),
		RunE:      func(cmd *cobra.Command, queues []string) error { return c.pause(cmd.Context(), queues) },
	}
}

func resumeCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use: "resume [QUEUE…]", Short: "end what pause, or Asynqmon, has begun",
		Long: `Without a QUEUE, all that are paused. Then also an account that halts, such as
one whose answers to orders are not understood, sends one request at once to
find out whether it can go on.`,
		ValidArgs: queue.All(),
		RunE:      func(cmd *cobra.Command, queues []string) error { return c.resume(cmd.Context(), queues) },
	}
}

func (c *console) pause(ctx context.Context, queues []string) error {
	return c.withQueues(ctx, queues, func(conn *connection) (err error) {
		if len(queues) == 0 {
			if queues, err = conn.exports.OrderQueues(ctx, wiring.AccountNames(conn.cfg), slices.Collect(maps.Keys(conn.cfg.Tenants))); err != nil {
				return err
			}
		}
		if err := conn.exports.Pause(ctx, queues...); err != nil {
			return err
		}
		for _, queue := range queues {
			_ = c.out.Printf("%s paused\n", queue)
		}
		return nil
	})
}

func (c *console) resume(ctx context.Context, queues []string) error {
	return c.withQueues(ctx, queues, func(conn *connection) error {
		resumed, err := conn.exports.Resume(ctx, queues...)
		for _, queue := range resumed {
			_ = c.out.Printf("%s resumed\n", queue)
		}
		if err == nil && len(resumed) == 0 {
			_ = c.msg.Printf("none was paused\n")
		}
		if len(queues) == 0 {
			err = errors.Join(err, c.resumeAccounts(ctx, conn))
		}
		return err
	})
}

// resumeAccounts has each account that halts try one request now.
func (c *console) resumeAccounts(ctx context.Context, conn *connection) error {
	var faults []error
	for _, a := range conn.cfg.Accounts() {
		faults = append(faults, conn.withGate(a, func(g *budget.Gate) error {
			h, err := g.Health(ctx)
			if err == nil && h.Halted != "" {
				if err = g.Resume(ctx); err == nil {
					_ = c.out.Printf("account %s, halted by %s, tries one request\n", a.Name, h.Halted)
				}
			}
			return err
		}))
	}
	return errors.Join(faults...)
}

// withQueues connects, unless there is a name that no queue of ours has: paused, it
// would stop nothing.
func (c *console) withQueues(ctx context.Context, names []string, do func(*connection) error) error {
	var faults []error
	for _, name := range names {
		if kind, _, ours := queue.Kind(name); !ours {
			hint := cmp.Or(cli.DidYouMean("", kind, queue.All()), "; there are "+strings.Join(queue.All(), ", "))
			faults = append(faults, cli.Usagef("there is no queue %q%s", name, hint))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	conn, err := c.connect(ctx, 0)
	if err != nil {
		return err
	}
	defer conn.close()
	return do(conn)
}
