package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/cmd/internal/wiring"
	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/preflight"
	"github.com/clipferry/clipferry/tasks"
)

// preflightWait is how long a read waits for its turn; somebody watches.
const preflightWait = 2 * time.Minute

func preflightCommand(c *console) *cobra.Command {
	var e tasks.Export
	var asJSON bool
	cmd := &cobra.Command{
		Use: "preflight [--resolution R] [--account A] [--json] PROJECT…", Short: "say what exports of projects would come to, without ordering",
		Long: `Each project is read once, through the account's budget, and remembered for a
while: whether it exists and until when, its clips and their lengths, the
units that its export should cost by what this account was charged so far,
what is left of today's cap, and when it would start and end.`,
		Args: someIDs,
		RunE: func(cmd *cobra.Command, projects []string) error {
			if err := cli.Empty(cmd.Flags(), "the default", "resolution", "account"); err != nil {
				return err
			}
			exports := make([]tasks.Export, len(projects))
			wrong := &inputError{}
			for i, project := range projects {
				exports[i] = e
				exports[i].ProjectID = project
				if err := exports[i].Validate(); err != nil {
					wrong.lines = append(wrong.lines, faultLines(fmt.Sprintf("project %q: ", project), err)...)
				}
			}
			if len(wrong.lines) > 0 {
				return wrong
			}
			conn, err := c.connect(cmd.Context(), config.NeedsAPI)
			if err != nil {
				return err
			}
			defer conn.close()
			report, err := c.check(cmd.Context(), conn, exports)
			if err != nil {
				return err
			}
			return c.printReport(report, func(int) string { return "" }, asJSON)
		},
	}
	cmd.Flags().StringVar(&e.Resolution, "resolution", "", "`VALUE`: "+strings.Join(tasks.Allowed("resolution"), ", "))
	cmd.Flags().StringVar(&e.Account, "account", "", "the provider's account to use, by its `name` in CLIPFERRY_API_KEYS; left out, the default")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	completes(cmd, "resolution", tasks.Allowed("resolution"))
	return cmd
}

// check says what the exports would come to.
func (c *console) check(ctx context.Context, conn *connection, exports []tasks.Export) (preflight.Report, error) {
	accounts, closeAccounts, err := wiring.Accounts(conn.cfg, conn.rdb, c.logger(conn.cfg))
	if err != nil {
		return preflight.Report{}, err
	}
	defer closeAccounts()
	s, err := wiring.Preflight(conn.cfg, conn.rdb, accounts, preflightWait, 0)
	if err != nil {
		return preflight.Report{}, err
	}
	return s.Check(ctx, "", exports, nil)
}

// printReport prints what was found, each export with where it stands in a file, and
// fails if something is impossible.
func (c *console) printReport(report preflight.Report, where func(i int) string, asJSON bool) error {
	if asJSON {
		if err := c.out.JSON(report); err != nil {
			return err
		}
	} else {
		for i, x := range report.Exports {
			if err := c.out.Write(lines(reportLines(where(i), x))); err != nil {
				return err
			}
		}
		if err := c.out.Write(lines(totalLines(report.Total))); err != nil {
			return err
		}
	}
	if report.Impossible() {
		return errReported
	}
	return nil
}

func reportLines(where string, x preflight.Export) []cli.Styled {
	out := []cli.Styled{cli.Sprintf("%sproject %s  %s", where, x.ProjectID, standing(x))}
	add := func(name, format string, args ...any) {
		out = append(out, cli.Sprintf("  %-10s %s", name, cli.Sprintf(format, args...)))
	}
	for _, text := range x.Impossible {
		add("impossible", "%s", text)
	}
	for _, text := range x.Warnings {
		add("warning", "%s", text)
	}
	if x.ExpiresAt != nil {
		add("expires", "%s (%s)", x.ExpiresAt.Format(time.DateTime+" MST"), untilText(*x.ExpiresAt))
	}
	for _, clip := range x.Clips {
		add("clip", "%3d %6.0f s  %s", clip.Idx, clip.Seconds, cli.Cut(clip.Title, 60))
	}
	if len(x.Clips) > 0 {
		add("renders", "%.0f s in %s, %s", x.Seconds, x.Resolution, costText(x.Expected))
	}
	if x.StartsAt != nil {
		when := "in a moment"
		if in := time.Until(*x.StartsAt); in >= 5*time.Second {
			when = "in about " + briefly(in)
		}
		text := fmt.Sprintf("%d before it, starts %s", x.Place, when)
		if x.EndsAt != nil {
			text += ", is done in about " + briefly(time.Until(*x.EndsAt))
		}
		add("in line", "%s", text)
	}
	return out
}

func standing(x preflight.Export) string {
	switch {
	case x.Unread != "":
		return "not read: " + x.Unread
	case x.Exists != nil && !*x.Exists:
		return "does not exist"
	default:
		return "exists (" + x.Kind + ", " + x.Status + ")"
	}
}

func costText(cost preflight.Cost) string {
	if !cost.Known {
		return "units unknown: nothing like it was charged yet"
	}
	return fmt.Sprintf("about %.4g units (%.4g to %.4g, by %d charges)", cost.Median, cost.Low, cost.High, cost.Samples)
}

func totalLines(t preflight.Total) []cli.Styled {
	what := fmt.Sprintf("in all: %d exports, %.0f s", t.Exports, t.Seconds)
	switch read := t.Exports - t.Unread; {
	case t.Unread == 0:
	case read == 0:
		what = fmt.Sprintf("in all: %d exports, none of them read", t.Exports)
	default:
		what += fmt.Sprintf(" in the %d that were read; %d not", read, t.Unread)
	}
	switch {
	case t.Expected.Known:
		what += fmt.Sprintf(", about %.4g units (%.4g to %.4g)", t.Expected.Median, t.Expected.Low, t.Expected.High)
	case t.Expected.Median > 0:
		what += fmt.Sprintf(", about %.4g units for those of which it is known", t.Expected.Median)
	}
	if t.Impossible > 0 {
		what += fmt.Sprintf(", %d impossible", t.Impossible)
	}
	if t.EndsAt != nil {
		what += ", done in about " + briefly(time.Until(*t.EndsAt))
	}
	out := []cli.Styled{cli.Styled(cli.Printable(what))}
	for _, day := range t.Days {
		if day.Left != nil {
			out = append(out, cli.Sprintf("account %s: %.4g of today's %.4g units are left", day.Account, *day.Left, *day.Cap))
		}
	}
	return out
}
