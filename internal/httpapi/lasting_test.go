package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/passthrough"
)

// A client that reads the results of its clipping task through us gets links that
// last for what is archived, and is told of what came too late.
func TestResultsHaveLastingLinksForWhatIsArchived(t *testing.T) {
	const results = `{"code":"0","data":{"id":"clips_1","status":"SUCCEEDED","new":1.50,"clips":[
		{"idx":0,"title":"a","export_link":"https://cdn/0?sig=x","thumbnail":"https://cdn/0.jpg"},
		{"idx":1,"title":"b","export_link":"https://cdn/1?sig=x"}]}}`
	c := &carrier{answer: passthrough.Answer{
		Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(results), Call: "clips", TaskID: "clips_1",
	}}
	f := newFixture(t, func(o *Options) { o.Passthrough = c })
	if got := f.call("GET", "/api/v2/clips/results/clips_1", ""); got.body != results {
		t.Errorf("a task that nobody archives was changed: %s", got.body)
	}
	var taken importedPage
	f.call("POST", "/api/v2/clips/exports/import", `{"kind":"clips","task_ids":["clips_1"]}`).data(t, &taken)
	id := taken.Exports[0].ExportTaskID
	if _, err := f.ledger.ClaimTask(t.Context(), "default", "clips_1", id); err != nil { // as its first read does
		t.Fatal(err)
	}
	f.change(id, func(r *export.Record, now time.Time) error {
		read := export.Reading{Status: "SUCCEEDED", Succeeded: true, Clips: []export.Clip{{Idx: 0, Title: "a", Link: "https://cdn/0"}}}
		if err := r.Answer(now, "clips_1", r.Step, read, now); err != nil {
			return err
		}
		object := export.Object{Key: "exports/clips_1/clips_1/clip-000-a.mp4", Size: 1}
		if err := r.ClipDone(now, "clips_1", 0, 1, object, nil, ""); err != nil {
			return err
		}
		r.LastAnswer = []byte(`{}`)
		return r.Seal(now, "exports/clips_1/clips_1/manifest.json")
	})
	f.bucket.files["exports/clips_1/clips_1/clip-000-a.mp4"] = "archived"
	got := f.call("GET", "/api/v2/clips/results/clips_1", "")
	var answer struct {
		Code string
		Data struct {
			New      json.Number
			Clips    []clip
			Warnings []string
		}
	}
	if err := json.Unmarshal([]byte(got.body), &answer); err != nil {
		t.Fatalf("%s: %v", got.body, err)
	}
	d := answer.Data
	if answer.Code != "0" || d.New != "1.50" || len(d.Clips) != 2 || d.Clips[0].Thumbnail != "https://cdn/0.jpg" || d.Clips[1].ExportLink != "https://cdn/1?sig=x" {
		t.Errorf("%s", got.body)
	}
	if len(d.Warnings) != 1 || !strings.Contains(d.Warnings[0], "[1]") {
		t.Errorf("warnings %q", d.Warnings)
	}
	if !strings.HasPrefix(d.Clips[0].ExportLink, f.URL+"/clips/") {
		t.Fatalf("the link is %s", d.Clips[0].ExportLink)
	}
	// One that the export reads in the client's place is answered from its record.
	c.answer.Export, c.answer.Body = id, []byte(`{"data":{"id":"clips_1","name":"n","status":"CREATED"}}`)
	got = f.call("GET", "/api/v2/clips/results/clips_1", "")
	if !strings.Contains(got.body, `"id":"clips_1"`) || !strings.Contains(got.body, `"status":"SUCCEEDED"`) || strings.Contains(got.body, "export_task_id") ||
		strings.Count(got.body, f.URL+"/clips/") != 1 {
		t.Errorf("%s", got.body)
	}
	other := f.call("GET", "/api/v2/clips/results/clips_1", "", "Authorization", "Bearer another-secret-of-length")
	if strings.Contains(other.body, f.URL+"/clips/") {
		t.Errorf("another tenant has the links: %s", other.body)
	}
	resp, err := http.Get(d.Clips[0].ExportLink)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("the link answers %d", resp.StatusCode)
	}
}

// fromS3 knows an export that Redis has lost, by its receipt and manifest.
type fromS3 struct {
	Exports
	record *export.Record
}

func (e fromS3) Get(ctx context.Context, id string) (*export.Record, error) {
	if id == e.record.ID {
		return e.record, nil
	}
	return e.Exports.Get(ctx, id)
}

// TestResultsOutliveRedis: a task whose export is archived is answered from its manifest,
// and one whose export ended without an archive by the provider.
func TestResultsOutliveRedis(t *testing.T) {
	c := &carrier{answer: passthrough.Answer{
		Status: 200, Header: asJSON, Body: []byte(`{"data":{"id":"clips_1","status":"CREATED"}}`), Again: true, Call: "clips", TaskID: "clips_1", Export: "web.import-clips_1",
	}}
	lost := export.NewImport("web.import-clips_1", export.TaskClips, "clips_1", nil, "d", "clips_1", time.Now())
	clip := export.Clip{Idx: 0, Title: "a", Object: export.Object{Key: "exports/clips_1/clips_1/clip-000-a.mp4", Size: 1}}
	if err := lost.Restore(time.Now(), "clips_1", "exports/clips_1/clips_1/manifest.json", []export.Clip{clip}); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, func(o *Options) {
		o.Passthrough = c
		inRedis := o.Exports
		o.Exports = func(tenant string) Exports { return fromS3{inRedis(tenant), lost} }
	})
	got := f.call("GET", "/api/v2/clips/results/clips_1", "")
	if !strings.Contains(got.body, `"id":"clips_1"`) || !strings.Contains(got.body, `"status":"SUCCEEDED"`) || strings.Count(got.body, f.URL+"/clips/") != 1 {
		t.Errorf("%s", got.body)
	}
	c.answer.Export = "web.import-gone"
	f.call("GET", "/api/v2/clips/results/clips_2", "")
	if last := c.asked[len(c.asked)-1]; len(c.asked) != 3 || !last.Unread {
		t.Errorf("asked %d times, last %+v", len(c.asked), last)
	}
}
