package cli

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// HelpWidth is how many columns help texts take: those of the narrowest terminal
// that anybody reads them in.
const HelpWidth = 80

// showHelp prints the help of a command; a program's lists its commands.
func showHelp(cmd *cobra.Command, _ []string) {
	var b strings.Builder
	if cmd.HasParent() {
		fmt.Fprintf(&b, "%s\n\nUsage:\n  %s\n", cmd.Short, cmd.UseLine())
		if details := strings.TrimSpace(strings.TrimPrefix(cmd.Long, cmd.Short)); details != "" {
			fmt.Fprintf(&b, "\n%s\n", details)
		}
	} else {
		fmt.Fprintf(&b, "%s\n\nUsage:\n", cmd.Short)
		if worksAlone(cmd) {
			fmt.Fprintf(&b, "  %s\n", cmd.UseLine())
		}
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			fmt.Fprintf(&b, "  %s\n%s", sub.UseLine(), Fold(sub.Short, "      ", HelpWidth))
		}
	}
	if flags := cmd.LocalFlags(); cmd.HasParent() || worksAlone(cmd) {
		const noise = "[=true|false]" // of every switch
		usages := strings.ReplaceAll(flags.FlagUsagesWrapped(HelpWidth), noise, strings.Repeat(" ", len(noise)))
		fmt.Fprintf(&b, "\nFlags:\n%s", usages)
	}
	if !cmd.HasParent() {
		fmt.Fprintf(&b, "\n%s\n", strings.Trim(cmd.Long, "\n"))
	}
	fmt.Fprint(cmd.OutOrStdout(), b.String())
}

// worksAlone reports whether a program does something without a command.
func worksAlone(root *cobra.Command) bool { return strings.Contains(root.Use, " ") }

// helpCommand is `help [COMMAND]`.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "show the help of a command", Hidden: true,
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || cmd == root && len(args) > 0 {
				return UnknownCommand(root, args[0])
			}
			if len(rest) > 0 {
				return UnknownCommand(cmd, rest[0])
			}
			return cmd.Help()
		},
	}
}

// CompletionCommand is `completion SHELL`, with the scripts that Cobra makes.
func CompletionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use: "completion SHELL", Short: "print what lets a shell complete commands, flags and their values",
		Long: `SHELL is bash, zsh, fish or powershell.
To try it:  source <(clipferry completion bash)
To keep it: clipferry completion bash >/etc/bash_completion.d/clipferry
            clipferry completion zsh >"${fpath[1]}/_clipferry"
            clipferry completion fish >~/.config/fish/completions/clipferry.fish`,
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return Usagef("give one shell: %s", strings.Join(shells, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			default:
				return root.GenPowerShellCompletionWithDesc(out)
			}
		},
	}
}

// Fold breaks text between words into lines of the width at most, each after the
// indent and with its end. A word that is longer has a line of its own.
func Fold(text, indent string, width int) string {
	line, out := indent, ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == indent:
			line += word
		case Columns(line)+1+Columns(word) > width:
			out, line = out+line+"\n", indent+word
		default:
			line += " " + word
		}
	}
	return out + line + "\n"
}

// VersionLine names the program, its version, the commit where it is known, and
// Go's version. The version is what the linker has set, if anything.
func VersionLine(program, version string) string {
	commit, goVersion := "", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		goVersion = info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = " (" + s.Value[:min(12, len(s.Value))] + ")"
			}
		}
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s%s %s", program, Version(version), commit, goVersion))
}

// Version is the version that the linker has set, that of the module for a
// program that was installed with `go install`, or "(devel)".
func Version(linked string) string {
	if linked != "" {
		return linked
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
