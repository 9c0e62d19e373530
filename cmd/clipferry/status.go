package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/status"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
)

func statusCommand(c *console) *cobra.Command {
	s := &statusFlags{}
	cmd := &cobra.Command{
		Use: "status [--json] [--watch] ID…", Short: "show the state of exports",
		Long: `With --json, one object a line; waiting_for says what an export waits for, from
the same CLIPFERRY_API_* variables as the workers have. An unknown id has the
state "unknown" and makes the command fail. --watch shows every change until all
exports are final.`,
		Args: someIDs,
		RunE: func(cmd *cobra.Command, ids []string) error { return s.run(cmd.Context(), c, ids) },
	}
	cmd.Flags().BoolVar(&s.json, "json", false, "print one JSON object a line")
	cmd.Flags().BoolVar(&s.watch, "watch", false, "go on until all exports are final")
	return cmd
}

type statusFlags struct{ json, watch bool }

// unknownView is what is shown of an id that nobody knows.
type unknownView struct {
	ID    string `json:"id"`
	State string `json:"state"`
	Error string `json:"error"`
}

func newUnknown(id string) unknownView {
	return unknownView{id, "unknown", "no export has this id; one that ended long ago, or before Redis was lost, is forgotten, but what it archived stays in S3: see clipferry verify"}
}

func (s *statusFlags) run(ctx context.Context, c *console, ids []string) error {
	conn, err := c.connect(ctx, 0)
	if err != nil {
		return err
	}
	defer conn.close()
	look, err := conn.lookout()
	if err != nil {
		return err
	}
	view := &watched{c: c, screen: &screen{c: c}, look: look, last: map[string]cli.Styled{}}
	for {
		records, err := lookUp(ctx, conn.exports, ids)
		if err != nil && (!s.watch || ctx.Err() != nil) {
			return err
		}
		if err == nil {
			if err := s.show(ctx, view, ids, records); err != nil {
				return err
			}
			if !s.watch || allFinal(ids, records) {
				return anyUnknown(c, ids, records, s.json)
			}
		}
		if err := retry.Wait(ctx, interval(len(ids))); err != nil {
			return err
		}
	}
}

// lookUp loads the exports; an id that nobody knows is missing from the result.
func lookUp(ctx context.Context, exports *admin.Service, ids []string) (map[string]*export.Record, error) {
	records := make(map[string]*export.Record, len(ids))
	for _, id := range ids {
		r, err := exports.Get(ctx, id)
		if errors.Is(err, admin.ErrUnknown) && tasks.ValidID(id) {
			r, err = exports.Search(ctx, id)
		}
		switch {
		case errors.Is(err, admin.ErrUnknown):
		case err != nil:
			return nil, err
		default:
			records[id] = r
		}
	}
	return records, nil
}

// watched is what has been shown so far, and what helps to show more.
type watched struct {
	c      *console
	screen *screen
	look   *lookout
	last   map[string]cli.Styled
}

