package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
)

// version is set when a release is built.
var version = ""

// console is what the program reads from and writes to.
type console struct {
	env []string
	out *cli.Printer // results
	msg *cli.Printer // messages
}

// run is the program: it returns the exit code.
func run(ctx context.Context, args, env []string, _ io.Reader, stdout, stderr io.Writer) int {
	c := &console{env: env, out: cli.NewPrinter(stdout), msg: cli.NewPrinter(stderr)}
	cmd, err := cli.Execute(ctx, rootCommand(c), args, c.out, c.msg)
	var usage *cli.UsageError
	switch {
	case err == nil:
		return cli.Done
	case ctx.Err() != nil:
		return cli.Interrupted
	case errors.As(err, &usage):
		cli.Explain(c.msg, cmd, err)
		return cli.Usage
	default:
		_ = c.msg.Lines(cmd.CommandPath() + ": " + err.Error() + "\n")
		return cli.Failed
	}
}

// rootCommand is the program: alone it is the demonstration.
func rootCommand(c *console) *cobra.Command {
	d := &demo{c: c}
	root := &cobra.Command{
		Use:   "clipferry-dev [flags]",
		Short: "clipferry-dev shows clipferry at work with nothing to install.",
		Long: `Without a command it exports the clips of three sample projects and prints where
they are. See clipferry-dev provider --help for the provider's flags.`,
		Version: cli.VersionLine("clipferry-dev", version),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cli.UnknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if d.dir == "" {
				return cli.Usagef("--dir must not be empty; . is the current directory")
			}
			return d.run(cmd.Context())
		},
	}
	set := root.Flags()
	set.StringVar(&d.dir, "dir", "clipferry-archive", "`DIR` for the archive; what is there stays")
	set.Float64Var(&d.speed, "speed", 30, "how much faster than with the provider renders are done")
	set.BoolVar(&d.keep, "serve", false, "keep everything up after the samples, for a browser or your own programs")
	root.AddCommand(providerCommand(c), cli.CompletionCommand())
	return root
}
