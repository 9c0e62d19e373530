package tasks

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/redistest"
)

// onBothRedis runs the test against miniredis and a real redis-server.
func onBothRedis(t *testing.T, test func(t *testing.T, address string)) {
	t.Run("miniredis", func(t *testing.T) {
		test(t, "redis://"+miniredis.RunT(t).Addr())
	})
	t.Run("redis-server", func(t *testing.T) {
		test(t, redistest.Start(t).URL())
	})
}

// onEveryRedis adds a cluster of three masters.
func onEveryRedis(t *testing.T, test func(t *testing.T, address string)) {
	onBothRedis(t, test)
	t.Run("cluster", func(t *testing.T) {
		test(t, redistest.StartCluster(t, 3).URL())
	})
}

func newTestClient(t *testing.T, address string, opts ...Option) *Client {
	t.Helper()
	c, err := NewClient(address, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (c *Client) pending(t *testing.T) int {
	t.Helper()
	queues, err := c.inspector.Queues()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, queue := range queues {
		info, err := c.inspector.GetQueueInfo(queue)
		if err != nil {
			t.Fatal(err)
		}
		n += info.Pending
	}
	return n
}

func TestEnqueue(t *testing.T) {
	onBothRedis(t, func(t *testing.T, address string) {
		c := newTestClient(t, address, WithTraceHeaders(func(context.Context) map[string]string {
			return map[string]string{"traceparent": "00-abc"}
		}))
		id, err := c.Enqueue(t.Context(), Export{ProjectID: "p", Priority: PriorityHigh})
		if err != nil || !strings.HasPrefix(id, "exp_") {
			t.Fatalf("id %q, %v", id, err)
		}
		info, err := c.inspector.GetTaskInfo(QueueSubmitHigh, "submit:"+id)
		if err != nil {
			t.Fatal(err)
		}
		if info.Type != "export:submit" || string(info.Payload) != `{"project_id":"p","priority":"high"}` ||
			info.MaxRetry != 25 || info.Timeout != 24*time.Hour || info.Headers["traceparent"] != "00-abc" {
			t.Errorf("task %+v", info)
		}
		if e, ok, err := c.Queued(t.Context(), id); err != nil || !ok || e.ProjectID != "p" {
			t.Errorf("queued %+v %v %v", e, ok, err)
		}
		if _, ok, err := c.Queued(t.Context(), "nobody"); err != nil || ok {
			t.Errorf("an unknown id: %v %v", ok, err)
		}
	})
}

func TestEnqueueIsIdempotentByJobID(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, address string) {
		c := newTestClient(t, address)
		e := Export{ProjectID: "p", JobID: "order-17"}
		again := e
		again.Priority = PriorityLow // not part of the body: still the same export
		other := e
		other.Resolution = "HD_720"

		for _, same := range []Export{e, e, again} {
			if id, err := c.Enqueue(t.Context(), same); err != nil || id != "order-17" {
				t.Fatalf("id %q, %v", id, err)
			}
		}
		if n := c.pending(t); n != 1 {
			t.Errorf("%d tasks are pending, want 1", n)
		}
		if _, err := c.Enqueue(t.Context(), other); !errors.Is(err, ErrDifferentBody) || !strings.Contains(err.Error(), "order-17") {
			t.Errorf("a different body: %v", err)
		}

		// Taken up: the task is gone, the ledger has the export.
		if err := c.inspector.DeleteTask(QueueSubmit, "submit:order-17"); err != nil {
			t.Fatal(err)
		}
		if err := c.rdb.HSet(t.Context(), "clipferry:{order-17}", "digest", e.Digest()).Err(); err != nil {
			t.Fatal(err)
		}
		if id, err := c.Enqueue(t.Context(), e); err != nil || id != "order-17" {
			t.Errorf("id %q, %v", id, err)
		}
		if _, err := c.Enqueue(t.Context(), other); !errors.Is(err, ErrDifferentBody) {
			t.Errorf("a different body: %v", err)
		}
		if n := c.pending(t); n != 0 {
			t.Errorf("%d tasks are pending, want none", n)
		}
	})
}

