// Command chaos runs a fleet of clipferry workers under every fault at once
// and then proves, without asking the fleet, that nothing was lost and nothing
// paid for twice. It is how the promises of docs/reliability.md are tested as
// a whole; the faults one at a time are the matter of each package's own tests.
//
//	go run ./internal/chaos -seed 7 -duration 30m -workers 4
//
// What runs is real: redis-server with an append-only file, an S3 server, the
// built clipferry binary as worker processes (one with a clock that is 30 s
// fast, one 30 s slow), the emulated provider, and producers that enqueue all
// the while. Between them and their servers stand proxies that stall, delay
// and cut. The schedule of the faults follows from the seed alone.
//
//	producers ──► wire ──► Redis ◄── wire ◄── workers ──► gateway ──► S3
//	                                             └──────► provider and its CDN
//	checker ─────────────► Redis, S3's files and the provider's books, directly
//
// It prints one line for each fault, a table at the end, and exits with 1 if a
// promise was broken, with the evidence and everything that it left on the disk.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
)

func main() { os.Exit(interruptible()) }

func interruptible() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

// silent drops what go-redis prints on its own about each lost connection.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(silent{}) }

// run is the whole command; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, dir, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "chaos:", err)
		return 2
	}
	st, err := newStage(dir, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "chaos:", err)
		return 1
	}
	report, err := play(ctx, st, cfg)
	if err != nil {
		fmt.Fprintln(stderr, "chaos:", err)
		fmt.Fprintln(stderr, "what is left of the run:", st.dir)
		st.close(false)
		return 1
	}
	report.print(stdout)
	st.close(report.kept())
	if !report.kept() {
		fmt.Fprintln(stderr, "what is left of the run:", st.dir)
		return 1
	}
	return 0
}

// config says how long and how hard a run is.
type config struct {
	seed     uint64
	duration time.Duration // of the faults; the drain comes after
	exports  int
	workers  int
	kills    int // SIGKILLs of workers
	stops    int // SIGTERMs of workers
	slots    int // the provider's limit of exports at once
	rate     int // and of requests a minute
	fsync    string
	inDoubt  export.Policy
	skew     bool // of the clocks of the first two workers
	// lapse ends the leases of dead workers at once when the drain begins,
	// instead of waiting for it: for a short run.
	lapse bool
	// within is how long after the last fault everything must be settled.
	within time.Duration
}

func parse(args []string, stderr io.Writer) (config, string, error) {
	var cfg config
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("dir", "", "where the run keeps its files (default a temporary directory)")
	flags.Uint64Var(&cfg.seed, "seed", 1, "decides the schedule of the faults and what is exported")
	flags.DurationVar(&cfg.duration, "duration", 30*time.Minute, "how long there are faults")
	flags.IntVar(&cfg.exports, "exports", 0, "exports enqueued in that time (default 40 a minute)")
	flags.IntVar(&cfg.workers, "workers", 4, "worker processes")
	flags.IntVar(&cfg.kills, "kills", 0, "SIGKILLs of workers in that time (default 11 a minute)")
	flags.IntVar(&cfg.stops, "stops", 0, "SIGTERMs of workers in that time (default 2 a minute)")
	flags.IntVar(&cfg.slots, "slots", 60, "exports at once that the provider allows")
	flags.IntVar(&cfg.rate, "rate", 1200, "requests a minute that the provider allows")
	flags.StringVar(&cfg.fsync, "fsync", "always", "Redis's appendfsync: always or everysec")
	inDoubt := flags.String("in-doubt", string(export.Resubmit), "what becomes of a submit whose answer was lost: resubmit, or hold with an operator who looks into the provider's books")
	flags.BoolVar(&cfg.skew, "skew", true, "let the clocks of two workers be 30 s off")
	flags.DurationVar(&cfg.within, "within", 5*time.Minute, "how long after the last fault all must be settled")
	if err := flags.Parse(args); err != nil {
		return cfg, "", err
	}
	if flags.NArg() > 0 {
		return cfg, "", fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	cfg.inDoubt = export.Policy(*inDoubt)
	if cfg.inDoubt != export.Resubmit && cfg.inDoubt != export.Hold {
		return cfg, "", fmt.Errorf("-in-doubt %s: it is resubmit or hold", cfg.inDoubt)
	}
	minutes := cfg.duration.Minutes()
	setDefault(&cfg.exports, int(40*minutes))
	setDefault(&cfg.kills, int(11*minutes))
	setDefault(&cfg.stops, int(2*minutes))
	if cfg.duration < 10*time.Second || cfg.exports < 1 || cfg.workers < 1 || cfg.kills < 0 || cfg.stops < 0 || cfg.slots < 1 || cfg.rate < 1 {
		return cfg, "", errors.New("the duration must be at least 10s, exports, workers, slots and rate at least 1")
	}
	return cfg, *dir, nil
}

func setDefault(field *int, value int) {
	if *field == 0 {
		*field = value
	}
}
