package admin_test

import (
	"errors"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/tasks"
)

// Asynq's clients enter a queue into the list of queues once in their lives. What
// is enqueued after Redis has lost everything, the list included, is found too.
func TestWhatIsQueuedAfterAFlushIsFound(t *testing.T) {
	for _, account := range []string{"", "eu"} {
		t.Run("account "+account, func(t *testing.T) {
			d := newRig(t)
			d.enqueue(t, tasks.Export{JobID: "before", ProjectID: "p", Account: account})
			if err := d.rdb.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			e := tasks.Export{JobID: "after", ProjectID: "p", Account: account}
			d.enqueue(t, e)
			if r, err := d.Get(t.Context(), "after"); err != nil || r.State != export.Queued {
				t.Errorf("status: %+v, %v", r, err)
			}
			d.enqueue(t, e)
			if r, err := d.Cancel(t.Context(), "after"); err != nil || r.State != export.Canceled {
				t.Errorf("cancel: %+v, %v", r, err)
			}
		})
	}
}

// A producer that knows nothing but asynq may leave the TaskID to it. Its export
// waits as any other does, and whoever asks for it by its id is told so.
func TestWhatABareProducerQueuedIsFound(t *testing.T) {
	d := newRig(t)
	bare := asynq.NewClientFromRedisClient(d.rdb)
	enqueue := func(payload string, opts ...asynq.Option) string {
		t.Helper()
		info, err := bare.Enqueue(asynq.NewTask(tasks.TypeSubmit, []byte(payload)), append(opts, asynq.Queue(tasks.QueueSubmit))...)
		if err != nil {
			t.Fatal(err)
		}
		return info.ID
	}
	own := enqueue(`{"project_id":"own"}`)
	for range 600 { // more than a page
		enqueue(`{"project_id":"other"}`)
	}
	given := enqueue(`{"project_id":"given","job_id":"j"}`)
	if r, err := d.Get(t.Context(), own); err != nil || r.ID != own || r.ProjectID != "own" || r.State != export.Queued {
		t.Errorf("by its TaskID: %+v, %v", r, err)
	}
	if r, err := d.Get(t.Context(), given); !errors.Is(err, admin.ErrUnknown) {
		t.Errorf("the TaskID of one that has a job_id is not its id: %+v, %v", r, err)
	}
	if r, err := d.Search(t.Context(), "j"); err != nil || r.ID != "j" || r.ProjectID != "given" || r.State != export.Queued {
		t.Errorf("by its job_id: %+v, %v", r, err)
	}
	stray := asynq.NewTask("somebody:elses", []byte(`{"project_id":"stray","job_id":"stray"}`))
	if _, err := bare.Enqueue(stray, asynq.Queue(tasks.QueueSubmit)); err != nil {
		t.Fatal(err)
	}
	if r, err := d.Search(t.Context(), "stray"); !errors.Is(err, admin.ErrUnknown) {
		t.Errorf("a task that is no submit: %+v, %v", r, err)
	}
	if listed, err := d.List(t.Context(), ledger.Filter{Project: "stray"}); err != nil || len(listed) > 0 {
		t.Errorf("a task that is no submit is listed: %+v, %v", listed, err)
	}
	if r, err := d.Search(t.Context(), "nobody"); !errors.Is(err, admin.ErrUnknown) {
		t.Errorf("of nobody: %+v, %v", r, err)
	}
	if r, err := d.Cancel(t.Context(), own); err != nil || r.State != export.Canceled {
		t.Errorf("cancel: %+v, %v", r, err)
	}
}

func TestAnExportOfANamedAccountIsSeenInItsQueue(t *testing.T) {
	d := newRig(t)
	must(t, tasks.PublishServed(t.Context(), d.rdb, "eu", nil, time.Now()))
	d.enqueue(t, tasks.Export{JobID: "a", ProjectID: "p", Account: "eu"})
	r, err := d.Get(t.Context(), "a")
	if err != nil || r.Account != "eu" || r.State != export.Queued {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err = d.Cancel(t.Context(), "a"); err != nil || r.Account != "eu" {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err = d.Retry(t.Context(), "a", export.RetryOptions{}); err != nil {
		t.Fatal(err)
	}
	queues, err := asynq.NewInspectorFromRedisClient(d.rdb).Queues()
	must(t, err)
	for _, queue := range queues {
		if _, account := tasks.SplitQueue(queue); account != "eu" {
			t.Errorf("a task in %s", queue)
		}
	}
}
