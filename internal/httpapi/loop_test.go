package httpapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
)

// wildClient has the habits of programs that use the provider today: it reads
// every 8 s until SUCCEEDED, knows only the fields of the API's page, and then
// downloads whatever has an export_link.
type wildClient struct {
	t       *testing.T
	baseURL string
	key     string
	sleep   func(time.Duration)
}

func (c *wildClient) do(method, path, body string) map[string]any {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.baseURL+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("x-wayinvideo-api-version", "v2")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		c.t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
	var answer struct{ Data map[string]any }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		c.t.Fatal(err)
	}
	return answer.Data
}

func (c *wildClient) download(link string) string {
	c.t.Helper()
	resp, err := http.DefaultClient.Get(link)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		c.t.Fatalf("download %s: %s (%v)", link, resp.Status, err)
	}
	return string(body)
}

// run exports a project and returns the statuses it saw, the links and what was behind them.
func (c *wildClient) run(body string) (statuses []string, links map[string]string) {
	id, _ := c.do("POST", "/api/v2/clips/export", body)["export_task_id"].(string)
	for range 1000 {
		data := c.do("GET", "/api/v2/clips/export/"+id, "")
		status, _ := data["status"].(string)
		statuses = append(statuses, status)
		switch status {
		case "SUCCEEDED":
			links = map[string]string{}
			for _, clip := range data["clips"].([]any) {
				link := clip.(map[string]any)["export_link"].(string)
				links[link] = c.download(link)
			}
			return statuses, links
		case "FAILED":
			c.t.Fatalf("failed: %v", data["error_message"])
		}
		c.sleep(8 * time.Second)
	}
	c.t.Fatal("it never ended")
	return nil, nil
}

// TestAProgramWrittenForTheProvider: base URL and key changed, nothing else.
func TestAProgramWrittenForTheProvider(t *testing.T) {
	f := newFixture(t)
	var id string
	// What happens to the export while the program sleeps, as a worker does it.
	steps := []func(){
		func() {
			id = f.onlyQueued()
			f.takeUp(id)
		},
		func() {
			f.change(id, func(r *export.Record, now time.Time) error { return r.Intend(now, "run") })
		},
		func() {
			f.change(id, func(r *export.Record, now time.Time) error {
				return r.Accept(now, "export_task_xyz789", "sample export task", "CREATED")
			})
		},
		func() { f.answer(id, "ONGOING", providerClips(true, 2)) },
		func() { f.archive(id, 1) },
		func() { f.answer(id, "SUCCEEDED", providerClips(true, 3)) },
		func() { f.archive(id, 0); f.archive(id, 2) },
		func() {
			f.change(id, func(r *export.Record, now time.Time) error { return r.Seal(now, "exports/manifest.json") })
		},
	}
	client := &wildClient{t: t, baseURL: f.URL, key: webSecret}
	client.sleep = func(d time.Duration) {
		f.clock.add(d)
		if len(steps) > 0 {
			steps[0]()
			steps = steps[1:]
		}
	}
	statuses, links := client.run(`{"project_id":"proj_1","clip_indices":[0,1,2],"resolution":"UHD_4K","a_newer_field":true}`)
	if got := strings.Join(statuses, " "); got != "QUEUED QUEUED QUEUED ONGOING ONGOING ONGOING ONGOING ONGOING SUCCEEDED" {
		t.Errorf("saw %s", got)
	}
	if len(links) != 3 {
		t.Fatalf("%d links", len(links))
	}
	seen := map[string]bool{}
	for link, body := range links {
		seen[body] = true
		if strings.Contains(link, "cdn.example.com") || !strings.HasPrefix(link, f.URL+"/clips/") {
			t.Errorf("link %s is not ours", link)
		}
	}
	for i := range 3 {
		if !seen[fmt.Sprintf("video %d of %s", i, id)] {
			t.Errorf("clip %d was not downloaded: %v", i, seen)
		}
	}
	// Long after the provider, S3's own link and even our ledger have forgotten it.
	f.clock.add(90 * 24 * time.Hour)
	f.rdb.FlushAll(t.Context())
	for link, body := range links {
		if got := client.download(link); got != body {
			t.Errorf("%s gives %q later", link, got)
		}
	}
}

// TestPartialResults: while the export goes on, what is archived can be had, and
// nothing is listed that cannot.
func TestPartialResults(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.PublicURL = "https://clips.example.com/base/" })
	id := f.submit(`{"project_id":"proj_1"}`)
	f.takeUp(id)
	f.change(id, func(r *export.Record, now time.Time) error { return r.Accept(now, "t", "", "CREATED") })
	f.answer(id, "ONGOING", providerClips(true, 3))
	if got := f.read(id); got.Status != statusOngoing || len(got.Clips) != 0 {
		t.Errorf("%+v", got)
	}
	f.archive(id, 1)
	got := f.read(id)
	if got.Status != statusOngoing || len(got.Clips) != 1 || got.Clips[0].Idx != 1 || got.ExpireAt != 0 || got.CostUsage == nil {
		t.Fatalf("%+v", got)
	}
	c := got.Clips[0]
	if !strings.HasPrefix(c.ExportLink, "https://clips.example.com/base/clips/") || !strings.HasSuffix(c.ExportLink, "/clip-001-%C3%A4lter%20100%25.mp4") {
		t.Errorf("link %s", c.ExportLink)
	}
	if !strings.HasSuffix(c.Thumbnail, ".jpg") || c.Title != `Clip 1: what's "new" <here>` || c.BeginMS != 15000 || c.Score != 81 {
		t.Errorf("%+v", c)
	}
	if raw := f.call("GET", "/api/v2/clips/export/"+id, "").body; strings.Contains(raw, "hush") {
		t.Errorf("the provider's link is in the answer: %s", raw)
	}
}

func (f *fixture) onlyQueued() string {
	f.t.Helper()
	found, err := f.api.o.Exports("").List(f.t.Context(), filterAll)
	if err != nil || len(found) != 1 {
		f.t.Fatalf("%d exports (%v)", len(found), err)
	}
	return found[0].ID
}

func (f *fixture) answer(id, status string, clips []export.Clip) {
	f.t.Helper()
	f.change(id, func(r *export.Record, now time.Time) error {
		return r.Answer(now, r.ExportTaskID, r.Step, export.Reading{
			Status: status, Succeeded: status == "SUCCEEDED", Failed: status == "FAILED", Message: "no such font",
			ExpireAt: now.Add(72 * time.Hour), CostUsage: 48, Clips: clips,
		}, now.Add(time.Minute))
	})
}
