package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/cmd/internal/wiring"
	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/pace"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/secret"
	"github.com/clipferry/clipferry/internal/status"
)

func doctorCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "check configuration, Redis, S3, the provider's key and the clocks",
		Long: `One line a check, and what to do about each fault. It fails if one check does.
The provider's keys are checked with one status read each, which costs nothing
but counts as one of the requests a minute.`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.doctor(cmd.Context()) },
	}
}

func (c *console) doctor(ctx context.Context) error {
	d := &doctor{c: c}
	conn, needs, err := d.configuration()
	if err != nil {
		return err
	}
	defer conn.close()
	if f, proxied := checkProxies(c.env); proxied {
		d.report("proxy", f)
	}
	d.redis(ctx, conn)
	if needs&config.NeedsS3 != 0 {
		d.s3(ctx, conn)
	}
	if needs&config.NeedsAPI != 0 {
		d.provider(ctx, conn.cfg)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.failed
}

// doctor reports findings and remembers whether one is bad, and whether Redis answers.
type doctor struct {
	c       *console
	failed  error
	reached bool
}

// configuration reports what is wrong with the variables, and returns what the rest can be
// checked with: where nothing but a key or a bucket is missing, the others are checked.
func (d *doctor) configuration() (*connection, config.Needs, error) {
	needs := config.NeedsAPI | config.NeedsS3
	conn, err := d.c.open(needs)
	var faults config.Faults
	if !errors.As(err, &faults) {
		if err == nil {
			d.report("configuration", finding{good, "every variable is right", ""})
		}
		return conn, needs, err
	}
	for _, f := range faults {
		d.report("configuration", finding{bad, f.Error(), ""})
	}
	for _, needs := range []config.Needs{config.NeedsS3, config.NeedsAPI, 0} {
		if conn, err := d.c.open(needs); err == nil {
			return conn, needs, nil
		}
	}
	return nil, 0, errReported
}

func (d *doctor) report(what string, f finding) {
	color := map[verdict]string{good: "32", warn: "33", bad: "31"}[f.verdict]
	if !d.c.lively() {
		color = ""
	}
	line := cli.Sprintf("%s %s: %s", cli.Paint(fmt.Sprintf("%-4s", f.verdict), color), what, f.text)
	if f.hint != "" {
		line += cli.Sprintf("; %s", f.hint)
	}
	_ = d.c.out.Printf("%s\n", line)
	if f.verdict == bad {
		d.failed = errReported
	}
}

func (d *doctor) redis(ctx context.Context, conn *connection) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := reach(ctx, conn.cfg.Redis, conn.rdb, reachTimeout); err != nil {
		d.report("Redis", finding{bad, fmt.Sprintf("%s %v", conn.cfg.Redis, err), ""})
		return
	}
	d.reached = true
	d.report("Redis", finding{good, fmt.Sprintf("%s answers", conn.cfg.Redis), ""})
	for _, f := range examineNodes(ctx, conn.rdb) {
		d.report("Redis", f)
	}
	writes := checkWrite(ctx, conn.rdb)
	d.report("Redis", writes)
	if writes.verdict == bad {
		return // all that follows would be refused likewise
	}
	d.report("Redis", checkChannels(ctx, conn.rdb))
	d.fleet(ctx, conn.rdb)
	for _, a := range conn.cfg.Accounts() {
		d.account(ctx, conn, a)
	}
}

// account reports what stops an account's orders.
func (d *doctor) account(ctx context.Context, conn *connection, a config.Account) {
	var st budget.Status
	err := conn.withGate(a, func(g *budget.Gate) (err error) {
		st, err = g.Status(ctx)
		return err
	})
	if err != nil {
		d.report("fleet", refused("the account "+a.Name, err))
		return
	}
	if why := status.Halted(st); why != "" {
		d.report("fleet", finding{warn, "account " + a.Name + " is halted (" + st.Halted + "): it waits for " + why, "docs/operations.md, " + runbookOf(st.Halted) + ", has what to do"})
	}
}

// runbookOf is the section of docs/operations.md on what halts an account.
func runbookOf(halt string) string {
	switch halt {
	case pace.HaltForbidden:
		return "ClipferryKeyRefused"
	case pace.HaltDown:
		return "ClipferryProviderDown"
	default:
		return "ClipferryOrdersHalted"
	}
}

// fleet reports whether anybody works, and which queues an operator has stopped.
func (d *doctor) fleet(ctx context.Context, rdb redis.UniversalClient) {
	q := queue.New(rdb)
	workers, err := q.Workers(ctx)
	if err != nil {
		d.report("fleet", refused("the workers", err))
		return
	}
	f := finding{good, fmt.Sprintf("workers running: %d", workers), ""}
	if workers == 0 {
		f = finding{warn, "no worker is running", "start `clipferry worker`"}
	}
	d.report("fleet", f)
	depths, err := q.Depths(ctx, queue.All())
	if err != nil {
		d.report("fleet", refused("the queues", err))
		return
	}
	for _, name := range slices.Sorted(maps.Keys(depths)) {
		if depths[name].Paused {
			d.report("fleet", finding{warn, "queue " + name + " is paused", "`clipferry resume " + name + "` ends that"})
		}
	}
}

// probeTask is a task that no provider has.
const probeTask = "clipferry-doctor"

func (d *doctor) provider(ctx context.Context, cfg *config.Config) {
	accounts := cfg.Accounts()
	for _, a := range accounts {
		what := "provider"
		if len(accounts) > 1 {
			what += " (account " + a.Name + ")"
		}
		d.key(ctx, what, cfg.APIBaseURL, a.Key)
	}
}

// key tries one key.
func (d *doctor) key(ctx context.Context, what, address string, key secret.String) {
	client, err := provider.New(provider.Options{BaseURL: address, Key: key, UserAgent: wiring.UserAgent})
	if err != nil {
		d.report(what, finding{bad, err.Error(), ""})
		return
	}
	defer client.Close()
	_, err = client.Read(ctx, "", probeTask)
	d.report(what, keyFinding(address, err))
}

// keyFinding says what the result to a read of a task that doesn't exist means
// for the key: any answer but "forbidden" has let it in.
func keyFinding(address string, err error) finding {
	switch provider.KindOf(err) {
	case provider.NotFound, provider.Rejected:
		return finding{good, address + " accepts the key", ""}
	case provider.RateLimited:
		return finding{good, address + " accepts the key (and is at its limit of requests just now)", ""}
	case provider.Forbidden:
		return finding{bad, address + " refuses the key", "see CLIPFERRY_API_KEY"}
	}
	if err == nil {
		return finding{good, address + " accepts the key", ""}
	}
	return providerFailure("", err, "see CLIPFERRY_API_BASE_URL")
}

// providerFailure is what a failed read looks like here: with its cause, which a sentence for
// daily use leaves out, and with the hint unless the failure has one of its own.
func providerFailure(what string, err error, hint string) finding {
	const longest = 300
	var f *fault.Fault
	if errors.As(err, &f) && f.Hint != "" {
		hint = f.Hint
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return finding{bad, what + "no answer in time", hint}
	}
	return finding{bad, what + shorten(err.Error(), longest), hint}
}

// shorten leaves out the middle of a long text: a chain of errors begins with what
// was tried and ends with why it failed.
func shorten(text string, longest int) string {
	runes := []rune(text)
	if len(runes) <= longest {
		return text
	}
	head := longest / 3
	return string(runes[:head]) + " … " + string(runes[len(runes)-(longest-head):])
}
