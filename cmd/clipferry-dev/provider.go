package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/emulator"
)

// providerCommand runs the emulated provider alone until it is stopped.
func providerCommand(c *console) *cobra.Command {
	p := &provider{Options: emulator.Options{Limits: emulator.DocumentedLimits(), AnyProject: true}}
	cmd := &cobra.Command{
		Use: "provider [flags]", Short: "run the emulated provider alone",
		Long: `It is the provider's Clips Export API and the calls around it (clips,
find-moments, summaries, transcripts, upload), emulated: to develop against without a
key. Open its address in a browser for what it can do, order faults from it at
/_emulator/faults.`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.run(cmd.Context(), c) },
	}
	set := cmd.Flags()
	set.StringVar(&p.shape, "limit-shape", string(emulator.FixedWindow), "how the rate limit counts: fixed, sliding or `bucket`")
	set.StringVar(&p.addr, "addr", "127.0.0.1:8090", "`HOST:PORT` to listen on; port 0 takes a free one")
	set.Int64Var(&p.ClipSize, "clip-size", 0, "size of clips in `BYTES`; 0 = some tens of KB")
	set.IntVar(&p.Limits.RequestsPerMinute, "requests-per-minute", p.Limits.RequestsPerMinute, "requests a minute; 0 = no limit")
	set.IntVar(&p.Limits.MaxActive, "max-active", p.Limits.MaxActive, "exports at once; 0 = no limit")
	set.IntVar(&p.Limits.Burst, "burst", 0, "capacity of a bucket; 0 = requests a minute")
	set.StringSliceVar(&p.Keys, "key", nil, "an accepted API `KEY`; repeat for several; any if none is given")
	set.Float64Var(&p.Speed, "speed", 1, "how much faster renders and rate limits pass")
	set.Uint64Var(&p.Seed, "seed", 1, "decides everything that chance would")
	set.DurationVar(&p.Render.Median, "render-median", 2*time.Minute, "how long an ordinary export renders, before --speed")
	set.DurationVar(&p.Render.Fixed, "render-fixed", 0, "every export renders just that long")
	set.Float64Var(&p.Render.FailRate, "fail-rate", 0, "share of exports that fail, 0 to 1")
	set.DurationVar(&p.Expiry, "expiry", 72*time.Hour, "how long a task is known")
	set.DurationVar(&p.LinkLifetime, "link-lifetime", 24*time.Hour, "how long a link works")
	set.StringVar(&p.PublicURL, "public-url", "", "what links begin with; empty = the address that is asked")
	return cmd
}

// provider is the emulator with its address.
type provider struct {
	emulator.Options
	shape, addr string
}

func (p *provider) run(ctx context.Context, c *console) error {
	p.Limits.Shape = emulator.Shape(p.shape)
	server, err := emulator.New(p.Options)
	if err != nil {
		var faults []error
		for fault := range strings.SplitSeq(err.Error(), "\n") {
			faults = append(faults, cli.Usagef("%s", fault))
		}
		return errors.Join(faults...)
	}
	url, wait, err := serve(ctx, p.addr, server)
	if err != nil {
		return err
	}
	if err := c.out.Printf("%s\n", url); err != nil {
		return err
	}
	_ = c.msg.Printf("The emulated provider listens; %s/_emulator/ says what it can do. A worker and the command line that use it\n"+
		"need this, Redis at its usual address, and a bucket of yours (clipferry-dev --serve has both):\n\n", url)
	key := "any-key"
	if len(p.Keys) > 0 {
		key = p.Keys[0]
	}
	printEnv(c.msg, append(append(providerEnv(url, p.Limits), "CLIPFERRY_API_KEY="+key), doorEnv("dev-"+rand.Text())...))
	_ = c.msg.Printf("\nStop it with Ctrl-C.\n")
	return wait()
}

// providerEnv is what a worker needs to use the emulated provider at url, any key
// apart: links lead to addresses that no link may lead to by default.
func providerEnv(url string, limits emulator.Limits) []string {
	return []string{
		"CLIPFERRY_API_BASE_URL=" + url, "CLIPFERRY_LINK_ALLOWED_CIDRS=" + rangeOf(url),
		"CLIPFERRY_API_REQUESTS_PER_MINUTE=" + strconv.Itoa(limits.RequestsPerMinute),
		"CLIPFERRY_API_MAX_ACTIVE_EXPORTS=" + strconv.Itoa(limits.MaxActive),
	}
}

// rangeOf is the range of addresses that a server's links lead into.
func rangeOf(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return loopback
	}
	addr, err := netip.ParseAddr(u.Hostname())
	switch {
	case err != nil, addr.IsLoopback() && addr.Is4(), addr.IsUnspecified():
		return loopback
	}
	return netip.PrefixFrom(addr, addr.BitLen()).String()
}

const loopback = "127.0.0.0/8"

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
