package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/status"
)

func row(texts ...string) []cell {
	var cells []cell
	for _, t := range texts {
		cells = append(cells, cell{text: t})
	}
	return cells
}

// texts are the lines as they are read: a folded note is several.
func texts(all []cli.Styled) []string {
	return strings.Split(strings.TrimSuffix(lines(all).String(), "\n"), "\n")
}

func TestATableFitsItsTerminal(t *testing.T) {
	rows := [][]cell{
		row("ID", "PROJECT", "NOTE"),
		row("exp_bnkzccwhn7kvy3io4hkku27vta", "客户项目", "waits for a slot, 12th in line, starts in about 9 min"),
		row("b", "p", ""),
	}
	for width, want := range map[int][]string{
		0: {
			"ID                              PROJECT   NOTE",
			"exp_bnkzccwhn7kvy3io4hkku27vta  客户项目  waits for a slot, 12th in line, starts in about 9 min",
			"b                               p",
		},
		100: { // enough to say something
			"ID                              PROJECT   NOTE",
			"exp_bnkzccwhn7kvy3io4hkku27vta  客户项目  waits for a slot, 12th in line, starts in about 9 min",
			"b                               p",
		},
		40: {
			"ID                              PROJECT",
			"exp_bnkzccwhn7kvy3io4hkku27vta  客户项…",
			"    waits for a slot, 12th in line, st…",
			"b                               p",
		},
		30: { // no line wraps, whatever is lost
			"ID",
			"exp_bnkzccwhn7kvy3io4hkku27v…",
			"    waits for a slot, 12th i…",
			"b",
		},
		60: { // what matters most gets a line of its own
			"ID                              PROJECT",
			"exp_bnkzccwhn7kvy3io4hkku27vta  客户项目",
			"    waits for a slot, 12th in line, starts in about 9 min",
			"b                               p",
		},
	} {
		got := table(rows, width, false)
		if !slices.Equal(texts(got), want) {
			t.Errorf("at %d columns:\n%s", width, lines(got))
		}
		for _, line := range texts(got) {
			if width > 0 && cli.Columns(line) > width {
				t.Errorf("%d columns in %d: %s", cli.Columns(line), width, line)
			}
		}
	}
}

// What is not drawn over is read, and the end of a note says what to do.
func TestANoteIsShownWhole(t *testing.T) {
	rows := [][]cell{
		row("ID", "PROJECT", "NOTE"),
		row("a", "p", "the provider could not render the export; run `clipferry retry --pay-again a`"),
		row("b", "p", ""),
	}
	for width, want := range map[int][]string{
		60: {
			"ID  PROJECT",
			"a   p",
			"    the provider could not render the export; run",
			"    `clipferry retry --pay-again a`",
			"b   p",
		},
		100: {
			"ID  PROJECT  NOTE",
			"a   p        the provider could not render the export; run `clipferry retry --pay-again a`",
			"b   p",
		},
	} {
		if got := texts(table(rows, width, true)); !slices.Equal(got, want) {
			t.Errorf("at %d columns:\n%s", width, strings.Join(got, "\n"))
		}
	}
}

// TestManyExportsFitTheScreen: what is drawn over must not be longer than the
// terminal, and those that are open are seen.
func TestManyExportsFitTheScreen(t *testing.T) {
	records, ids := map[string]*export.Record{}, []string{}
	for i := range 60 {
		id := fmt.Sprintf("job-%02d", i)
		r := export.New(id, nil, "d", "p", time.Now())
		if r.State = export.Archived; i >= 55 {
			r.State = export.Rendering
		}
		records[id], ids = r, append(ids, id)
	}
	v := &shown{c: &console{out: cli.NewPrinter(io.Discard), msg: cli.NewPrinter(io.Discard)}}
	out := status.Snapshot{Accounts: []status.AccountStatus{{Name: "default"}}}
	lines := texts(v.fit(ids, records, out))
	if len(lines) != 23 || !strings.Contains(lines[1], "job-55") || !strings.Contains(lines[21], "60 exports, 5 of them open") || !strings.HasPrefix(lines[22], "account default") {
		t.Errorf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	if lines = texts(v.fit(ids[:10], records, out)); len(lines) != 12 || !strings.Contains(lines[1], "job-00") {
		t.Errorf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
}
