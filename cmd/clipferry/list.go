package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/status"
	"github.com/clipferry/clipferry/internal/view"
)

func listCommand(c *console) *cobra.Command {
	l := &list{}
	cmd := &cobra.Command{
		Use: "list [--state S] [--label NAME=VALUE] … [--limit N] [--json]", Short: "list exports, newest first",
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return l.run(cmd.Context(), c) },
	}
	l.define(cmd)
	set := cmd.Flags()
	set.IntVar(&l.limit, "limit", 50, "at most `N` exports")
	set.BoolVar(&l.json, "json", false, "print one JSON object a line, as status does")
	return cmd
}

type list struct {
	filterFlags
	limit int
	json  bool
}

const maxList = 100_000

func (l *list) run(ctx context.Context, c *console) error {
	filter, err := l.filter(time.Now())
	if l.limit < 1 || l.limit > maxList {
		err = errors.Join(err, cli.Usagef("--limit must be from 1 to %d, not %d", maxList, l.limit))
	}
	if err != nil {
		return err
	}
	filter.Limit = l.limit
	conn, err := c.connect(ctx, 0)
	if err != nil {
		return err
	}
	defer conn.close()
	records, err := conn.exports.List(ctx, filter)
	if err != nil {
		return err
	}
	snapshots, err := conn.snapshots()
	if err != nil {
		return err
	}
	out := snapshots.of(ctx, records)
	if l.json {
		return conn.printViews(ctx, c, records, out.WaitingFor)
	}
	ids := make([]string, len(records))
	byID := make(map[string]*export.Record, len(records))
	for i, r := range records {
		ids[i], byID[r.ID] = r.ID, r
	}
	if len(records) == 0 {
		return c.msg.Printf("no exports\n")
	}
	if err := c.out.Write(lines(overview(c, ids, byID, out.WaitingFor, true))); err != nil {
		return err
	}
	c.printSummaries(out)
	return nil
}

func stateNames() []string {
	var names []string
	for _, s := range export.States() {
		names = append(names, string(s))
	}
	return names
}

// printViews prints the exports whole: a list without their clips would not look
// unlike that of exports that have none. They are loaded one at a time, since
// many at once may be large.
func (conn *connection) printViews(ctx context.Context, c *console, records []*export.Record, waiting map[string]status.Waiting) error {
	for _, r := range records {
		if r.ClipCount > 0 {
			whole, err := conn.ledger.Load(ctx, r.ID)
			switch {
			case errors.Is(err, ledger.ErrUnknown): // forgotten meanwhile
			case err != nil:
				return err
			default:
				r = whole
			}
		}
		if err := c.out.JSON(waitingView{Export: view.Of(r, view.CLI).At(time.Now()), WaitingFor: waiting[r.ID].Text, WaitingReason: waiting[r.ID].Reason}); err != nil {
			return err
		}
	}
	return nil
}
