package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/pflag"

	"github.com/clipferry/clipferry/internal/emulator"
)

const providerHelp = `clipferry-dev provider is the provider's Clips Export API, emulated: to develop
against without a key. Open its address in a browser for what it can do, order
faults from it at /_emulator/faults.

Usage:
  clipferry-dev provider [flags]

Flags:
%s`

// provider runs the emulated provider alone until ctx ends.
func provider(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	set := pflag.NewFlagSet("provider", pflag.ContinueOnError)
	var (
		o     = emulator.Options{Limits: emulator.DocumentedLimits()}
		shape = set.String("limit-shape", string(emulator.FixedWindow), "how the rate limit counts: fixed, sliding or `bucket`")
		addr  = set.String("addr", "127.0.0.1:8090", "`HOST:PORT` to listen on; port 0 takes a free one")
		size  = set.Int64("clip-size", 0, "size of clips in `BYTES`; 0 = some tens of KB")
	)
	set.IntVar(&o.Limits.RequestsPerMinute, "requests-per-minute", o.Limits.RequestsPerMinute, "requests a minute; 0 = no limit")
	set.IntVar(&o.Limits.MaxActive, "max-active", o.Limits.MaxActive, "exports at once; 0 = no limit")
	set.IntVar(&o.Limits.Burst, "burst", 0, "capacity of a bucket; 0 = requests a minute")
	set.StringSliceVar(&o.Keys, "key", nil, "an accepted API `KEY`; repeat for several; any if none is given")
	set.Float64Var(&o.Speed, "speed", 1, "how much faster renders and rate limits pass")
	set.Uint64Var(&o.Seed, "seed", 1, "decides everything that chance would")
	set.DurationVar(&o.Render.Median, "render-median", 2*time.Minute, "how long an ordinary export renders, before --speed")
	set.DurationVar(&o.Render.Fixed, "render-fixed", 0, "every export renders just that long")
	set.Float64Var(&o.Render.FailRate, "fail-rate", 0, "share of exports that fail, 0 to 1")
	set.DurationVar(&o.Expiry, "expiry", 72*time.Hour, "how long a task is known")
	set.DurationVar(&o.LinkLifetime, "link-lifetime", 24*time.Hour, "how long a link works")
	set.StringVar(&o.PublicURL, "public-url", "", "what links begin with; empty = the address that is asked")
	if err := parse(set, args, stdout, providerHelp); err != nil {
		return err
	}
	o.Limits.Shape = emulator.Shape(*shape)
	o.ClipSize = *size
	server, err := emulator.New(o)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	url, wait, err := serve(ctx, *addr, server)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, url)
	fmt.Fprintf(stderr, "The emulated provider listens; %s/_emulator/ says what it can do. Stop it with Ctrl-C.\n", url)
	return wait()
}

// serve runs the handler on the address until ctx ends; wait returns when it
// has stopped.
func serve(ctx context.Context, addr string, h http.Handler) (url string, wait func() error, err error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return "", nil, fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	done := make(chan error, 1)
	go func() {
		err := server.Serve(l)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		done <- err
	}()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return "http://" + l.Addr().String(), func() error { return <-done }, nil
}
