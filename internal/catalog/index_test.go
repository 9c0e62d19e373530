package catalog

import (
	"reflect"
	"runtime"
	"testing"

	"github.com/clipferry/clipferry/internal/export"
)

// What comes out of the packed form is what went in, whatever the texts are.
func TestALineComesBackAsItWas(t *testing.T) {
	x := NewIndex()
	lines := append(corpus(200),
		lineOf("plain", 3, "all lower case"),
		lineOf("empty", 0, ""),
		lineOf("odd", 0, "a\nb\x1f\x00c\u202e", func(l *Line) {
			l.Desc, l.Tags = "two\nlines", []string{"", "\x1f", "<b>", "ÀÉ"}
			l.Score, l.Labels, l.Tenant, l.Account = -1.25, map[string]string{"show": "42", "empty": ""}, "news", "second"
			l.Key, l.SHA256, l.CRC32, l.Proofs = "elsewhere/x.mov", "NOT HEX", "?", nil
			l.Thumbnail, l.Warning, l.CostUsage = &export.Object{Key: "t.jpg"}, "no thumbnail: 404", 0.1
			l.Kind = export.TaskClips
		}))
	x.Add(lines...)
	if x.Len() != len(lines) {
		t.Fatalf("%d clips of %d", x.Len(), len(lines))
	}
	for _, want := range lines {
		got, ok := x.Clip(want.ExportID, want.Idx)
		if !ok || !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	}
	if _, ok := x.Clip("nobody", 0); ok {
		t.Error("a clip that is not there")
	}
	if got := x.Export(lines[0].ExportID); len(got) != 5 || !reflect.DeepEqual(got, lines[:5]) {
		t.Errorf("the export %+v", got)
	}
}

func TestTheHighestRevisionCounts(t *testing.T) {
	old := lineOf("e", 0, "old")
	other := lineOf("e", 1, "only in the older manifest")
	newer := lineOf("e", 0, "new", func(l *Line) { l.Revision++; l.Manifest = "exports/p/second/manifest.json" })
	for _, order := range [][]Line{{old, other, newer, old}, {newer, old, other}, {old, newer, other, newer}} {
		x := NewIndex()
		for _, l := range order {
			x.Add(l)
		}
		if got := x.Export("e"); len(got) != 1 || got[0].Title != "new" || x.Len() != 1 {
			t.Errorf("%+v", got)
		}
		if p := search(t, x, Query{Text: "old", Limit: 9}); p.Total != 0 {
			t.Errorf("what was replaced is found: %+v", p)
		}
	}
}

// 100,000 clips take at most 100 MiB.
func TestAHundredThousandClips(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("measures")
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	x := NewIndex()
	before := heap()
	x.Add(corpus(100_000)...) // the lines themselves are garbage when it is measured
	used := heap() - before
	t.Logf("%d MiB", used>>20)
	if used > 100<<20 {
		t.Errorf("%d MiB", used>>20)
	}
	runtime.KeepAlive(x)
}

// BenchmarkSearch searches 100,000 clips; each search should take at most 50 ms.
func BenchmarkSearch(b *testing.B) {
	x := NewIndex()
	x.Add(corpus(100_000)...)
	for name, q := range map[string]Query{
		"all":   {Limit: 60},
		"rare":  {Text: "zurich 漫画家 keynote", Limit: 60},
		"word":  {Text: "mountain", Limit: 60, Order: ByScore},
		"tag":   {Tag: "goal", Limit: 60},
		"none":  {Text: "nobody has this word", Limit: 60},
		"title": {Text: "e", Limit: 60, Order: ByTitle},
		"deep":  {Limit: 60, Offset: 99_000, Order: ByTitle},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if p := search(b, x, q); name == "none" == (p.Total > 0) {
					b.Fatalf("found %d", p.Total)
				}
			}
		})
	}
}
