// Command clipferry-dev is a first look at clipferry with nothing to install:
// the emulated provider, an embedded Redis, an embedded S3 server and a worker
// in one program. Alone it exports the clips of three sample projects, shows
// how they come along, and prints where they lie. `clipferry-dev provider` runs
// the emulated provider alone, to develop against without a key.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
