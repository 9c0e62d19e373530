package catalog

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/export"
)

var archived = time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)

// lineOf is a clip with a title; change sets what else matters.
func lineOf(id string, idx int, title string, change ...func(*Line)) Line {
	folder := "exports/p/" + id + "/"
	l := Line{
		ExportID: id, Idx: idx, Revision: archived.UnixMilli(), ProjectID: "p", ExportTaskID: "task-" + id, ExportName: "name of " + id,
		Resolution: "HD_720", CreatedAt: archived.Add(-time.Hour), ArchivedAt: archived, Manifest: folder + "manifest.json",
		Title: title, Tags: []string{}, EndMS: 30_000, DurationMS: 30_000,
		Object: export.Object{
			Key: folder + fmt.Sprintf("clip-%03d.mp4", idx), Size: 1000, SHA256: strings.Repeat("a1", 32), CRC32: "AAAAAA==",
			ContentType: "video/mp4", Proofs: []string{"length", "container"},
		},
	}
	for _, c := range change {
		c(&l)
	}
	return l
}

var vocabulary = strings.Fields(`the interview about winter training shows how Europe's climbers prepare for big mountains while
	Zürich's coach explains breathing naïve façade première économie Größe 漫画家が語る制作の裏側 東京の夜景 한국어 자막 영상 новости спорта
	обзор матча secrets of cooking pasta quickly behind scenes product launch keynote moment funny reaction crowd cheers goal`)

// corpus is n clips that look like real ones, five an export.
func corpus(n int) []Line {
	rng := rand.New(rand.NewPCG(1, 2))
	words := func(n int) string {
		var w []string
		for range n {
			w = append(w, vocabulary[rng.IntN(len(vocabulary))])
		}
		return strings.Join(w, " ")
	}
	lines := make([]Line, n)
	for i := range lines {
		e := i / 5
		at := archived.Add(time.Duration(e) * time.Minute)
		lines[i] = lineOf(fmt.Sprintf("exp_%026d", e), i%5, words(7), func(l *Line) {
			l.ProjectID = fmt.Sprintf("project-%d", e/7)
			l.Manifest = fmt.Sprintf("exports/%s/%026d/manifest.json", l.ProjectID, e)
			l.Key = fmt.Sprintf("exports/%s/%026d/clip-%03d-%s.mp4", l.ProjectID, e, l.Idx, strings.ReplaceAll(l.Title, " ", "-"))
			l.Desc = words(30)
			l.Tags = []string{words(1), words(1), words(2)}
			l.Score = float64(rng.IntN(1000)) / 10
			l.BeginMS = rng.Int64N(3_600_000)
			l.DurationMS = 5000 + rng.Int64N(85_000)
			l.EndMS = l.BeginMS + l.DurationMS
			l.SHA256 = fmt.Sprintf("%064x", rng.Uint64())
			l.Size = rng.Int64N(50 << 20)
			l.Thumbnail = &export.Object{Key: strings.TrimSuffix(l.Key, "mp4") + "jpg", Size: 10_000, SHA256: fmt.Sprintf("%064x", rng.Uint64()), ContentType: "image/jpeg", Proofs: []string{"image"}}
			l.Settings = json.RawMessage(`{"resolution":"HD_720"}`)
			l.Revision, l.CreatedAt, l.ArchivedAt = at.UnixMilli(), at.Add(-time.Hour), at
		})
	}
	return lines
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
