package main

import (
	"fmt"
	"strings"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/view"
)

// screen shows how exports come along: bars that are redrawn on a terminal, a
// line for each change elsewhere.
type screen struct {
	w     *cli.Printer
	bars  bool
	drawn int
	last  map[string]string
}

func newScreen(c *console) *screen {
	return &screen{w: c.msg, bars: cli.Lively(c.env, c.msg), last: map[string]string{}}
}

// show draws the exports as they stand.
func (s *screen) show(records []*export.Record) {
	if !s.bars {
		for _, r := range records {
			if line := words(r); s.last[r.ID] != line {
				s.last[r.ID] = line
				_ = s.w.Printf("%-14s %s\n", r.ID, line)
			}
		}
		return
	}
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	for _, r := range records {
		const width = 28
		full := width * permille(r) / 1000
		fmt.Fprintf(&b, "\x1b[2K%-14s %s%s %s\n", r.ID, strings.Repeat("█", full), strings.Repeat("░", width-full), cli.Printable(words(r)))
	}
	s.drawn = len(records)
	_ = s.w.Write(cli.Styled(b.String()))
}

func words(r *export.Record) string {
	line := string(r.State)
	if r.ProviderStatus != "" && !r.State.Final() {
		line += ", the provider says " + r.ProviderStatus
	}
	if r.ClipCount > 0 {
		line += fmt.Sprintf(", %d of %d clips archived", r.ArchivedCount, r.ClipCount)
	}
	if wrong := view.Sentence(r, view.CLI); wrong != "" {
		line += ": " + wrong
	}
	return line
}

// permille is how far an export has come, of 1000.
func permille(r *export.Record) int {
	switch {
	case r.State == export.Archived:
		return 1000
	case r.ClipCount > 0:
		return 200 + 750*r.ArchivedCount/r.ClipCount
	case r.ExportTaskID != "":
		return 150
	case r.State == export.Submitting:
		return 80
	default:
		return 0
	}
}
