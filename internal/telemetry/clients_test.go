package telemetry_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/redistest"
	"github.com/clipferry/clipferry/internal/telemetry"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

func TestRedisErrorsAreCounted(t *testing.T) {
	tel := telemetry.New(telemetry.Options{})
	server := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1, DialTimeout: time.Second})
	defer func() { _ = rdb.Close() }()
	rdb.AddHook(tel.RedisHook())
	ctx := t.Context()

	if err := rdb.Get(ctx, "nothing").Err(); !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_ = rdb.Get(canceled, "k").Err()
	if err := redis.NewScript("return 1").Run(ctx, rdb, nil).Err(); err != nil { // NOSCRIPT first
		t.Fatal(err)
	}
	for _, reason := range []string{"other", "network", "timeout", "readonly"} {
		if n := redisErrors(t, tel, reason); n != 0 {
			t.Errorf("%d errors of the kind %s counted, and nothing has failed", n, reason)
		}
	}
	server.SetError("OOM command not allowed when used memory > 'maxmemory'.")
	_ = rdb.Set(ctx, "k", "v", 0).Err()
	server.SetError("READONLY You can't write against a read only replica.")
	_, _ = rdb.Pipelined(ctx, func(p redis.Pipeliner) error { p.Incr(ctx, "k"); return nil })
	server.Close()
	_ = rdb.Get(ctx, "k").Err()
	for _, reason := range []string{"out_of_memory", "readonly", "network"} {
		if redisErrors(t, tel, reason) == 0 {
			t.Errorf("no error of the kind %s counted", reason)
		}
	}
}

func redisErrors(t *testing.T, tel *telemetry.Telemetry, reason string) int {
	t.Helper()
	_, after, ok := strings.Cut(scrape(t, tel), `clipferry_redis_errors_total{reason="`+reason+`"} `)
	line, _, _ := strings.Cut(after, "\n")
	n, err := strconv.Atoi(line)
	if !ok || err != nil {
		t.Fatalf("no count of %s: %v", reason, err)
	}
	return n
}

func TestRealRedis(t *testing.T) {
	server := redistest.Start(t, redistest.Config("maxmemory", "64mb"), redistest.Config("maxmemory-policy", "allkeys-lru"))
	rdb := server.Client()
	tel := telemetry.New(telemetry.Options{})
	rdb.AddHook(tel.RedisHook())
	l := ledger.New(ledger.Options{Redis: rdb})
	if _, err := l.Create(t.Context(), export.New("e1", nil, "d", "p", time.Now())); err != nil {
		t.Fatal(err)
	}
	if _, err := tasks.NewClientFromRedis(rdb).Enqueue(t.Context(), tasks.Export{ProjectID: "p"}); err != nil {
		t.Fatal(err)
	}
	tel.Watch(telemetry.Sources{Ledger: l, Queues: queue.New(rdb), Redis: telemetry.ReadRedis(rdb)})
	body := scrape(t, tel)
	wantLines(t, body,
		`clipferry_redis_memory_limit_bytes 6.7108864e+07`, `clipferry_redis_noeviction 0`, `clipferry_redis_aof_enabled 1`,
		`clipferry_redis_persistence_ok 1`, `clipferry_source_up{source="redis"} 1`,
		`clipferry_exports{state="queued"} 1`, `clipferry_queue_tasks{queue="clipferry-submit",state="pending"} 1`)
	if n := redisErrors(t, tel, "other"); n != 0 {
		t.Errorf("%d errors counted on a server that is well", n)
	}
	if !strings.Contains(body, "clipferry_redis_memory_used_ratio 0.0") {
		t.Error("no share of the memory in use")
	}
}

func TestRealClusterIsTheWorstOfItsNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three servers")
	}
	cluster := redistest.StartCluster(t, 3, redistest.Config("maxmemory", "64mb"), redistest.Config("maxmemory-policy", "noeviction"))
	tel := telemetry.New(telemetry.Options{})
	tel.Watch(telemetry.Sources{Redis: telemetry.ReadRedis(cluster.Client())})
	wantLines(t, scrape(t, tel), `clipferry_redis_memory_limit_bytes 2.01326592e+08`, `clipferry_redis_noeviction 1`)
}

func TestS3IsCounted(t *testing.T) {
	tel := telemetry.New(telemetry.Options{})
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	tel.S3(canceled, storage.Attempt{Operation: "PutObject", Err: context.Canceled})
	tel.S3(t.Context(), storage.Attempt{Operation: "PutObject", Err: io.EOF})
	tel.S3(t.Context(), storage.Attempt{Operation: "PutObject", Status: http.StatusOK, Sent: 5})
	for _, status := range []int{
		http.StatusNotFound, http.StatusPreconditionFailed, http.StatusConflict, http.StatusForbidden,
		http.StatusServiceUnavailable, http.StatusInternalServerError, http.StatusBadRequest,
	} {
		tel.S3(t.Context(), storage.Attempt{Operation: "PutObject", Status: status, Err: io.EOF})
	}
	tel.S3(t.Context(), storage.Attempt{Operation: "Unheard", Status: http.StatusOK})

	wantLines(
		t, scrape(t, tel),
		`clipferry_s3_requests_total{operation="PutObject",result="ok"} 1`,
		`clipferry_s3_requests_total{operation="PutObject",result="missing"} 1`,
		`clipferry_s3_requests_total{operation="PutObject",result="precondition"} 2`,
		`clipferry_s3_requests_total{operation="PutObject",result="denied"} 1`,
		`clipferry_s3_requests_total{operation="PutObject",result="slow_down"} 1`,
		`clipferry_s3_requests_total{operation="PutObject",result="server_error"} 1`,
		`clipferry_s3_requests_total{operation="PutObject",result="client_error"} 1`,
		`clipferry_s3_requests_total{operation="PutObject",result="canceled"} 1`,
		`clipferry_s3_requests_total{operation="PutObject",result="no_answer"} 1`,
		`clipferry_s3_request_duration_seconds_count{operation="PutObject"} 10`,
		`clipferry_s3_requests_total{operation="other",result="ok"} 1`,
		`clipferry_s3_sent_bytes_total 5`,
	)
}
