package main

import (
	"strings"
	"testing"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/status"
)

// Where nothing moves, perhaps for a quarter of an hour, progress says what is waited for.
func TestProgressSaysWhatIsWaitedFor(t *testing.T) {
	rests := map[string]*export.Record{
		"queued, waits for X":                           {State: export.Queued},
		"mirroring, 2 of 2 clips archived, waits for X": {State: export.Mirroring, ClipCount: 2, ArchivedCount: 2, Read: export.ReadSettle},
	}
	moves := map[string]*export.Record{
		"rendering":                        {State: export.Rendering},
		"mirroring, 1 of 2 clips archived": {State: export.Mirroring, ClipCount: 2, ArchivedCount: 1, Read: export.ReadSettle},
		"mirroring, 2 of 2 clips archived": {State: export.Mirroring, ClipCount: 2, ArchivedCount: 2},
		"archived, 2 of 2 clips archived":  {State: export.Archived, ClipCount: 2, ArchivedCount: 2},
	}
	waits := map[string]status.Waiting{"a": {Text: "X"}}
	for _, c := range []struct {
		records map[string]*export.Record
		says    bool
	}{{rests, true}, {moves, false}} {
		for want, r := range c.records {
			if got := progressLine(r, "X"); got != want {
				t.Errorf("%q, not %q", got, want)
			}
			var out strings.Builder
			b := newBar(&console{msg: cli.NewPrinter(&out)}, 2)
			b.update([]string{"done", "a"}, map[string]*export.Record{"done": {State: export.Archived}, "a": r}, waits)
			b.end()
			if got := strings.Contains(out.String(), "waits for X"); got != c.says {
				t.Errorf("of %s the bar says %q", want, out.String())
			}
		}
	}
	both := map[string]*export.Record{"a": {State: export.Queued}, "b": {State: export.Rendering}}
	var out strings.Builder
	newBar(&console{msg: cli.NewPrinter(&out)}, 2).update([]string{"a", "b"}, both, waits)
	if strings.Contains(out.String(), "waits for") {
		t.Errorf("while another renders: %q", out.String())
	}
}