func (s *statusFlags) show(ctx context.Context, v *watched, ids []string, records map[string]*export.Record) error {
	out := v.look.at(ctx, slices.Collect(maps.Values(records)))
	if s.watch && !s.json && v.c.lively() {
		return v.screen.draw(v.fit(ids, records, out))
	}
	for _, id := range ids {
		text, err := s.render(v.c, id, records[id], out.WaitingFor[id])
		if err != nil {
			return err
		}
		if s.watch && text == v.last[id] {
			continue
		}
		v.last[id] = text
		if err := v.c.out.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// fit returns what is drawn: no more lines than the terminal has, and none that
// wraps, since neither could be drawn over. Where not all exports fit, those that
// are open go first.
func (v *watched) fit(ids []string, records map[string]*export.Record, out status.Snapshot) []cli.Styled {
	width, height := v.c.out.Size()
	var foot []cli.Styled
	for _, line := range summaries(out) {
		foot = append(foot, cli.Styled(cli.Cut(cli.Printable(line), width-1)))
	}
	room := height - 1 - len(foot)
	lines := overview(v.c, ids, records, out.WaitingFor, false)
	if len(lines) <= room {
		return append(lines, foot...)
	}
	open := func(id string) bool { r := records[id]; return r != nil && !r.State.Final() }
	sorted := slices.Clone(ids)
	slices.SortStableFunc(sorted, func(a, b string) int {
		switch {
		case open(a) == open(b):
			return 0
		case open(a):
			return -1
		}
		return 1
	})
	n := 0
	for _, id := range ids {
		if open(id) {
			n++
		}
	}
	lines = overview(v.c, sorted, records, out.WaitingFor, false)[:max(1, room-1)]
	more := cli.Cut(fmt.Sprintf("… not all fit here: %d exports, %d of them open", len(ids), n), width-1)
	lines = append(lines, cli.Styled(more))
	return append(lines, foot...)
}

// render returns the export as it is printed, with its line ends.
func (s *statusFlags) render(c *console, id string, r *export.Record, waitingFor string) (cli.Styled, error) {
	switch {
	case s.json && r == nil:
		return cli.JSONLine(newUnknown(id))
	case s.json:
		return cli.JSONLine(waitingView{view.Of(r, view.CLI), waitingFor})
	case r == nil:
		return "", nil // said once, at the end, on stderr
	case s.watch && r.State == export.Queued && waitingFor != "":
		return cli.Sprintf("%s %s, waits for %s\n", r.ID, progressLine(r), waitingFor), nil
	case s.watch:
		return cli.Sprintf("%s %s\n", r.ID, progressLine(r)), nil
	default:
		return lines(details(c, r, waitingFor)), nil
	}
}

func allFinal(ids []string, records map[string]*export.Record) bool {
	for _, id := range ids {
		if r := records[id]; r != nil && !r.State.Final() {
			return false
		}
	}
	return true
}

func anyUnknown(c *console, ids []string, records map[string]*export.Record, told bool) error {
	var failed error
	for _, id := range ids {
		if records[id] != nil {
			continue
		}
		failed = errReported
		if !told {
			_ = c.msg.Printf("%s: unknown: %s\n", id, newUnknown(id).Error)
		}
	}
	return failed
}

// details is everything a person wants to know of one export.
func details(c *console, r *export.Record, waitingFor string) []cli.Styled {
	v := view.Of(r, view.CLI)
	out := []cli.Styled{cli.Sprintf("%s  %s", v.ID, cli.Paint(v.State, c.color(r.State)))}
	add := func(name, format string, args ...any) {
		out = append(out, cli.Sprintf("  %-9s %s", name, cli.Sprintf(format, args...)))
	}
	if v.Error != "" {
		add("error", "%s%s", v.Error, whenTried(v.Since, v.NextTry))
	}
	if waitingFor != "" {
		add("waits for", "%s", waitingFor)
	}
	if v.Account != "" {
		add("account", "%s", v.Account)
	}
	if v.ProjectID != "" {
		add("project", "%s", v.ProjectID)
	}
	if v.ExportTaskID != "" {
		add("task", "%s (%s, %d polls, %g units)", v.ExportTaskID, v.ProviderStatus, v.Polls, v.CostUsage)
	}
	if v.InDoubt > 0 {
		add("in doubt", "%d of %d paid requests: their answers were lost", v.InDoubt, v.Attempts)
	}
	for _, task := range v.Duplicates {
		add("duplicate", "%s: paid for as well, after a lost answer", task)
	}
	if v.ExpireAt != nil {
		add("expires", "%s (%s)", v.ExpireAt.Format(time.DateTime+" MST"), untilText(*v.ExpireAt))
	}
	add("created", "%s", v.CreatedAt.Format(time.DateTime+" MST"))
	add("updated", "%s", v.UpdatedAt.Format(time.DateTime+" MST"))
	if len(v.Clips) > 0 {
		add("clips", "%d of %d archived", r.ArchivedCount, r.ClipCount)
	}
	for _, clip := range v.Clips {
		out = append(out, clipLine(clip))
	}
	if v.Manifest != "" {
		add("manifest", "%s", v.Manifest)
	}
	return out
}

// whenTried says since when what failed fails, and when it is tried next.
func whenTried(since, next *time.Time) string {
	var parts []string
	if since != nil {
		parts = append(parts, "since "+since.Format(time.DateTime+" MST"))
	}
	if next != nil && time.Until(*next) > 0 {
		parts = append(parts, "next try in "+briefly(time.Until(*next)))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func clipLine(clip view.Clip) cli.Styled {
	line := cli.Sprintf("    %3d %-9s", clip.Idx, clip.State)
	switch {
	case clip.Key != "":
		line += cli.Sprintf(" %10s  %s", size(clip.Size), clip.Key)
	case clip.Error != "":
		line += cli.Sprintf(" %s", clip.Error)
		if clip.NextTry != nil && time.Until(*clip.NextTry) > 0 {
			line += cli.Sprintf("; next try in %s", briefly(time.Until(*clip.NextTry)))
		}
	default:
		line += cli.Sprintf(" %s", cli.Cut(clip.Title, 60))
	}
	return line
}
