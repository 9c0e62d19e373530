package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/fault"
)

func (r reply) readiness(t *testing.T) readyBody {
	t.Helper()
	var body readyBody
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
	return body
}

func TestReady(t *testing.T) {
	var redisErr, s3Err atomic.Value
	redisErr.Store(errors.New(""))
	s3Err.Store(errors.New(""))
	var runs atomic.Int32
	check := func(v *atomic.Value) func(context.Context) error {
		return func(context.Context) error {
			runs.Add(1)
			if err := v.Load().(error); err.Error() != "" {
				return err
			}
			return nil
		}
	}
	f := newFixture(t, func(o *Options) {
		o.Checks = []Check{{Name: "redis", Run: check(&redisErr)}, {Name: "s3", Run: check(&s3Err)}}
	})
	if got := f.call("GET", "/readyz", "", "Authorization", ""); got.status != 200 || got.readiness(t).Status != "ready" || len(got.readiness(t).Checks) != 2 {
		t.Errorf("%d %s", got.status, got.body)
	}
	s3Err.Store(errors.New("the bucket is gone"))
	if got := f.call("GET", "/readyz", ""); got.status != 200 || runs.Load() != 2 {
		t.Errorf("%d after %d runs: probes within 2 s must cost nothing", got.status, runs.Load())
	}
	f.clock.add(readyAge)
	got := f.call("GET", "/readyz", "")
	if body := got.readiness(t); got.status != 503 || body.Status != "not ready" || !body.Checks[0].OK || body.Checks[1].OK || body.Checks[1].Error != "the bucket is gone" {
		t.Errorf("%d %s", got.status, got.body)
	}
	s3Err.Store(errors.New(""))
	f.clock.add(readyAge)
	f.api.Drain()
	if got := f.call("GET", "/readyz", ""); got.status != 503 || got.readiness(t).Status != "draining" {
		t.Errorf("%d %s", got.status, got.body)
	}
	for path, want := range map[string]int{"//healthz": 200, "/healthz/": 200, "//readyz//": 503} {
		if got := f.call("GET", path, ""); got.status != want || !strings.Contains(got.body, `"status":`) {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := f.call("GET", "/healthz", ""); got.status != 200 || strings.TrimSpace(got.body) != `{"status":"alive"}` {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// TestACheckThatHangs: the answer comes at its timeout, and probes that come
// meanwhile wait for the same run.
func TestACheckThatHangs(t *testing.T) {
	release := make(chan struct{})
	var runs atomic.Int32
	f := newFixture(t, func(o *Options) {
		o.Checks = []Check{
			{Name: "deaf", Timeout: 30 * time.Millisecond, Run: func(context.Context) error { runs.Add(1); <-release; return nil }},
			{Name: "late", Timeout: 30 * time.Millisecond, Run: func(ctx context.Context) error {
				<-ctx.Done()
				return fault.New(fault.Retry, "S3 did not answer", ctx.Err()).WithHint("see the endpoint")
			}},
		}
	})
	defer close(release)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			got := f.call("GET", "/readyz", "")
			for _, c := range got.readiness(t).Checks {
				if got.status != 503 || c.OK || c.Error != "no answer within 30ms" {
					t.Errorf("%d %+v", got.status, c)
				}
			}
		})
	}
	all.Wait()
	if runs.Load() != 1 {
		t.Errorf("%d runs", runs.Load())
	}
}

func TestIndexAndMetrics(t *testing.T) {
	f := newFixture(t, func(o *Options) {
		o.Version = "v1.2.3 <b>"
		o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("clipferry_up 1\n")) })
		o.Monitor.Redis = nil
	})
	page := f.call("GET", "/", "", "Authorization", "")
	for _, want := range []string{"v1.2.3 &lt;b&gt;", `href="/readyz"`, `href="/metrics"`, "Asynqmon is switched off", "/api/v2/clips/export"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("not on the page: %s", want)
		}
	}
	if strings.Contains(page.body, `href="/monitor/"`) {
		t.Error("a link to what is off")
	}
	for header, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Content-Type": "text/html; charset=utf-8"} {
		if got := page.header.Get(header); got != want {
			t.Errorf("%s: %q", header, got)
		}
	}
	if got := f.call("GET", "/metrics", ""); got.status != 200 || got.body != "clipferry_up 1\n" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := newFixture(t).call("GET", "/metrics", ""); got.status != 404 {
		t.Errorf("without metrics: %d", got.status)
	}
	if got := f.call("GET", "/nothing", ""); got.status != 404 {
		t.Errorf("%d", got.status)
	}
}
