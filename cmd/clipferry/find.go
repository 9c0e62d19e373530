package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/text/unicode/norm"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/catalog"
)

func findCommand(c *console) *cobra.Command {
	f := &find{}
	cmd := &cobra.Command{
		Use: "find [--csv | --json] [--open] [WORDS]", Short: "search the archived clips",
		Long: `WORDS have to be in the title, the description or the tags of a clip, all of
them, each as a part of a word, without regard to case and accents; "quoted
ones" stay together. Reads the catalog in S3; Redis is not needed.`,
		Example: `  clipferry find winter training --since 7d
  clipferry find --label show=42 --csv >clips.csv
  clipferry find goal --sort score --limit 1 --open`,
		RunE: func(cmd *cobra.Command, words []string) error { return f.run(cmd.Context(), c, words) },
	}
	f.set = cmd.Flags()
	set := f.set
	set.StringVar(&f.query.Project, "project", "", "only clips of project `P`")
	set.StringVar(&f.query.Tag, "tag", "", "only clips with the tag `T`, the whole of it")
	set.StringArrayVar(&f.labels, "label", nil, "only clips of exports with the label `NAME=VALUE`, or NAME with any value; may be repeated")
	set.StringVar(&f.since, "since", "", "only clips archived since `D`: a date (2026-04-01), a time (RFC 3339), or so long ago (12h, 7d)")
	set.StringVar(&f.query.Resolution, "resolution", "", "only clips in resolution `R`, such as FHD_1080")
	set.StringVar(&f.query.Ratio, "ratio", "", "only clips reframed to ratio `R`, such as RATIO_9_16")
	set.Float64Var(&f.query.MinScore, "min-score", 0, "only clips with a score of `N` or more")
	set.StringVar(&f.tenant, "tenant", "", "only clips of tenant `T`")
	set.StringVar(&f.order, "sort", string(catalog.Newest), "the order: "+strings.Join(orderNames(), ", "))
	set.IntVar(&f.query.Limit, "limit", 0, "at most `N` clips; of a table 50 unless given")
	set.BoolVar(&f.csv, "csv", false, "print comma-separated values, for a spreadsheet")
	set.BoolVar(&f.json, "json", false, "print one JSON object for each clip, with all that the catalog has of it")
	set.BoolVar(&f.open, "open", false, "print a link to each clip that plays in a browser; anybody can use it for an hour")
	completes(cmd, "sort", orderNames())
	return cmd
}

type find struct {
	set             *pflag.FlagSet
	query           catalog.Query
	labels          []string
	since           string
	tenant, order   string
	csv, json, open bool
}

// maxTable is how many clips a table has unless a limit is given.
const maxTable = 50

func orderNames() []string {
	var names []string
	for _, o := range catalog.Orders() {
		names = append(names, string(o))
	}
	return names
}

func (f *find) run(ctx context.Context, c *console, words []string) error {
	if err := f.complete(words); err != nil {
		return err
	}
	conn, err := c.archiveAlone(ctx)
	if err != nil {
		return err
	}
	defer conn.close()
	index := catalog.NewIndex()
	failed := catalog.NewStore(conn.archive).Load(ctx, index)
	if failed != nil && index.Len() == 0 {
		return failed
	}
	page, err := index.Search(ctx, f.query)
	if err != nil {
		return err
	}
	clips := make([]found, len(page.Clips))
	for i, l := range page.Clips {
		clips[i].Line = l
		if !f.open {
			continue
		}
		if clips[i].Link, err = conn.archive.PresignInline(ctx, l.Key, linkTTL); err != nil {
			return err
		}
	}
	if err := f.print(c, clips); err != nil {
		return err
	}
	switch {
	case index.Len() == 0:
		_ = c.msg.Printf("the catalog is empty; `clipferry catalog` takes up what was archived before there was one\n")
	case page.Total == 0:
		_ = c.msg.Printf("no clips\n")
	case page.Total > len(clips):
		_ = c.msg.Printf("%d of %d clips; --limit shows more\n", len(clips), page.Total)
	}
	return failed // what could be read is shown
}

// found is a clip as it is printed.
type found struct {
	catalog.Line
	Link string `json:"link,omitempty"`
}

// complete checks the flags, and makes the query of them. Its error names all that are wrong.
func (f *find) complete(words []string) error {
	f.query.Text = strings.Join(words, " ")
	f.query.Order = catalog.Order(f.order)
	faults := []error{cli.Empty(f.set, "all", "project", "tag", "since", "resolution", "ratio", "tenant")}
	wrong := func(format string, args ...any) { faults = append(faults, cli.Usagef(format, args...)) }
	if f.csv && f.json {
		wrong("give one of --csv and --json")
	}
	if f.query.Limit < 0 {
		wrong("--limit must not be negative")
	}
	if math.IsNaN(f.query.MinScore) {
		wrong("--min-score must be a number, not NaN")
	}
	if !slices.Contains(catalog.Orders(), f.query.Order) {
		wrong("--sort must be one of %s, not %q", strings.Join(orderNames(), ", "), f.order)
	}
	if f.query.Limit == 0 {
		f.query.Limit = maxTable
		if f.csv || f.json {
			f.query.Limit = 1 << 30
		}
	}
	if f.tenant != "" {
		f.query.Tenant = &f.tenant
	}
	f.query.Labels = map[string]string{}
	for _, label := range f.labels {
		name, value, _ := strings.Cut(label, "=")
		if name == "" {
			wrong("--label must be NAME=VALUE or NAME, not %q", label)
		}
		f.query.Labels[name] = value
	}
	var err error
	f.query.Since, err = since(f.since, time.Now())
	return errors.Join(append(faults, err)...)
}

