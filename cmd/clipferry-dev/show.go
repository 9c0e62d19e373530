package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/clipferry/clipferry/internal/export"
)

// screen shows how exports come along: bars that are redrawn on a terminal, a
// line for each change elsewhere.
type screen struct {
	w     io.Writer
	bars  bool
	drawn int
	last  map[string]string
}

func newScreen(w io.Writer, env []string) *screen {
	f, ok := w.(*os.File)
	bars := ok && term.IsTerminal(int(f.Fd())) && !set(env, "NO_COLOR") && !slices.Contains(env, "TERM=dumb")
	return &screen{w: w, bars: bars, last: map[string]string{}}
}

func set(env []string, name string) bool {
	for _, pair := range env {
		if value, ok := strings.CutPrefix(pair, name+"="); ok && value != "" {
			return true
		}
	}
	return false
}

// show draws the exports as they stand.
func (s *screen) show(records []*export.Record) {
	if !s.bars {
		for _, r := range records {
			if line := words(r); s.last[r.ID] != line {
				s.last[r.ID] = line
				fmt.Fprintf(s.w, "%-14s %s\n", r.ID, line)
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
		fmt.Fprintf(&b, "\x1b[2K%-14s %s%s %s\n", r.ID, strings.Repeat("█", full), strings.Repeat("░", width-full), words(r))
	}
	s.drawn = len(records)
	fmt.Fprint(s.w, b.String())
}

func words(r *export.Record) string {
	line := string(r.State)
	if r.ProviderStatus != "" && !r.State.Final() {
		line += ", the provider says " + r.ProviderStatus
	}
	if r.ClipCount > 0 {
		line += fmt.Sprintf(", %d of %d clips archived", r.ArchivedCount, r.ClipCount)
	}
	if r.Error != "" {
		line += ": " + r.Error
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