func TestBareAsynqProducerMeetsTheClient(t *testing.T) {
	c := newTestClient(t, "redis://"+miniredis.RunT(t).Addr())
	task := asynq.NewTask("export:submit", []byte(`{ "clip_indices": [0], "project_id": "p" }`))
	_, err := c.queue.Enqueue(task, asynq.TaskID("submit:order-17"), asynq.Queue("clipferry-submit"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Enqueue(t.Context(), Export{ProjectID: "p", ClipIndices: []int{0}, JobID: "order-17"}); err != nil {
		t.Errorf("the same body in another notation: %v", err)
	}
	if n := c.pending(t); n != 1 {
		t.Errorf("%d tasks are pending, want 1", n)
	}
}

// TestJobIDThatAMalformedTaskUsedUp: nobody may be told that a good request was
// accepted under it.
func TestJobIDThatAMalformedTaskUsedUp(t *testing.T) {
	c := newTestClient(t, "redis://"+miniredis.RunT(t).Addr())
	if err := c.rdb.HSet(t.Context(), LedgerKey("taken-up"), "doc", "a record without a digest").Err(); err != nil {
		t.Fatal(err)
	}
	task := asynq.NewTask(TypeSubmit, []byte("nonsense"), asynq.TaskID("submit:queued"), asynq.Queue(QueueSubmit))
	if _, err := c.queue.Enqueue(task); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"taken-up", "queued"} {
		if _, err := c.Enqueue(t.Context(), Export{ProjectID: "p", JobID: id}); !errors.Is(err, ErrDifferentBody) {
			t.Errorf("%s: %v", id, err)
		}
	}
	var faults Faults
	if _, _, err := c.Queued(t.Context(), "queued"); !errors.As(err, &faults) {
		t.Errorf("queued: %v", err)
	}
}

// A task that asynq keeps and will not run again stands for nothing, if the
// ledger does not know its export: the JobID would be dead with it for 90 days.
func TestJobIDOfATaskThatIsOverIsFreeAgain(t *testing.T) {
	onBothRedis(t, func(t *testing.T, address string) {
		c := newTestClient(t, address)
		e := Export{ProjectID: "p", JobID: "job-1"}
		enqueue := func(e Export) {
			t.Helper()
			if id, err := c.Enqueue(t.Context(), e); err != nil || id != "job-1" {
				t.Fatalf("%q, %v", id, err)
			}
			if c.pending(t) != 1 {
				t.Fatalf("%d tasks pending, want 1", c.pending(t))
			}
		}
		enqueue(e)
		if err := c.inspector.ArchiveTask(QueueSubmit, SubmitTaskID("job-1")); err != nil {
			t.Fatal(err)
		}
		if _, found, err := c.Queued(t.Context(), "job-1"); found || err != nil {
			t.Errorf("an archived task is called queued: %v", err)
		}
		enqueue(Export{ProjectID: "another", JobID: "job-1"})
		enqueue(Export{ProjectID: "another", JobID: "job-1"}) // and stands for it
		if got, _, err := c.Queued(t.Context(), "job-1"); err != nil || got.ProjectID != "another" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// Exports without a JobID are not looked up, and yet what they wait in is seen
// soon after Redis has lost asynq's list of queues.
func TestQueuesAreAnnouncedAgain(t *testing.T) {
	c := newTestClient(t, "redis://"+miniredis.RunT(t).Addr())
	listed := func(priority string) bool {
		t.Helper()
		if _, err := c.Enqueue(t.Context(), Export{ProjectID: "p", Priority: priority}); err != nil {
			t.Fatal(err)
		}
		queues, err := c.inspector.Queues()
		if err != nil {
			t.Fatal(err)
		}
		return slices.Contains(queues, QueueFor(priority))
	}
	for _, priority := range []string{"", PriorityHigh} {
		listed(priority)
		if err := c.rdb.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		c.mu.Lock()
		c.published[QueueFor(priority)] = time.Now().Add(-publishEvery)
		c.mu.Unlock()
		if !listed(priority) {
			t.Errorf("queue %s fills unseen", QueueFor(priority))
		}
	}
}

func TestEnqueueConcurrently(t *testing.T) {
	onBothRedis(t, func(t *testing.T, address string) {
		c := newTestClient(t, address)
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				if id, err := c.Enqueue(t.Context(), Export{ProjectID: "p", JobID: "same"}); err != nil || id != "same" {
					t.Errorf("id %q, %v", id, err)
				}
			})
		}
		group.Wait()
		if n := c.pending(t); n != 1 {
			t.Errorf("%d tasks are pending, want 1", n)
		}
	})
}

// TestLostAnswer: the enqueue reached Redis and the answer didn't reach us, so
// go-redis sends it again and meets its own task.
func TestLostAnswer(t *testing.T) {
	c := newTestClient(t, "redis://"+miniredis.RunT(t).Addr())
	e := Export{ProjectID: "p"}
	for range 2 {
		if id, err := c.enqueueNew(t.Context(), item{Export: e, id: "exp_mine"}); err != nil || id != "exp_mine" {
			t.Errorf("id %q, %v", id, err)
		}
	}
}

func TestEnqueueAll(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, address string) {
		c := newTestClient(t, address)
		batch := []Export{
			{ProjectID: "p", JobID: "a"}, {ProjectID: "p"}, {ProjectID: "p", JobID: "a", Priority: PriorityHigh}, {ProjectID: "q", JobID: "b"},
		}
		ids, err := c.EnqueueAll(t.Context(), batch)
		if err != nil || len(ids) != 4 || ids[0] != "a" || ids[2] != "a" || ids[3] != "b" {
			t.Fatalf("ids %v, %v", ids, err)
		}
		if n := c.pending(t); n != 3 {
			t.Errorf("%d tasks are pending, want 3", n)
		}
		again, err := c.EnqueueAll(t.Context(), []Export{batch[3], batch[0]})
		if err != nil || !slices.Equal(again, []string{"b", "a"}) {
			t.Errorf("ids %v, %v", again, err)
		}
		if n := c.pending(t); n != 3 {
			t.Errorf("%d tasks are pending, want 3", n)
		}
	})
}

