package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/status"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
)

// cell is one field of a table; color is empty or an ANSI code.
type cell struct{ text, color string }

const (
	// minLast is how many columns a table's last field needs to say something; with
	// less it goes onto a line of its own.
	minLast = 56
	// indent is before such a line.
	indent = "    "
)

// table lays rows out in columns, each no wider than it needs; the last one
// takes what is left of width, and is broken into lines if it is wanted whole, or
// else cut. Zero width means no limit. The first row is the heading.
func table(rows [][]cell, width int, whole bool) []cli.Styled {
	widths := make([]int, len(rows[0]))
	for n, row := range rows {
		for i, c := range row {
			row[i].text = cli.Printable(c.text)
			if i < len(row)-1 || n > 0 { // the heading of the last one is of no matter
				widths[i] = max(widths[i], cli.Columns(row[i].text))
			}
		}
	}
	last := len(widths) - 1
	used := 0
	for _, w := range widths[:last] {
		used += w + 2
	}
	folded := width > 0 && used+widths[last] >= width && (whole || width-used < minLast)
	var out []cli.Styled
	for n, row := range rows {
		var b strings.Builder
		left := width
		for i, c := range row[:last] {
			if width > 0 && left <= 1 {
				break
			}
			pad := max(0, widths[i]-cli.Columns(c.text)+2)
			if width > 0 && cli.Columns(c.text)+pad >= left {
				c.text = cli.Cut(c.text, left-1)
				pad = 0
			}
			b.WriteString(cli.Paint(c.text+strings.Repeat(" ", pad), c.color).String())
			left -= widths[i] + 2
		}
		text := row[last].text
		switch {
		case !folded && width > 0:
			b.WriteString(cli.Cut(text, max(1, width-used-1)))
		case !folded:
			b.WriteString(text)
		}
		out = append(out, cli.Styled(strings.TrimRight(b.String(), " ")))
		switch {
		case !folded || n == 0 || text == "":
		case whole:
			out = append(out, cli.Styled(strings.TrimSuffix(cli.Fold(text, indent, width-1), "\n")))
		default:
			out = append(out, cli.Styled(cli.Cut(indent+text, width-1)))
		}
	}
	return out
}

// lines is one text of many lines.
func lines(all []cli.Styled) cli.Styled {
	var b strings.Builder
	for _, line := range all {
		b.WriteString(line.String() + "\n")
	}
	return cli.Styled(b.String())
}

// stateColors are ANSI codes: green is done, red needs somebody, yellow waits for somebody.
var stateColors = map[export.State]string{
	export.Archived: "32", export.Failed: "31", export.Expired: "31", export.Held: "33", export.Canceled: "90",
	export.Submitting: "36", export.Rendering: "36", export.Mirroring: "36",
}

func (c *console) color(s export.State) string {
	if !c.lively() {
		return ""
	}
	return stateColors[s]
}

// overview is one row for each export, its note whole or cut to a line. Columns
// that would say the same of all are left out.
func overview(c *console, ids []string, records map[string]*export.Record, waiting map[string]status.Waiting, whole bool) []cli.Styled {
	accounts, tenants, priorities := false, false, false
	for _, r := range records {
		accounts = accounts || account(r) != tasks.DefaultAccount
		tenants = tenants || r.TenantName() != tasks.DefaultTenant
		priorities = priorities || priority(r) != tasks.PriorityNormal
	}
	columns := []struct {
		heading string
		shown   bool
		cell    func(r *export.Record) cell
	}{
		{"STATE", true, func(r *export.Record) cell { return cell{string(r.State), c.color(r.State)} }},
		{"AGE", true, func(r *export.Record) cell { return cell{text: briefly(max(0, time.Since(r.CreatedAt)))} }},
		{"CLIPS", true, func(r *export.Record) cell { return cell{text: c.clips(r)} }},
		{"EXPIRES", true, func(r *export.Record) cell { return cell{text: expires(r)} }},
		{"ACCOUNT", accounts, func(r *export.Record) cell { return cell{text: account(r)} }},
		{"TENANT", tenants, func(r *export.Record) cell { return cell{text: r.TenantName()} }},
		{"PRIORITY", priorities, func(r *export.Record) cell { return cell{text: priority(r)} }},
		{"PROJECT", true, func(r *export.Record) cell { return cell{text: cli.Cut(cli.Printable(r.ProjectID), 30)} }},
		{"NOTE", true, func(r *export.Record) cell { return cell{text: note(r, waiting[r.ID].Text)} }},
	}
	rows := make([][]cell, len(ids)+1)
	rows[0] = []cell{{text: "ID"}}
	for i, id := range ids {
		rows[i+1] = []cell{{text: id}}
	}
	for _, col := range columns {
		if !col.shown {
			continue
		}
		rows[0] = append(rows[0], cell{text: col.heading})
		for i, id := range ids {
			field := cell{}
			switch r := records[id]; {
			case r != nil:
				field = col.cell(r)
			case col.heading == "STATE":
				field.text = "unknown"
			}
			rows[i+1] = append(rows[i+1], field)
		}
	}
	width := 0
	if c.out.IsTerminal() {
		width, _ = c.out.Size()
	}
	return table(rows, width, whole)
}

func account(r *export.Record) string { return cmp.Or(r.Account, tasks.DefaultAccount) }

func priority(r *export.Record) string { return cmp.Or(r.Priority, tasks.PriorityNormal) }

// note is what an export waits for or, if it waits for nothing, what is wrong.
func note(r *export.Record, waitingFor string) string {
	if waitingFor != "" {
		return "waits for " + waitingFor
	}
	return view.Sentence(r, view.CLI)
}

func expires(r *export.Record) string {
	if r.ExpireAt.IsZero() || r.State == export.Archived {
		return "-"
	}
	return untilText(r.ExpireAt)
}

// clips is how far the clips are: a bar for a person who watches, and the count
// as far as the provider has named them.
func (c *console) clips(r *export.Record) string {
	total := r.ClipCount
	if r.State == export.Rendering || r.State == export.Mirroring {
		total = clipTotal(r)
	}
	if total == 0 {
		return "-"
	}
	count := fmt.Sprintf("%d/%d", r.ArchivedCount, total)
	if r.State.Final() || !c.lively() {
		return count
	}
	const width = 8
	full := width * r.ArchivedCount / total
	return strings.Repeat("█", full) + strings.Repeat("░", width-full) + " " + count
}

// untilText is the time to t in words, negative for one that has passed.
func untilText(t time.Time) string {
	d := time.Until(t)
	if d < 0 {
		return briefly(-d) + " ago"
	}
	return "in " + briefly(d)
}

func briefly(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd %dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh %dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm %ds", d/time.Minute, d%time.Minute/time.Second)
	default:
		return fmt.Sprintf("%ds", d/time.Second)
	}
}

// size is a number of bytes for people.
func size(n int64) string {
	const step = 1000
	if n < step {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/step, 0
	for value >= step && unit < 3 {
		value /= step
		unit++
	}
	return fmt.Sprintf("%.1f %s", value, []string{"kB", "MB", "GB", "TB"}[unit])
}

// screen redraws a block of lines in place.
type screen struct {
	c     *console
	drawn int
}

func (s *screen) draw(all []cli.Styled) error {
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", s.drawn)
	}
	b.WriteString(lines(all).String())
	s.drawn = len(all)
	return s.c.out.Write(cli.Styled(b.String()))
}
