package queue_test

import (
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/redistest"
	"github.com/clipferry/clipferry/tasks"
)

// What a bare producer enqueued is found by its labels once it was entered, however
// many others wait before it.
func TestExportsOfBareProducersAreIndexed(t *testing.T) {
	rdb := redistest.Start(t).Client()
	l := ledger.New(ledger.Options{Redis: rdb})
	service, bare := admin.New(rdb, l, time.Now), asynq.NewClientFromRedisClient(rdb)
	put := func(payload string, opts ...asynq.Option) {
		t.Helper()
		if _, err := bare.Enqueue(asynq.NewTask(tasks.TypeSubmit, []byte(payload)), append(opts, asynq.Queue(tasks.QueueSubmit))...); err != nil {
			t.Fatal(err)
		}
	}
	find := func(f ledger.Filter) []string {
		t.Helper()
		found, err := service.List(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, r := range found {
			ids = append(ids, r.ID)
		}
		return ids
	}
	labeled := ledger.Filter{Labels: map[string]string{"show": "42"}}
	put(`{"project_id":"p","labels":{"show":"42","x":"y"}}`, asynq.TaskID("submit:named"))
	put(`{"project_id":"p","job_id":"own","labels":{"show":"42"}}`) // its TaskID is asynq's
	put(`not JSON`, asynq.TaskID("submit:broken"))
	for range 600 { // more than are looked at unindexed
		put(`{"project_id":"q"}`)
	}
	if got := find(labeled); len(got) != 0 {
		t.Fatalf("not indexed yet, and found: %v", got)
	}
	q := queue.New(rdb)
	for range 2 { // the second time changes nothing
		if _, err := q.EnterWaiting(t.Context(), time.Hour, time.Now()); err != nil {
			t.Fatal(err)
		}
		if got := find(labeled); len(got) != 2 {
			t.Errorf("found by label: %v", got)
		}
	}
	if got := find(ledger.Filter{Labels: map[string]string{"show": "42", "x": "y"}}); len(got) != 1 || got[0] != "named" {
		t.Errorf("found by both labels: %v", got)
	}
	if got := find(ledger.Filter{Project: "q", Limit: 1000}); len(got) != 600 {
		t.Errorf("%d of the project", len(got))
	}
	if _, err := service.Cancel(t.Context(), "named"); err != nil { // now it has a record
		t.Fatal(err)
	}
	if got := find(labeled); len(got) != 2 {
		t.Errorf("with and without a record: %v", got)
	}
	labeled.State = "queued"
	if got := find(labeled); len(got) != 1 || got[0] != "own" {
		t.Errorf("queued: %v", got)
	}
	if err := asynq.NewInspectorFromRedisClient(rdb).DeleteQueue(tasks.QueueSubmit, true); err != nil {
		t.Fatal(err)
	}
	if got := find(labeled); len(got) != 0 {
		t.Errorf("gone from its queue, and listed: %v", got)
	}
	gone, err := q.Vanished(t.Context(), time.Now().Add(time.Minute), 1000)
	if err != nil || len(gone) != 601 {
		t.Fatalf("%d vanished, %v", len(gone), err)
	}
	for _, id := range gone {
		if err := l.Tidy(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	left, err := rdb.Keys(t.Context(), "clipferry:{index}:of:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	known := int64(0)
	for _, key := range left {
		known += rdb.HLen(t.Context(), key).Val()
	}
	if known != 1 {
		t.Errorf("the indexes still know %d exports: %v", known, left)
	}
}
