package main

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/storage"
)

// film puts an export of many clips into the bucket, as a worker leaves it.
func (b *bench) film(id string, at time.Time, clips ...storage.ManifestClip) {
	b.t.Helper()
	m := storage.Manifest{
		ID: id, ProjectID: "p-" + id, ExportTaskID: "task-" + id, ArchivedAt: at, Name: "name of " + id, Labels: b.labels, Tenant: "news",
		Request: json.RawMessage(`{"project_id":"p"}`), Answer: json.RawMessage(`{"status":"SUCCEEDED"}`),
	}
	for i, c := range clips {
		c.Idx = i
		c.Object = export.Object{Key: b.archive.Folder(m.ProjectID, m.ExportTaskID) + storage.ClipName(i, c.Title) + ".mp4", Size: 4, SHA256: strings.Repeat("ab", 32)}
		b.put(c.Key, []byte("clip"))
		m.Clips = append(m.Clips, c)
	}
	if _, err := b.archive.PutManifest(b.t.Context(), m); err != nil {
		b.t.Fatal(err)
	}
}

func TestFindAndCatalog(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.redis.Kill() // the archive speaks for itself
	out, msg := b.clipferry(cli.Done, "find")
	if out != "" || !strings.Contains(msg, "the catalog is empty; `clipferry catalog`") {
		t.Errorf("nothing: %q %q", out, msg)
	}
	b.film("a", time.Now().Add(-48*time.Hour),
		storage.ManifestClip{Title: "Winter école", Desc: "how climbers prepare", Tags: []string{"sport", "=1+1"}, Score: 81.5, EndMS: 65_400},
		storage.ManifestClip{Title: "\x1b[31mred\u202e", Desc: "=HYPERLINK(\"http://evil\")", Tags: []string{}, Score: -1, EndMS: 3_600_000})
	b.labels = map[string]string{"show": "42"}
	b.film("b", time.Now().Add(-time.Hour), storage.ManifestClip{Title: "冬の山", Tags: []string{"Sport"}, Score: 90})
	if out, _ := b.clipferry(cli.Done, "catalog"); out != "added 2 exports with 3 clips; 0 are in the catalog already\n" {
		t.Errorf("catalog: %q", out)
	}
	if out, _ := b.clipferry(cli.Done, "catalog"); out != "added 0 exports with 0 clips; 2 are in the catalog already\n" {
		t.Errorf("catalog: %q", out)
	}
	if out, _ := b.clipferry(cli.Done, "catalog", "--rebuild"); out != "the catalog has 2 exports with 3 clips\n" {
		t.Errorf("catalog --rebuild: %q", out)
	}
	out, _ = b.clipferry(cli.Done, "find")
	if rows := strings.Split(out, "\n"); len(rows) != 5 || !strings.HasPrefix(rows[0], "ARCHIVED") || !strings.Contains(rows[1], "冬の山  [Sport]") ||
		!strings.Contains(rows[2], "1:05     81.5   p-a      a       0     Winter école  [sport, =1+1]") || !strings.Contains(rows[3], "1:00:00") || strings.ContainsAny(out, "\x1b\u202e") {
		t.Errorf("find:\n%s", out)
	}
	for want, args := range map[string]string{
		"a0": "ECOLE winter", "b0": "冬", "a1": "red", "b0a0  ": "--tag sport", "a0a1": "--project p-a", "b0 ": "--since 24h",
		" b0": "--min-score 90", "b0a0": "--sort score --limit 2", " b0 ": "--label show=42", "  b0 ": "--label show", "": "--label show=43", "   b0": "--limit 1 --tenant news", "  b0": "--since 1d", "a0 ": "climb --tag sport",
	} {
		out, _ := b.clipferry(cli.Done, append([]string{"find", "--json"}, strings.Fields(args)...)...)
		got := ""
		for line := range strings.Lines(out) {
			var l struct {
				ExportID string `json:"export_id"`
				Idx      int    `json:"idx"`
				Key      string `json:"key"`
			}
			if err := json.Unmarshal([]byte(line), &l); err != nil || l.Key == "" {
				t.Fatalf("%s: %v", line, err)
			}
			got += l.ExportID + string(rune('0'+l.Idx))
		}
		if got != strings.TrimSpace(want) {
			t.Errorf("find %s: %q, want %q", args, got, want)
		}
	}
	if _, msg := b.clipferry(cli.Done, "find", "nobody says this"); !strings.Contains(msg, "no clips") {
		t.Errorf("nothing found: %s", msg)
	}
	if out, msg := b.clipferry(cli.Done, "find", "--limit", "1"); strings.Count(out, "\n") != 2 || !strings.Contains(msg, "1 of 3 clips; --limit shows more") {
		t.Errorf("a limit: %s%s", out, msg)
	}
}

// What a spreadsheet opens runs nothing, and what a link opens plays.
func TestFindForASpreadsheetAndABrowser(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	hostile := []string{"=1+1", "+1", "-1", "@SUM(1)", "＝1", " =1", "\t=1", "\"=1", "'=1", "|x", "plain, with a comma\nand \"quotes\""}
	var clips []storage.ManifestClip
	for _, text := range hostile {
		clips = append(clips, storage.ManifestClip{Title: text, Desc: text, Tags: []string{text}, Score: -2})
	}
	b.film("a", time.Now(), clips...)
	b.clipferry(cli.Done, "catalog")
	out, _ := b.clipferry(cli.Done, "find", "--csv", "--open")
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(rows) != len(hostile)+1 || rows[0][0] != "export_id" || rows[0][len(rows[0])-1] != "link" {
		t.Fatalf("%v: %s", err, out)
	}
	for i, row := range rows[1:] {
		for _, field := range row[2:5] {
			if quoted := strings.HasPrefix(field, "'"); quoted != (i < len(hostile)-1) {
				t.Errorf("%q is %q", hostile[i], field)
			}
		}
		if row[5] != "-2" {
			t.Errorf("the score is %q", row[5])
		}
	}
	out, _ = b.clipferry(cli.Done, "find", "plain", "--open")
	resp, err := http.Get(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if string(body) != "clip" || resp.Header.Get("Content-Disposition") != "inline" {
		t.Errorf("%s %v: %q", resp.Status, resp.Header, body)
	}
	for want, args := range map[string][]string{
		"give one of --csv and --json":     {"--csv", "--json"},
		"--sort must be one of newest,":    {"--sort", "size"},
		"--since must be a date":           {"--since", "yesterday"},
		"--label must be NAME=VALUE":       {"--label", "=x"},
		"--limit must not be negative":     {"--limit", "-1"},
		`invalid argument "x" for "--min-`: {"--min-score", "x"},
	} {
		if _, msg := b.clipferry(cli.Usage, append([]string{"find"}, args...)...); !strings.Contains(msg, want) {
			t.Errorf("%v: %s", args, msg)
		}
	}
	b.env = append(b.env, "CLIPFERRY_S3_BUCKET=")
	b.clipferry(cli.Config, "find")
	b.clipferry(cli.Config, "catalog")
}
