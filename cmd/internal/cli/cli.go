// Package cli is what the command lines of both programs have in common: how
// wrong usage is said, exit codes, the layout of help, and the one printer
// through which text of other people's reaches a terminal. It knows nothing of
// exports.
package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/clipferry/clipferry/internal/nearest"
)

// The exit codes; they are part of the outside contract.
const (
	Done        = 0
	Failed      = 1
	Usage       = 2
	Config      = 3
	Interrupted = 130
)

// UsageError means that the command line itself is wrong.
type UsageError struct{ message string }

func (e *UsageError) Error() string { return e.message }

// Usagef returns a UsageError.
func Usagef(format string, args ...any) error {
	return &UsageError{Sprintf(format, args...).String()}
}

// Execute runs the command that args name. The command returned is the one that
// err belongs to; what Cobra refuses before a command begins is a [UsageError].
func Execute(ctx context.Context, root *cobra.Command, args []string, out, msg *Printer) (*cobra.Command, error) {
	began := false
	root.PersistentPreRun = func(*cobra.Command, []string) { began = true }
	cobra.EnableCommandSorting = false // the order is that of a day's work
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetOut(out.Text())
	root.SetErr(msg.Text())
	root.SetArgs(args)
	root.SetHelpFunc(showHelp)
	root.SetHelpCommand(helpCommand(root))
	root.SetFlagErrorFunc(flagError)
	root.SetVersionTemplate("{{.Version}}\n")
	root.CompletionOptions.DisableDefaultCmd = true // ours fails for a shell that it doesn't know
	prepare(root, root.Version)
	cmd, err := root.ExecuteContextC(ctx)
	var usage *UsageError
	if err != nil && !began && !errors.As(err, &usage) {
		err = Usagef("%s", err)
	}
	if lost := out.Failed(); err == nil && lost != nil {
		err = fmt.Errorf("print the results: %w", lost)
	}
	return cmd, err
}

// prepare gives every command what all of them have.
func prepare(cmd *cobra.Command, version string) {
	cmd.Version = version
	cmd.DisableFlagsInUseLine = true
	cmd.Flags().SortFlags = false
	cmd.Flags().Bool("version", false, "print the version")
	cmd.Flags().BoolP("help", "h", false, "print this help")
	for _, sub := range cmd.Commands() {
		prepare(sub, version)
	}
}

// flagError says which flag was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || len(unknown.GetSpecifiedName()) < 2 {
		return Usagef("%s", err)
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return Usagef("%s%s", err, DidYouMean("--", unknown.GetSpecifiedName(), names))
}

// NoArgs refuses arguments.
func NoArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usagef("unexpected argument %q", args[0])
	}
	return nil
}

// UnknownCommand says that cmd has no such command, and which was probably meant.
func UnknownCommand(cmd *cobra.Command, name string) error {
	var names []string
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	return Usagef("unknown command %q%s", name, DidYouMean("", name, names))
}

// DidYouMean is "; did you mean X?" where one of the names is close enough.
func DidYouMean(prefix, word string, names []string) string {
	if meant := nearest.Name(word, names); meant != "" {
		return fmt.Sprintf("; did you mean %s%s?", prefix, meant)
	}
	return ""
}

// Empty refuses flags that were given nothing, as by a variable of a script that is not
// set: a filter without its value would let everything through. They are left out for
// what without says.
func Empty(set *pflag.FlagSet, without string, names ...string) error {
	var faults []error
	for _, name := range names {
		if f := set.Lookup(name); f.Changed && f.Value.String() == "" {
			faults = append(faults, Usagef("--%s must not be empty; leave it out for %s", name, without))
		}
	}
	return errors.Join(faults...)
}

// Explain writes a [UsageError], or several that are joined, one a line, to the messages
// of the command that they belong to.
func Explain(to *Printer, cmd *cobra.Command, err error) {
	for fault := range strings.SplitSeq(err.Error(), "\n") {
		_ = to.Printf("%s: %s\n", cmd.CommandPath(), fault)
	}
	_ = to.Printf("See `%s --help`.\n", cmd.CommandPath())
}

// Env returns the value of a variable in env, which has the form of os.Environ.
func Env(env []string, name string) string {
	value := ""
	for _, pair := range env {
		if v, ok := strings.CutPrefix(pair, name+"="); ok {
			value = v
		}
	}
	return value
}