// since reads a date, a time, or a duration before now; an empty text is the zero time.
func since(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if days, found := strings.CutSuffix(text, "d"); found {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, cli.Usagef("--since must be a date (2026-04-01), a time (2026-04-01T12:00:00Z) or so long ago (12h, 7d), not %q", text)
}

func (f *find) print(c *console, clips []found) error {
	switch {
	case f.csv:
		return printCSV(c, clips, f.open)
	case f.json:
		for _, clip := range clips {
			if err := c.out.JSON(clip); err != nil {
				return err
			}
		}
		return nil
	case f.open:
		for _, clip := range clips {
			if err := c.out.Printf("%s\n", clip.Link); err != nil {
				return err
			}
		}
		return nil
	case len(clips) == 0:
		return nil
	}
	rows := [][]cell{{{text: "ARCHIVED"}, {text: "LENGTH"}, {text: "SCORE"}, {text: "PROJECT"}, {text: "EXPORT"}, {text: "CLIP"}, {text: "TITLE"}}}
	for _, clip := range clips {
		title := cli.Printable(clip.Title)
		if len(clip.Tags) > 0 {
			title += "  [" + strings.Join(clip.Tags, ", ") + "]"
		}
		rows = append(rows, []cell{
			{text: clip.ArchivedAt.Local().Format(time.DateOnly)},
			{text: clock(clip.DurationMS)},
			{text: scoreText(clip.Score)},
			{text: cli.Cut(cli.Printable(clip.ProjectID), 30)},
			{text: clip.ExportID},
			{text: strconv.Itoa(clip.Idx)},
			{text: title},
		})
	}
	width := 0
	if c.out.IsTerminal() {
		width, _ = c.out.Size()
	}
	return c.out.Write(lines(table(rows, width, false)))
}

// clock is a length as players show it: minutes and seconds.
func clock(ms int64) string {
	s := (ms + 500) / 1000
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

func scoreText(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// printCSV prints a table for spreadsheets.
func printCSV(c *console, clips []found, links bool) error {
	columns := []struct {
		heading string
		value   func(l found) string
	}{
		{"export_id", func(l found) string { return cellText(l.ExportID) }},
		{"idx", func(l found) string { return strconv.Itoa(l.Idx) }},
		{"title", func(l found) string { return cellText(l.Title) }},
		{"desc", func(l found) string { return cellText(l.Desc) }},
		{"tags", func(l found) string { return cellText(strings.Join(l.Tags, "; ")) }},
		{"score", func(l found) string { return scoreText(l.Score) }},
		{"duration_ms", func(l found) string { return strconv.FormatInt(l.DurationMS, 10) }},
		{"project_id", func(l found) string { return cellText(l.ProjectID) }},
		{"export_name", func(l found) string { return cellText(l.ExportName) }},
		{"tenant", func(l found) string { return cellText(l.Tenant) }},
		{"labels", func(l found) string { return cellText(labelText(l.Labels)) }},
		{"resolution", func(l found) string { return cellText(l.Resolution) }},
		{"ratio", func(l found) string { return cellText(l.Ratio) }},
		{"archived_at", func(l found) string { return l.ArchivedAt.UTC().Format(time.RFC3339) }},
		{"size", func(l found) string { return strconv.FormatInt(l.Size, 10) }},
		{"sha256", func(l found) string { return cellText(l.SHA256) }},
		{"key", func(l found) string { return cellText(l.Key) }},
		{"link", func(l found) string { return l.Link }},
	}
	if !links {
		columns = columns[:len(columns)-1]
	}
	var b strings.Builder
	w := csv.NewWriter(&b)
	record := make([]string, len(columns))
	for i, col := range columns {
		record[i] = col.heading
	}
	_ = w.Write(record) // into memory, as the following
	for _, clip := range clips {
		for i, col := range columns {
			record[i] = col.value(clip)
		}
		_ = w.Write(record)
	}
	w.Flush()
	return c.out.Write(cli.Styled(b.String()))
}

// cellText is a foreign text that is safe in a cell: one that a spreadsheet would take
// for a formula, wide forms and what precedes it included, begins with an apostrophe,
// which says that it is text.
func cellText(s string) string {
	s = cli.Printable(s)
	start := strings.TrimLeft(norm.NFKC.String(s), " ·'\"")
	if start != "" && strings.ContainsRune("=+-@|%", rune(start[0])) {
		return "'" + s
	}
	return s
}

func labelText(labels map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		all = append(all, name+"="+labels[name])
	}
	return strings.Join(all, "; ")
}
