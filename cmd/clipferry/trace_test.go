package main

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/tasks"
)

func TestEnqueueBeginsATraceForEachExport(t *testing.T) {
	m := miniredis.RunT(t)
	var posts atomic.Int32
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/traces" {
			posts.Add(1)
		}
	}))
	defer collector.Close()
	enqueue := func(env ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "clipferry", "enqueue", "--file", "-")
		cmd.Env = append([]string{"CLIPFERRY_REDIS_URL=redis://" + m.Addr()}, env...)
		cmd.Stdin = strings.NewReader(`{"project_id":"p"}` + "\n" + `{"project_id":"q"}` + "\n")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr()})
	defer rdb.Close()
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	traceOf := func(id string) string {
		info, err := inspector.GetTaskInfo(tasks.QueueSubmit, tasks.SubmitTaskID(id))
		if err != nil {
			t.Fatal(err)
		}
		trace, _, _ := strings.Cut(strings.TrimPrefix(info.Headers["traceparent"], "00-"), "-")
		return trace
	}

	out, err := enqueue("OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL)
	ids := strings.Fields(out)
	if err != nil || len(ids) != 2 {
		t.Fatalf("%v: %s", err, out)
	}
	if a, b := traceOf(ids[0]), traceOf(ids[1]); len(a) != 32 || len(b) != 32 || a == b {
		t.Errorf("traces %q and %q", a, b)
	}
	if posts.Load() == 0 {
		t.Error("no span reached the collector")
	}

	if out, err = enqueue(); err != nil || traceOf(strings.Fields(out)[0]) != "" {
		t.Errorf("a trace that nobody asked for: %v, %s", err, out)
	}
	// One that is down costs spans and nothing else.
	collector.Close()
	if out, err = enqueue("OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL); err != nil || !strings.HasPrefix(out, "exp_") {
		t.Errorf("without its collector: %v, %s", err, out)
	}
	if out, err = enqueue("OTEL_TRACES_EXPORTER=jaeger"); err == nil || strings.Contains(out, "exp_") {
		t.Errorf("an exporter that there is not: %s", out)
	}
}
