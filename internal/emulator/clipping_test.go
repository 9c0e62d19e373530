package emulator

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// made sends the request and returns the task's id.
func (p *provider) made(path, body string) string {
	p.t.Helper()
	a := p.must("POST", "/api/v2"+path, body, withKey...)
	var got struct{ Data submitAnswer }
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 || got.Data.ID == "" || got.Data.ExportTaskID != "" {
		p.t.Fatalf("%s: %d %s", path, a.status, a.body)
	}
	return got.Data.ID
}

func (p *provider) results(path, id string) readAnswer {
	p.t.Helper()
	a := p.must("GET", "/api/v2"+path+"/results/"+id, "", withKey...)
	var got struct{ Data readAnswer }
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 || got.Data.ID != id {
		p.t.Fatalf("%s: %d %s", id, a.status, a.body)
	}
	return got.Data
}

const video = `{"video_url":"https://video.example/talk","project_name":"talk~clips=6","limit":4`

func TestATaskWithoutExportIsCompleteAtItsEnd(t *testing.T) {
	p := start(t, Options{})
	for path, body := range map[string]string{"/clips": video + `}`, "/clips/find-moments": video + `,"query":"bread"}`} {
		id := p.made(path, body)
		p.clock.advance(60 * time.Second)
		if got := p.results(path, id); got.Status != statusOngoing || len(got.Clips) == 0 || len(got.Clips) == 4 {
			t.Errorf("on the way: %+v", got)
		}
		p.clock.advance(40 * time.Second)
		got := p.results(path, id)
		if got.Status != statusSucceeded || len(got.Clips) != 4 || got.Clips[0].ExportLink != "" || got.Clips[0].Title == "" {
			t.Errorf("at the end: %+v", got)
		}
		// An export of the project has its clips.
		export := p.submitted(`{"project_id":"` + id + `"}`)
		p.clock.advance(100 * time.Second)
		if of := p.looked(export); len(of.Clips) != 4 || of.Clips[2].Title != got.Clips[2].Title || of.Clips[0].ExportLink == "" {
			t.Errorf("its export: %+v", of)
		}
	}
}

// TestATaskWithExportSucceedsBeforeItsClips: as it was seen in use.
func TestATaskWithExportSucceedsBeforeItsClips(t *testing.T) {
	p := start(t, Options{})
	id := p.made("/clips", video+`,"enable_export":true,"resolution":"HD_720","reframe_layout":"Grid 4"}`)
	p.clock.advance(100 * time.Second)
	early := p.results("/clips", id)
	if early.Status != statusSucceeded || len(early.Clips) == 4 {
		t.Fatalf("%+v", early)
	}
	seen := len(early.Clips)
	for range 20 {
		p.clock.advance(5 * time.Second)
		if now := len(p.results("/clips", id).Clips); now < seen || now > seen+1 {
			t.Errorf("from %d clips to %d", seen, now)
		} else {
			seen = now
		}
	}
	got := p.results("/clips", id)
	if len(got.Clips) != 4 {
		t.Fatalf("%+v", got)
	}
	if a := p.must("GET", got.Clips[3].ExportLink, ""); a.status != 200 || len(a.body) < 10_000 {
		t.Errorf("the file: %d", a.status)
	}
}

