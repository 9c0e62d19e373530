package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/status"
	"github.com/clipferry/clipferry/internal/view"
)

// wait shows the progress of the exports until each is final. It fails unless
// all are archived.
func (c *console) wait(ctx context.Context, conn *connection, ids []string) error {
	snapshots, err := conn.snapshots()
	if err != nil {
		return err
	}
	var show shower = &plain{c: c, last: map[string]string{}}
	if c.lively() {
		show = newBar(c, len(ids))
	}
	records := make(map[string]*export.Record, len(ids))
	for {
		open, err := refresh(ctx, conn.exports, ids, records)
		if err == nil {
			out := snapshots.of(ctx, slices.Collect(maps.Values(records)))
			show.update(ids, records, out.WaitingFor)
			if open == 0 {
				break
			}
		} else if ctx.Err() == nil && !errors.Is(err, admin.ErrUnknown) {
			show.trouble(err) // a Redis that is away for a while ends no waiting
		}
		if err := retry.Wait(ctx, interval(open)); err != nil {
			show.end()
			_ = c.msg.Printf("the exports go on; see `clipferry status`\n")
			return err
		}
	}
	show.end()
	return c.reportEnds(ids, records)
}

// interval keeps the load on Redis small however many exports are watched.
func interval(open int) time.Duration {
	return max(500*time.Millisecond, time.Duration(open)*5*time.Millisecond)
}

// refresh reads the exports that are not final yet and counts them.
func refresh(ctx context.Context, exports *admin.Service, ids []string, records map[string]*export.Record) (open int, err error) {
	for _, id := range ids {
		if r := records[id]; r != nil && r.State.Final() {
			continue
		}
		r, err := exports.Get(ctx, id)
		if err != nil {
			return len(ids), err
		}
		records[id] = r
		if !r.State.Final() {
			open++
		}
	}
	return open, nil
}

// reportEnds names the exports that did not end archived.
func (c *console) reportEnds(ids []string, records map[string]*export.Record) error {
	var failed error
	for _, id := range ids {
		r := records[id]
		if r.State == export.Archived {
			continue
		}
		failed = errReported
		_ = c.msg.Printf("%s %s: %s\n", id, r.State, view.Sentence(r, view.CLI))
	}
	return failed
}

// shower shows progress in one way or another.
type shower interface {
	update(ids []string, records map[string]*export.Record, waiting map[string]status.Waiting)
	trouble(err error)
	end()
}

// plain writes one plain line for each change, for logs and pipes.
type plain struct {
	c    *console
	last map[string]string
}

func (l *plain) update(ids []string, records map[string]*export.Record, waiting map[string]status.Waiting) {
	for _, id := range ids {
		if line := progressLine(records[id], waiting[id].Text); l.last[id] != line {
			l.last[id] = line
			_ = l.c.msg.Printf("%s %s\n", id, line)
		}
	}
}

func (l *plain) trouble(err error) { _ = l.c.msg.Printf("waiting: %s\n", err) }
func (l *plain) end()              {}

// progressLine is how far an export is and, where nothing moves, why.
func progressLine(r *export.Record, waitingFor string) string {
	line := string(r.State)
	if r.ClipCount > 0 {
		line += fmt.Sprintf(", %d of %d clips archived", r.ArchivedCount, r.ClipCount)
	}
	if rests(r) && waitingFor != "" {
		line += ", waits for " + waitingFor
	}
	return line
}

// rests reports whether nothing moves that a number would show, perhaps for long.
func rests(r *export.Record) bool {
	return r.State == export.Queued || r.Read == export.ReadSettle && r.ArchivedCount == r.ClipCount
}

// bar is one progress bar over all exports.
type bar struct {
	bar  *progressbar.ProgressBar
	best map[string]int // the share shown of each export: a bar doesn't go back
	out  *cli.Printer
}

// fullShare is what one export contributes to the bar.
const fullShare = 1000

func newBar(c *console, exports int) *bar {
	return &bar{
		out: c.msg, best: map[string]int{},
		bar: progressbar.NewOptions(
			exports*fullShare,
			progressbar.OptionSetWriter(c.msg.Raw()),
			progressbar.OptionSetWidth(30),
			progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetElapsedTime(true),
			progressbar.OptionEnableColorCodes(false),
			progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: "░", BarStart: "", BarEnd: ""}),
		),
	}
}

func (b *bar) update(ids []string, records map[string]*export.Record, waiting map[string]status.Waiting) {
	total, counts := 0, map[export.State]int{}
	archived, clips := 0, 0
	for _, id := range ids {
		r := records[id]
		b.best[id] = max(b.best[id], share(r))
		total += b.best[id]
		counts[r.State]++
		archived += r.ArchivedCount
		clips += clipTotal(r)
	}
	var parts []string
	for _, s := range export.States() {
		if counts[s] > 0 && len(ids) > 1 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[s], s))
		} else if counts[s] > 0 {
			parts = append(parts, string(s))
		}
	}
	if clips > 0 {
		parts = append(parts, fmt.Sprintf("%d/%d clips", archived, clips))
	}
	open := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return records[id].State.Final() })
	moves := slices.ContainsFunc(open, func(id string) bool { return !rests(records[id]) })
	if !moves && len(open) > 0 && waiting[open[0]].Text != "" {
		parts = append(parts, "waits for "+cli.Printable(waiting[open[0]].Text))
	}
	_ = b.bar.Set(total) // a terminal that can't be written to needs no bar
	b.bar.Describe(strings.Join(parts, ", "))
}

// clipTotal is how many clips the export will have, as far as that is known:
// the provider names them one by one.
func clipTotal(r *export.Record) int { return max(r.ClipCount, len(r.Wanted)) }

func (b *bar) trouble(err error) { b.bar.Describe(cli.Cut(cli.Printable(err.Error()), 60)) }
func (b *bar) end() {
	_ = b.bar.Exit()
	_ = b.out.Printf("\n")
}

// share is how far an export has come, of fullShare. The provider reports no
// progress of its own, so the steps count and, in the end, the clips.
func share(r *export.Record) int {
	const accepted = fullShare / 10
	switch {
	case r.State.Final():
		return fullShare
	case clipTotal(r) > 0 && r.State != export.Queued && r.State != export.Submitting:
		return accepted + (fullShare-accepted)*r.ArchivedCount/(clipTotal(r)+1)
	case r.State == export.Queued || r.State == export.Submitting:
		return 0
	default:
		return accepted
	}
}
