package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/pflag"
)

// The exit codes are those of clipferry.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

const helpText = `clipferry-dev shows clipferry at work with nothing to install.

Usage:
  clipferry-dev [flags]            export the clips of three sample projects and print where they lie
  clipferry-dev provider [flags]   run the emulated provider alone

Flags of clipferry-dev:
%s
See clipferry-dev provider --help for the provider's.
`

// version is set when a release is built.
var version = "dev"

// errUsage means that the command line itself is wrong.
var errUsage = errors.New("wrong usage")

// run is the program: it returns the exit code.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var err error
	switch {
	case len(args) > 0 && args[0] == "provider":
		err = provider(ctx, args[1:], stdout, stderr)
	case len(args) > 0 && args[0] == serveS3Command: // not for people: the demo starts itself with it
		err = serveS3(ctx, args[1:], env, stdin)
	default:
		err = demo(ctx, args, env, stdout, stderr)
	}
	switch {
	case err == nil, errors.Is(err, pflag.ErrHelp):
		return exitDone
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "clipferry-dev: %v\nSee `clipferry-dev --help`.\n", err)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "clipferry-dev: %v\n", err)
		return exitFailed
	}
}

// parse reads flags; help and version are printed and end as pflag.ErrHelp.
func parse(set *pflag.FlagSet, args []string, stdout io.Writer, help string) error {
	set.SortFlags = false
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	showVersion := set.Bool("version", false, "print the version")
	err := set.Parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		fmt.Fprintf(stdout, help, set.FlagUsages())
		return pflag.ErrHelp
	case err != nil:
		return fmt.Errorf("%w: %w", errUsage, err)
	case *showVersion:
		fmt.Fprintln(stdout, "clipferry-dev", version)
		return pflag.ErrHelp
	case set.NArg() > 0:
		return fmt.Errorf("%w: unexpected argument %q", errUsage, set.Arg(0))
	}
	return nil
}
