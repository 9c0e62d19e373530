package main

import (
	"context"
	"errors"
	"io"
	"log"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/redisfault"
)

// version is set by the linker in released builds.
var version = ""

// console is what a command reads from and writes to.
type console struct {
	env   []string
	stdin io.Reader
	out   *cli.Printer // results
	msg   *cli.Printer // messages
}

// run is the program: it returns the exit code.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	redis.SetLogger(quiet{})
	log.SetOutput(io.Discard) // where net/http remarks on servers that send more than their answer
	c := &console{env: env, stdin: stdin, out: cli.NewPrinter(stdout), msg: cli.NewPrinter(stderr)}
	cmd, err := cli.Execute(ctx, rootCommand(c), args, c.out, c.msg)
	return c.exitCode(ctx, cmd, err)
}

// rootCommand is the program as Cobra sees it. Its commands are in the order of
// the help text.
func rootCommand(c *console) *cobra.Command {
	root := &cobra.Command{
		Use:   "clipferry",
		Short: "clipferry exports clips through the provider's API and archives them in S3.",
		Long: `  clipferry COMMAND --help   the flags of a command
  clipferry --version

Configuration comes from the environment (CLIPFERRY_…, AWS_…).
Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 configuration wrong,
130 interrupted.`,
		Version: cli.VersionLine("clipferry", version),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cli.UnknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SetOut(c.msg.Text()) // nobody asked for help: it is a message
			return errors.Join(cmd.Help(), errNoCommand)
		},
	}
	root.AddCommand(
		enqueueCommand(c), importCommand(c), preflightCommand(c), statusCommand(c), listCommand(c), cancelCommand(c), retryCommand(c),
		pauseCommand(c), resumeCommand(c), findCommand(c), catalogCommand(c), verifyCommand(c), recoverCommand(c), doctorCommand(c),
		workerCommand(c), serveCommand(c), healthCommand(c), cli.CompletionCommand(), manCommand(c), versionCommand(c),
	)
	return root
}

func versionCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version", Hidden: true, Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.out.Printf("%s\n", cmd.Version) },
	}
}

// errNoCommand ends the program that was given no command and has shown its help.
var errNoCommand = errors.New("no command")

// errReported ends a command as failed whose faults have already been shown.
var errReported = errors.New("failed")

// exitCode reports err, if there is anything to report, and says how to end.
func (c *console) exitCode(ctx context.Context, cmd *cobra.Command, err error) int {
	var usage *cli.UsageError
	var input *inputError
	var faults config.Faults
	switch {
	case err == nil:
		return cli.Done
	case errors.Is(err, errReported):
		return cli.Failed
	case errors.Is(err, errNoCommand):
		return cli.Usage
	case errors.As(err, &usage):
		cli.Explain(c.msg, cmd, err)
		return cli.Usage
	case errors.As(err, &input):
		_ = c.msg.Lines(err.Error() + "\n")
		return cli.Usage
	case errors.As(err, &faults):
		_ = c.msg.Lines(err.Error() + "\n")
		return cli.Config
	case ctx.Err() != nil:
		_ = c.msg.Printf("%s: interrupted\n", cmd.CommandPath())
		return cli.Interrupted
	default:
		text := plainly(err)
		if fault := redisfault.Of(err); fault.Code != "" && !strings.Contains(text, fault.Hint) {
			text += "; as for Redis: " + fault.Hint
		}
		_ = c.msg.Printf("%s: ", cmd.CommandPath())
		_ = c.msg.Lines(text + "\n")
		return cli.Failed
	}
}

// plainly is the text of an error whose last words say nothing to most people in
// words that do.
func plainly(err error) string {
	text := err.Error()
	for _, said := range []struct{ bare, plain string }{
		{"EOF", "the connection was closed"},
		{"context canceled", "it was given up"},
		{"context deadline exceeded", "no answer in time"},
		{"redis: nil", "what was there is gone"},
	} {
		if before, ok := strings.CutSuffix(text, said.bare); ok {
			return strings.TrimSuffix(before, "unexpected ") + said.plain
		}
	}
	return text
}

// inputError means that what the command was given to work on is wrong. Each
// line of it is a message of its own.
type inputError struct{ lines []string }

func (e *inputError) Error() string { return strings.Join(e.lines, "\n") }

// quiet drops what go-redis prints on its own about each lost connection: the
// error that comes of it is reported once.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// lively reports whether a person watches the results.
func (c *console) lively() bool { return cli.Lively(c.env, c.out, c.msg) }
