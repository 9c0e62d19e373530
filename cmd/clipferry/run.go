package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/pflag"

	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/nearest"
)

// The exit codes; they are part of the outside contract.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitConfig      = 3
	exitInterrupted = 130
)

// console is what a command reads from and writes to.
type console struct {
	env    []string
	stdin  io.Reader
	stdout io.Writer // results
	stderr io.Writer // messages
}

// action is a command whose flags have been read.
type action func(ctx context.Context, c *console, args []string) error

// command is one subcommand.
type command struct {
	name    string
	args    string // as the usage line has them
	summary string // one line
	details string // what a user must know beyond the flags
	flags   func(*pflag.FlagSet) action
}

// commands is in the order of the help text.
func commands() []command {
	return []command{
		enqueueCommand(), statusCommand(), listCommand(), cancelCommand(), retryCommand(),
		pauseCommand(), resumeCommand(), verifyCommand(), recoverCommand(), doctorCommand(),
		workerCommand(), serveCommand(), healthCommand(),
	}
}

// run is the program: it returns the exit code.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	redis.SetLogger(quiet{})
	c := &console{env: env, stdin: stdin, stdout: stdout, stderr: stderr}
	if len(args) == 0 {
		fmt.Fprint(stderr, help())
		return exitUsage
	}
	switch args[0] {
	case "-h", "--help", "help":
		return c.help(ctx, args[1:])
	case "--version", "version":
		fmt.Fprintln(stdout, versionLine())
		return exitDone
	}
	for _, cmd := range commands() {
		if cmd.name == args[0] {
			return c.exitCode(ctx, cmd.name, cmd.run(ctx, c, args[1:]))
		}
	}
	return c.exitCode(ctx, "", usagef("unknown command %q%s", args[0], didYouMean(args[0])))
}

func didYouMean(name string) string {
	var names []string
	for _, cmd := range commands() {
		names = append(names, cmd.name)
	}
	if meant := nearest.Name(name, names); meant != "" {
		return fmt.Sprintf("; did you mean %s?", meant)
	}
	return ""
}

func (cmd command) run(ctx context.Context, c *console, args []string) error {
	set := pflag.NewFlagSet(cmd.name, pflag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.SortFlags = false
	act := cmd.flags(set)
	version := set.Bool("version", false, "print the version")
	wanted := set.BoolP("help", "h", false, "print this help")
	if err := set.Parse(args); err != nil {
		return usagef("%s", strings.TrimPrefix(err.Error(), "pflag: "))
	}
	switch {
	case *wanted:
		fmt.Fprint(c.stdout, cmd.help(set))
		return nil
	case *version:
		fmt.Fprintln(c.stdout, versionLine())
		return nil
	}
	return act(ctx, c, set.Args())
}

// exitCode reports err, if there is anything to report, and says how to end.
func (c *console) exitCode(ctx context.Context, name string, err error) int {
	who := strings.TrimSpace("clipferry " + name)
	var usage *usageError
	var input *inputError
	var faults config.Faults
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errReported):
		return exitFailed
	case errors.As(err, &usage):
		fmt.Fprintf(c.stderr, "%s: %v\nSee `%s --help`.\n", who, err, who)
		return exitUsage
	case errors.As(err, &input):
		fmt.Fprintln(c.stderr, err)
		return exitUsage
	case errors.As(err, &faults):
		fmt.Fprintln(c.stderr, err)
		return exitConfig
	case ctx.Err() != nil:
		fmt.Fprintf(c.stderr, "%s: interrupted\n", who)
		return exitInterrupted
	default:
		text := err.Error()
		if hint := refusalHint(err); hint != "" && !strings.Contains(text, hint) {
			text += "; as for Redis: " + hint
		}
		fmt.Fprintf(c.stderr, "%s: %s\n", who, text)
		return exitFailed
	}
}

// errReported ends a command as failed whose faults have already been shown.
var errReported = errors.New("failed")

// usageError means that the command line itself is wrong.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// inputError means that what the command was given to work on is wrong. Each
// line of it stands for itself.
type inputError struct{ lines []string }

func (e *inputError) Error() string { return strings.Join(e.lines, "\n") }

// quiet drops what go-redis prints on its own about each lost connection: the
// error that comes of it is reported once.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// readable writes durations as people do, "1.5s", also in JSON, which would have
// them as nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// logger writes to stderr in the configured format.
func (c *console) logger(cfg *config.Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.LogLevel, ReplaceAttr: readable}
	if cfg.LogFormat == "text" || cfg.LogFormat == "" && isTerminal(c.stderr) {
		return slog.New(slog.NewTextHandler(c.stderr, options))
	}
	return slog.New(slog.NewJSONHandler(c.stderr, options))
}
