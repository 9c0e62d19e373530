// Command clipferry exports clips through the provider's Clips Export API and
// archives them in S3. Every subcommand is one file of this package; main only
// calls run, so that the whole command line can be tested.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(interruptible(func(ctx context.Context) int {
		return run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	}))
}

// interruptible ends the context at the first SIGINT or SIGTERM. A second one
// meets the system's own handling and ends the process at once.
func interruptible(f func(context.Context) int) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	return f(ctx)
}
