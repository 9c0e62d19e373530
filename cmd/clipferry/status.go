package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/status"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
)

func statusCommand(c *console) *cobra.Command {
	s := &statusFlags{}
	cmd := &cobra.Command{
		Use: "status [--json | --links] [--watch] ID… | --batch NAME", Short: "show the state of exports",
		Long: `With --json, one object a line; waiting_for says what an export waits for,
from the same CLIPFERRY_API_* variables as the workers have, and notification
what became of the call of its webhook, or of its task. An unknown id
has the state "unknown" and makes the command fail. --watch shows every
change until all exports are final. What Redis has forgotten is read from S3,
where the bucket is configured.`,
		Args: func(cmd *cobra.Command, ids []string) error {
			switch {
			case s.batch != "" && len(ids) > 0:
				return cli.Usagef("--batch and ids exclude each other")
			case s.batch != "" && s.links:
				return cli.Usagef("--batch and --links exclude each other")
			case s.batch != "" && !tasks.ValidBatch(s.batch):
				return cli.Usagef("--batch must be %s, not %q", tasks.BatchRule, s.batch)
			case s.batch != "":
				return nil
			}
			return someIDs(cmd, ids)
		},
		RunE: func(cmd *cobra.Command, ids []string) error {
			if s.batch != "" {
				return s.runBatch(cmd.Context(), c)
			}
			return s.run(cmd.Context(), c, ids)
		},
	}
	cmd.Flags().StringVar(&s.batch, "batch", "", "show the batch `NAME`: how many of its members are in which state, and what failed")
	cmd.Flags().BoolVar(&s.json, "json", false, "print one JSON object a line")
	cmd.Flags().BoolVar(&s.links, "links", false, "print a link to each archived clip, which anybody can use for an hour")
	cmd.Flags().BoolVar(&s.watch, "watch", false, "go on until all exports are final")
	return cmd
}

type statusFlags struct {
	json, links, watch bool
	batch              string
}

// unknownView is what is shown of an id that nobody knows.
type unknownView struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	Error  string `json:"error"`
	Reason string `json:"reason"`
}

func newUnknown(id string) unknownView {
	return unknownView{id, "unknown", "no export has this id; one that ended long ago, or before Redis was lost, is forgotten, but what it archived stays in S3: see clipferry verify", "not_found"}
}

func (s *statusFlags) run(ctx context.Context, c *console, ids []string) error {
	if s.links && (s.json || s.watch) {
		return cli.Usagef("--links goes with neither --json nor --watch")
	}
	conn, err := c.connect(ctx, 0)
	if err != nil {
		return err
	}
	defer conn.close()
	snapshots, err := conn.snapshots()
	if err != nil {
		return err
	}
	find := newFinder(c, conn)
	if s.links {
		return find.links(ctx, ids)
	}
	view := &shown{c: c, screen: &screen{c: c}, snapshots: snapshots, last: map[string]cli.Styled{}}
	for {
		records, err := find.all(ctx, ids)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !s.watch { // what is known is shown all the same
			known := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return records[id] == nil })
			return cmp.Or(s.show(ctx, view, known, records), err)
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

// shown is what is on the screen so far, and what helps to show more.
type shown struct {
	c         *console
	screen    *screen
	snapshots *snapshots
	last      map[string]cli.Styled
}

func (s *statusFlags) show(ctx context.Context, v *shown, ids []string, records map[string]*export.Record) error {
	out := v.snapshots.of(ctx, slices.Collect(maps.Values(records)))
	if s.watch && !s.json && v.c.lively() {
		return v.screen.draw(v.fit(ids, records, out))
	}
	for _, id := range ids {
		text, err := s.render(ctx, v, id, records[id], out.WaitingFor[id])
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
func (v *shown) fit(ids []string, records map[string]*export.Record, out status.Snapshot) []cli.Styled {
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
func (s *statusFlags) render(ctx context.Context, v *shown, id string, r *export.Record, waiting status.Waiting) (cli.Styled, error) {
	switch {
	case s.json && r == nil:
		return cli.JSONLine(newUnknown(id))
	case s.json:
		return cli.JSONLine(waitingView{view.Of(r, view.CLI).At(time.Now()), waiting.Text, waiting.Reason, v.snapshots.notification(ctx, r)})
	case r == nil:
		return "", nil // said once, at the end, on stderr
	case s.watch:
		return cli.Sprintf("%s %s\n", r.ID, progressLine(r, waiting.Text)), nil
	default:
		return lines(details(v.c, r, waiting.Text, v.snapshots.notification(ctx, r))), nil
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

func anyUnknown(c *console, ids []string, records map[string]*export.Record, reported bool) error {
	var failed error
	for _, id := range ids {
		r := records[id]
		if r != nil && r.State != export.Unreadable {
			continue
		}
		failed = errReported
		if r == nil && !reported {
			_ = c.msg.Printf("%s: unknown: %s\n", cmp.Or(id, `""`), newUnknown(id).Error)
		}
	}
	return failed
}
