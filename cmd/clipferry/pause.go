package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/pflag"

	"github.com/clipferry/clipferry/cmd/internal/wiring"
	"github.com/clipferry/clipferry/internal/nearest"
	"github.com/clipferry/clipferry/tasks"
)

func pauseCommand() command {
	return command{
		name: "pause", args: "[QUEUE…]", summary: "order nothing more at the provider, or let queues rest",
		details: `Without a QUEUE, all from which exports are ordered and paid for rest: new
exports wait, and what was paid for is read and archived all the same. What a
worker has taken out already still goes on: up to two exports for each worker
and account. It lasts until clipferry resume, over restarts too.`,
		flags: func(*pflag.FlagSet) action { return runPause },
	}
}

func resumeCommand() command {
	return command{
		name: "resume", args: "[QUEUE…]", summary: "end what pause, or Asynqmon, has begun",
		details: `Without a QUEUE, all that are paused.`,
		flags:   func(*pflag.FlagSet) action { return runResume },
	}
}

func runPause(ctx context.Context, c *console, queues []string) error {
	if err := checkQueues(queues); err != nil {
		return err
	}
	conn, err := c.connect(ctx, 0)
	if err != nil {
		return err
	}
	defer conn.close()
	if len(queues) == 0 {
		if queues, err = conn.exports.OrderQueues(wiring.AccountNames(conn.cfg)...); err != nil {
			return err
		}
	}
	if err := conn.exports.Pause(ctx, queues...); err != nil {
		return err
	}
	for _, queue := range queues {
		fmt.Fprintln(c.stdout, queue, "paused")
	}
	return nil
}

func runResume(ctx context.Context, c *console, queues []string) error {
	if err := checkQueues(queues); err != nil {
		return err
	}
	conn, err := c.connect(ctx, 0)
	if err != nil {
		return err
	}
	defer conn.close()
	resumed, err := conn.exports.Resume(ctx, queues...)
	for _, queue := range resumed {
		fmt.Fprintln(c.stdout, queue, "resumed")
	}
	if err == nil && len(resumed) == 0 {
		fmt.Fprintln(c.stderr, "none was paused")
	}
	return err
}

// checkQueues refuses names that no queue of ours has: paused, they would stop nothing.
func checkQueues(queues []string) error {
	for _, queue := range queues {
		kind, _ := tasks.SplitQueue(queue)
		if slices.Contains(tasks.Queues(), kind) {
			continue
		}
		meant := ""
		if name := nearest.Name(kind, tasks.Queues()); name != "" {
			meant = "; did you mean " + name + "?"
		}
		return usagef("there is no queue %q%s", queue, meant)
	}
	return nil
}