func TestTextsAreThereAtTheEnd(t *testing.T) {
	p := start(t, Options{})
	for _, path := range []string{"/summaries", "/transcripts"} {
		id := p.made(path, video+`}`)
		if got := p.results(path, id); got.Summary != "" || got.Transcript != nil || got.Clips != nil {
			t.Errorf("%+v", got)
		}
		p.clock.advance(100 * time.Second)
		if got := p.results(path, id); (got.Summary != "") == (got.Transcript != nil) || got.Status != statusSucceeded {
			t.Errorf("%+v", got)
		}
		// The id of one call is none of another's.
		if a := p.must("GET", "/api/v2/clips/results/"+id, "", withKey...); a.status != 404 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
}

// TestAnyProjectThatCanBeExportedCanBeRead where that is wanted, and no other task.
func TestAnyProjectThatCanBeExportedCanBeRead(t *testing.T) {
	strict := start(t, Options{})
	if a := strict.must("GET", "/api/v2/clips/results/my-project", "", withKey...); a.status != 404 {
		t.Errorf("strict: %d %s", a.status, a.body)
	}
	p := start(t, Options{AnyProject: true})
	got := p.results("/clips", "my-project~clips=8")
	if got.Status != statusSucceeded || len(got.Clips) != 8 || got.CostUsage == 0 {
		t.Fatalf("%+v", got)
	}
	export := p.submitted(`{"project_id":"my-project~clips=8"}`)
	p.clock.advance(100 * time.Second)
	if of := p.looked(export); len(of.Clips) != 8 || of.Clips[7].Title != got.Clips[7].Title {
		t.Errorf("its export: %+v", of)
	}
	if a := p.must("GET", got.Clips[7].ExportLink, ""); a.status != 200 || len(a.body) < 10_000 {
		t.Errorf("the file: %d", a.status)
	}
	p.clock.advance(1000 * time.Hour)
	if later := p.results("/clips", "my-project~clips=8"); !time.UnixMilli(later.ExpireAt).After(p.clock.Now().Add(35 * time.Hour)) {
		t.Errorf("it expires at %s", time.UnixMilli(later.ExpireAt))
	}
	for _, path := range []string{"/clips/results/moments_1", "/clips/results/" + export, "/clips/export/my-project", "/clips/find-moments/results/my-project", "/clips/results/" + strings.Repeat("x", 5000)} {
		if a := p.must("GET", "/api/v2"+path, "", withKey...); a.status != 404 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if n := len(p.State().Submits); n != 1 {
		t.Errorf("%d were charged", n)
	}
}

// TestTheLimitsAreForAllCalls: they are the key's.
func TestTheLimitsAreForAllCalls(t *testing.T) {
	p := start(t, Options{Limits: Limits{RequestsPerMinute: 4, MaxActive: 2}})
	p.made("/clips", video+`}`)
	p.submitted(`{"project_id":"p"}`)
	if a := p.must("POST", "/api/v2/summaries", video+`}`, withKey...); a.status != 429 || !strings.Contains(a.body, "/api/v2/summaries") {
		t.Errorf("the third project: %d %s", a.status, a.body)
	}
	p.must("POST", "/api/v2/upload/single-file", `{"name":"a.mp4"}`, withKey...)
	if a := p.get("some"); a.status != 429 {
		t.Errorf("the fifth request: %d", a.status)
	}
	if refused := p.State().Refused; refused["active"] != 1 || refused["rate"] != 1 {
		t.Errorf("%v", refused)
	}
}

func TestAnUploadIsAVideo(t *testing.T) {
	p := start(t, Options{})
	a := p.must("POST", "/api/v2/upload/single-file", `{"name":"talk.mp4"}`, withKey...)
	var got struct {
		Data struct {
			UploadURL string `json:"upload_url"`
			Identity  string `json:"identity"`
		}
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Data.Identity == "" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	order := `{"video_url":"` + got.Data.Identity + `"}`
	if a := p.must("POST", "/api/v2/clips", order, withKey...); a.status != 400 || !strings.Contains(a.body, "nothing was put there") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := p.must("PUT", got.Data.UploadURL, "a small film"); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	p.made("/clips", order)
	p.clock.advance(time.Hour)
	if a := p.must("PUT", got.Data.UploadURL, "too late"); a.status != 404 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestWrongOrders(t *testing.T) {
	p := start(t, Options{})
	for body, want := range map[string]string{
		`{}`:                           "video_url: required",
		`no`:                           "not understood",
		`{"video_url":"v","limit":-1}`: "limit: ",
		`{"video_url":"v","target_duration":"x"}`:                  "target_duration: ",
		`{"video_url":"v","enable_export":true,"resolution":"SD"}`: "resolution: ",
	} {
		wantRefusal(t, p.must("POST", "/api/v2/clips", body, withKey...), 400, want, "/api/v2/clips")
	}
	wantRefusal(t, p.must("POST", "/api/v2/clips/find-moments", video+`}`, withKey...), 400, "query: required", "")
	if n := len(p.State().Submits); n != 0 {
		t.Errorf("%d were charged", n)
	}
}
