package main

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/pflag"
)

// version is set by the linker in released builds.
var version = ""

// versionLine names the version, the commit where it is known, and Go's.
func versionLine() string {
	v, commit, goVersion := version, "", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		goVersion = info.GoVersion
		if v == "" && info.Main.Version != "" {
			v = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = " (" + s.Value[:min(12, len(s.Value))] + ")"
			}
		}
	}
	if v == "" {
		v = "(devel)"
	}
	return strings.TrimSpace(fmt.Sprintf("clipferry %s%s %s", v, commit, goVersion))
}

// help is the text of `clipferry --help`.
func help() string {
	var b strings.Builder
	b.WriteString("clipferry exports clips through the provider's API and archives them in S3.\n\nUsage:\n")
	for _, cmd := range commands() {
		fmt.Fprintf(&b, "  clipferry %s\n      %s\n", cmd.usage(), cmd.summary)
	}
	b.WriteString(`
  clipferry COMMAND --help   the flags of a command
  clipferry --version

Configuration comes from the environment (CLIPFERRY_…, AWS_…).
Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 configuration wrong,
130 interrupted.
`)
	return b.String()
}

func (cmd command) usage() string { return strings.TrimSpace(cmd.name + " " + cmd.args) }

// help is the text of `clipferry COMMAND --help`.
func (cmd command) help(set *pflag.FlagSet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nUsage:\n  clipferry %s\n", cmd.summary, cmd.usage())
	if cmd.details != "" {
		fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(cmd.details))
	}
	fmt.Fprintf(&b, "\nFlags:\n%s", set.FlagUsagesWrapped(helpWidth))
	return b.String()
}

// helpWidth is how many columns help texts take: those of the narrowest terminal
// that anybody reads them in.
const helpWidth = 80

// fold breaks text between words into lines of the width at most, each after the
// indent and with its end. A word that is longer stands alone.
func fold(text, indent string, width int) string {
	line, out := indent, ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == indent:
			line += word
		case columns(line)+1+columns(word) > width:
			out, line = out+line+"\n", indent+word
		default:
			line += " " + word
		}
	}
	return out + line + "\n"
}

// help serves `clipferry help [COMMAND]`.
func (c *console) help(ctx context.Context, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(c.stdout, help())
		return exitDone
	}
	for _, cmd := range commands() {
		if cmd.name == args[0] {
			return c.exitCode(ctx, cmd.name, cmd.run(ctx, c, []string{"--help"}))
		}
	}
	return c.exitCode(ctx, "", usagef("unknown command %q%s", args[0], didYouMean(args[0])))
}
