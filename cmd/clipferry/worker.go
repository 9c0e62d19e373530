package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/clipferry/clipferry/cmd/internal/assembly"
	"github.com/clipferry/clipferry/config"
)

func workerCommand() command {
	return command{
		name: "worker", summary: "carry exports from the queue to S3 until SIGTERM or SIGINT",
		details: `Any number of workers share one Redis, one budget at the provider and one bucket.
At the first signal a worker takes nothing new, waits for paid requests that are
under way and stops; a second signal ends it at once.

Environment:
` + variableList(),
		flags: func(*pflag.FlagSet) action { return runWorker },
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
		fmt.Fprintf(&b, "\n      %s\n", v.Description)
	}
	return b.String()
}

func runWorker(ctx context.Context, c *console, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	conn, err := c.connect(ctx, config.NeedsAPI|config.NeedsS3)
	if err != nil {
		return err
	}
	defer conn.close()
	log := c.logger(conn.cfg)
	for _, f := range examineRedis(ctx, conn.rdb) {
		if f.verdict != good {
			log.Warn("Redis: "+f.text, "hint", f.hint)
		}
	}
	w, _, closeAll, err := assembly.Worker(ctx, conn.cfg, conn.rdb, log)
	if err != nil {
		return err
	}
	defer closeAll()
	return w.Run(ctx)
}
