package emulator

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time that only moves when it is told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// provider is an emulator behind a real socket, with a clock of its own.
type provider struct {
	*Server
	t     *testing.T
	base  string
	clock *clock
	http  *http.Client
}

// start returns an emulator whose exports take 100 s, unless o says otherwise.
func start(t *testing.T, o Options) *provider {
	t.Helper()
	c := &clock{now: time.Date(2026, 4, 7, 14, 38, 0, 0, time.UTC)}
	o.Now = c.Now
	if o.Render == (Render{}) {
		o.Render.Fixed = 100 * time.Second
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	client := &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}, Timeout: 20 * time.Second}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(func() {
		client.CloseIdleConnections()
		srv.Close()
	})
	return &provider{s, t, srv.URL, c, client}
}

// answered is a response that has been read.
type answered struct {
	status int
	header http.Header
	body   string
	err    error // of the body
}

func (p *provider) do(method, path, body string, header ...string) (answered, error) {
	p.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = p.base + path
	}
	req, err := http.NewRequestWithContext(p.t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return answered{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return answered{resp.StatusCode, resp.Header, string(text), err}, nil
}

// must is do where an answer is expected.
func (p *provider) must(method, path, body string, header ...string) answered {
	p.t.Helper()
	a, err := p.do(method, path, body, header...)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

var withKey = []string{"Authorization", "Bearer dev-key", "x-wayinvideo-api-version", "v2"}

func (p *provider) post(body string) answered {
	p.t.Helper()
	return p.must("POST", "/api/v2/clips/export", body, withKey...)
}

func (p *provider) get(id string) answered {
	p.t.Helper()
	return p.must("GET", "/api/v2/clips/export/"+id, "", withKey...)
}

// submitted submits and returns the task's id.
func (p *provider) submitted(body string) string {
	p.t.Helper()
	a := p.post(body)
	var got struct{ Data submitAnswer }
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 {
		p.t.Fatalf("submit: %d %s", a.status, a.body)
	}
	return got.Data.ExportTaskID
}

// looked reads a task.
func (p *provider) looked(id string) readAnswer {
	p.t.Helper()
	a := p.get(id)
	var got struct{ Data readAnswer }
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 {
		p.t.Fatalf("read: %d %s", a.status, a.body)
	}
	return got.Data
}

// finished submits an export of one clip of a project and returns it when it is
// done, with the clip's link.
func (p *provider) finished(project string) (id, link string) {
	p.t.Helper()
	id = p.submitted(`{"project_id":"` + project + `","clip_indices":[0]}`)
	p.clock.advance(100 * time.Second)
	got := p.looked(id)
	if got.Status != statusSucceeded || len(got.Clips) != 1 {
		p.t.Fatalf("not finished: %+v", got)
	}
	return id, got.Clips[0].ExportLink
}

func (p *provider) inject(f Fault) {
	p.t.Helper()
	if _, err := p.Inject(f); err != nil {
		p.t.Fatal(err)
	}
}
