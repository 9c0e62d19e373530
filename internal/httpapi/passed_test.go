package httpapi

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/passthrough"
)

// carrier notes what it is asked for, and answers as it is told.
type carrier struct {
	asked  []passthrough.Request
	bodies []string
	answer passthrough.Answer
	err    error
}

func (c *carrier) Do(_ context.Context, r passthrough.Request) (passthrough.Answer, error) {
	body, err := io.ReadAll(r.Body)
	c.asked, c.bodies = append(c.asked, r), append(c.bodies, string(body))
	if err != nil {
		return passthrough.Answer{}, err
	}
	return c.answer, c.err
}

func (c *carrier) Wait() time.Duration { return time.Second }

var asJSON = http.Header{"Content-Type": {"application/json"}}

func TestOtherCallsArePassedThrough(t *testing.T) {
	c := &carrier{answer: passthrough.Answer{Status: 201, Header: http.Header{"Content-Type": {"text/plain"}}, Body: []byte("as it came"), Age: 7 * time.Second, Again: true}}
	f := newFixture(t, func(o *Options) { o.Passthrough = c })
	got := f.call("POST", "//api/v2/clips/?a=1&b=%20", `{"video_url":"v"}`, "Idempotency-Key", `"order 1"`)
	if got.status != 201 || got.body != "as it came" || got.header.Get("Age") != "7" || got.header.Get("Content-Type") != "text/plain" {
		t.Errorf("%+v", got)
	}
	r := c.asked[0]
	if r.Tenant != "web" || r.Method != "POST" || r.Path != "/api/v2/clips" || r.Query != "a=1&b=%20" || r.Key != "order 1" || c.bodies[0] != `{"video_url":"v"}` {
		t.Errorf("%+v %q", r, c.bodies[0])
	}
	// What is ours stays ours, under the older root as well.
	f.call("POST", "/open/v2/clips/export", `{"project_id":"p"}`).data(t, &submitted{})
	if n := len(c.asked); n != 1 {
		t.Errorf("%d requests were passed on", n)
	}
}

func TestWhatIsNotPassedThrough(t *testing.T) {
	c := &carrier{answer: passthrough.Answer{Status: 200}}
	f := newFixture(t, func(o *Options) { o.Passthrough = c })
	for _, refusal := range []struct {
		path    string
		headers []string
		status  int
	}{
		{"/api/v2/clips/results/x", []string{"Authorization", ""}, 403},
		{"/api/v2/clips/results/x", []string{versionHeader, ""}, 403},
		{"/api/v2/clips/exports/a/b", nil, 404},
		{"/api/v1/clips", nil, 404},
		{"/open/", nil, 404},
	} {
		if got := f.call("GET", refusal.path, "", refusal.headers...); got.status != refusal.status {
			t.Errorf("%s: %d %s", refusal.path, got.status, got.body)
		}
	}
	if got := f.call("POST", "/api/v2/clips", `{}`, "Idempotency-Key", `""`); got.status != 400 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if len(c.asked) != 0 {
		t.Errorf("%+v", c.asked)
	}
	c.err = &passthrough.Refusal{Status: 429, Reason: "busy", Message: "wait", RetryAfter: 9 * time.Second}
	got := f.call("POST", "/api/v2/clips", `{}`)
	if got.status != 429 || got.header.Get("Retry-After") != "9" || !strings.Contains(got.body, `"path":"/api/v2/clips"`) || !strings.Contains(got.body, `"reason":"busy"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// TestATaskThatNoWorkerReads is read in its client's place.
func TestATaskThatNoWorkerReads(t *testing.T) {
	c := &carrier{answer: passthrough.Answer{Status: 200, Header: asJSON, Body: []byte(`{"data":{"id":"clips_1"}}`), Again: true, Call: "clips", TaskID: "clips_1"}}
	f := newFixture(t, func(o *Options) { o.Passthrough = c })
	var taken importedPage
	f.call("POST", "/api/v2/clips/exports/import", `{"kind":"clips","task_ids":["clips_1"]}`).data(t, &taken)
	c.answer.Export = taken.Exports[0].ExportTaskID
	for _, step := range []struct {
		pass  time.Duration
		asked int
	}{{0, 1}, {2 * time.Minute, 2}, {time.Minute, 4}} {
		f.clock.add(step.pass)
		got := f.call("GET", "/api/v2/clips/results/clips_1", "")
		if n := len(c.asked); n != step.asked || c.asked[n-1].Unread != (n == 4) {
			t.Errorf("after %s: asked %d times, %+v", step.pass, n, c.asked[n-1])
		}
		if age := got.header.Get("Age"); step.asked == 2 && age != "120" {
			t.Errorf("its age is %q, since the export has read it", age)
		}
	}
}

func TestAnAdminReadsTheTasksOfAll(t *testing.T) {
	c := &carrier{answer: passthrough.Answer{Status: 200, Header: asJSON, Body: []byte(`{}`)}}
	f := newFixture(t, func(o *Options) { o.Passthrough = c })
	f.call("GET", "/api/v2/summaries/results/x", "", "Authorization", "Bearer the-secret-of-an-admin")
	f.call("GET", "/api/v2/summaries/results/x", "")
	if a, b := c.asked[0], c.asked[1]; !a.All || a.Tenant != "ops" || b.All || b.Tenant != "web" || a.Alone || b.Alone {
		t.Errorf("%+v, %+v", a, b)
	}
	f = newFixture(t, func(o *Options) { o.Passthrough, o.Keys = c, o.Keys[:1] })
	f.call("GET", "/api/v2/summaries/results/x", "")
	if a := c.asked[2]; a.All || !a.Alone {
		t.Errorf("the only tenant: %+v", a)
	}
}