func TestEnqueueAllOrNothing(t *testing.T) {
	c := newTestClient(t, "redis://"+miniredis.RunT(t).Addr())
	if _, err := c.Enqueue(t.Context(), Export{ProjectID: "p", JobID: "taken"}); err != nil {
		t.Fatal(err)
	}
	for want, batch := range map[string][]Export{
		"export 2: project_id: required\nexport 3: ratio: required when enable_ai_reframe is true": {
			{ProjectID: "p"}, {}, {ProjectID: "p", EnableAIReframe: true},
		},
		"export 2: job_id: a already stands for an export with a different body (given before in this batch)": {
			{ProjectID: "p", JobID: "a"}, {ProjectID: "q", JobID: "a"},
		},
		"export 2: job_id: taken already stands for an export with a different body": {
			{ProjectID: "p"}, {ProjectID: "q", JobID: "taken"},
		},
	} {
		ids, err := c.EnqueueAll(t.Context(), batch)
		var wrong BatchError
		if !errors.As(err, &wrong) || err.Error() != want || len(ids) != 0 {
			t.Errorf("ids %v, error %v\nwant %s", ids, err, want)
		}
	}
	if n := c.pending(t); n != 1 {
		t.Errorf("%d tasks are pending, want only the first", n)
	}
}

func TestEnqueueWithoutRedis(t *testing.T) {
	m := miniredis.RunT(t)
	address := m.Addr()
	m.Close()
	c := newTestClient(t, "redis://:hunter2@"+address+"?dial_timeout=100ms&max_retries=-1")
	id, err := c.Enqueue(t.Context(), Export{ProjectID: "p"})
	if err == nil || !strings.HasPrefix(id, "exp_") || !strings.Contains(err.Error(), id) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("id %q, %v", id, err)
	}
	batch := slices.Repeat([]Export{{ProjectID: "p", JobID: "a"}}, 1000)
	if ids, err := c.EnqueueAll(t.Context(), batch); err == nil || len(ids) != 0 {
		t.Errorf("ids %v, %v", ids, err)
	}
}

// An export that waits costs Redis little, as many may.
func TestWhatWaitsIsSmall(t *testing.T) {
	rdb := redistest.Start(t).Client()
	e := Export{
		ProjectID: "65f0c2a1b7e94d3f8a6c1e20", ClipIndices: []int{0, 1, 2, 3, 4}, Resolution: "FHD_1080", EnableCaption: true,
		JobID: "order-2026-000123",
	}
	if _, err := NewClientFromRedis(rdb).Enqueue(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	keys, err := rdb.Keys(t.Context(), "asynq:*:t:*").Result()
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	if n := rdb.MemoryUsage(t.Context(), keys[0], 0).Val(); n == 0 || n > 700 {
		t.Errorf("it takes %d bytes", n)
	}
}
