package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/preflight"
	"github.com/clipferry/clipferry/internal/s3test"
)

// TestPreflightAndImport: with the program as it is run, against the emulated provider.
func TestPreflightAndImport(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	provider, err := emulator.New(emulator.Options{Keys: []string{"key"}, Speed: 50, Render: emulator.Render{Fixed: 20 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(provider)
	defer web.Close()
	b.env = append(b.env, "CLIPFERRY_API_BASE_URL="+web.URL, "CLIPFERRY_API_KEY=key", "CLIPFERRY_API_REQUESTS_PER_MINUTE=0",
		"CLIPFERRY_API_DAILY_UNITS=1000", "CLIPFERRY_IMPORT_QUIET=1s",
		"CLIPFERRY_LINK_ALLOWED_CIDRS=127.0.0.0/8", "CLIPFERRY_HTTP_ADDR="+s3test.FreeAddr(t))
	project := madeElsewhere(t, web.URL, `{"video_url":"https://x/v.mp4","project_name":"talk~clips=3"}`)
	rendered := madeElsewhere(t, web.URL, `{"video_url":"https://x/v.mp4","project_name":"talk~clips=2","enable_export":true}`)
	time.Sleep(time.Second) // they are done

	out, _ := b.clipferry(cli.Done, "preflight", "--resolution", "HD_720", project)
	for _, want := range []string{"project " + project + "  exists (clips, SUCCEEDED)", "units unknown: nothing like it was charged yet", "0 before it, starts in a moment", "1000 of today's 1000 units are left"} {
		if !strings.Contains(out, want) {
			t.Errorf("without %q:\n%s", want, out)
		}
	}
	file := filepath.Join(t.TempDir(), "exports.jsonl")
	lines := `{"project_id":"` + project + `","job_id":"good","notify":{"webhook":"http://10.0.0.1/"}}` + "\n" + `{"project_id":"` + project + `","clip_indices":[9]}` + "\n" + `{"project_id":"gone"}` + "\n"
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	out, said := b.clipferry(cli.Failed, "enqueue", "--dry-run", "--json", "--file", file)
	var report preflight.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Total.Impossible != 2 || len(report.Exports[0].Clips) != 3 {
		t.Errorf("%v: %s", err, out)
	}
	if odd := report.Exports[0].Warnings; len(odd) != 2 || !strings.Contains(odd[0], "CLIPFERRY_WEBHOOK_SECRETS is not set here") ||
		!strings.Contains(odd[1], "10.0.0.1:80 is not a public address") || report.Exports[1].Warnings != nil || said != "" {
		t.Errorf("of webhooks: %q, said %q", odd, said)
	}
	if out, _ := b.clipferry(cli.Failed, "enqueue", "--dry-run", "--file", file); strings.Count(out, "  warning    notify: ") != 2 {
		t.Errorf("of webhooks:\n%s", out)
	}
	_, said = b.clipferry(cli.Usage, "enqueue", "--preflight", "--file", file)
	if !strings.Contains(said, "line 2: clip_indices: the project has no clip 9, but 3 from 0 to 2\n") || !strings.Contains(said, "line 3: project_id: the provider knows no") {
		t.Errorf("said %s", said)
	}
	if out, _ := b.clipferry(cli.Done, "list", "--json"); strings.Contains(out, `"id"`) {
		t.Errorf("something was enqueued: %s", out)
	}

	r := start(t, b.command("worker"))
	r.await(r.stderr, `"msg":"worker started"`)
	b.clipferry(cli.Done, "enqueue", "--preflight", "--project-id", project, "--resolution", "HD_720", "--wait")
	if out, _ := b.clipferry(cli.Done, "preflight", "--resolution", "HD_720", project); !strings.Contains(out, ", by 1 charges)") || !strings.Contains(out, "is done in about") {
		t.Errorf("after a charge: %s", out)
	}
	out, _ = b.clipferry(cli.Done, "import", "--kind", "clips", "--wait", rendered)
	if strings.TrimSpace(out) != "import-"+rendered {
		t.Errorf("imported as %s", out)
	}
	if v := b.awaitStatus("import-"+rendered, func(v waitingView) bool { return v.State == "archived" }); v.Kind != "clips" || len(v.Clips) != 2 {
		t.Errorf("%+v", v)
	}
	if n := len(provider.State().Submits); n != 3 {
		t.Errorf("%d tasks at the provider", n)
	}
}

// madeElsewhere has the provider make a clipping task and returns its id.
func madeElsewhere(t *testing.T, api, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, api+"/api/v2/clips", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer key")
	req.Header.Set("x-wayinvideo-api-version", "v2")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Data struct{ ID string } }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Data.ID == "" {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	return answer.Data.ID
}

// TestATotalSaysWhatItIsOf: of a long file not all projects are read at once.
func TestATotalSaysWhatItIsOf(t *testing.T) {
	for want, total := range map[string]preflight.Total{
		"in all: 3 exports, 90 s":                                      {Exports: 3, Seconds: 90},
		"in all: 500 exports, 600 s in the 20 that were read; 480 not": {Exports: 500, Unread: 480, Seconds: 600},
		"in all: 2 exports, none of them read":                         {Exports: 2, Unread: 2},
		"in all: 30 exports, 600 s in the 20 that were read; 10 not, about 12 units for those of which it is known, 1 impossible": {
			Exports: 30, Unread: 10, Seconds: 600, Impossible: 1, Expected: preflight.Cost{Median: 12},
		},
	} {
		if got := string(totalLines(total)[0]); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

func TestAReportSaysWhenAnExportStarts(t *testing.T) {
	for want, in := range map[string]time.Duration{"3 before it, starts in a moment": 0, "3 before it, starts in about 10m": 10*time.Minute + 30*time.Second} {
		at := time.Now().Add(in)
		if got := lines(reportLines("", preflight.Export{Place: 3, StartsAt: &at})); !strings.Contains(string(got), want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}
