package worker_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/wayin"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// failingTransfers is an archive that tells of its first transfer that fails.
type failingTransfers struct {
	worker.Archive
	once   sync.Once
	failed chan struct{}
}

func (a *failingTransfers) Mirror(ctx context.Context, job storage.Job) (storage.Object, error) {
	object, err := a.Archive.Mirror(ctx, job)
	if err != nil {
		a.once.Do(func() { close(a.failed) })
	}
	return object, err
}

// A transfer may outlive its task: the export expired, was paid for again and
// runs as the next one. When the transfer fails in the end, past the deadline of
// the first, that says nothing of the second.
func TestALateTransferDoesNotExpireTheNextTask(t *testing.T) {
	r := newRig(t)
	r.provider.clips, r.provider.readsFor = 2, 1
	r.provider.read = func(n int, task *wayin.Task) error {
		switch {
		case task.ExportTaskID == "task-2": // renders for long
			task.Status, task.Clips = wayin.StatusOngoing, nil
		case n == 1: // clip 1 has no link yet, and the deadline has passed
			task.ExpireAt = time.Now().Add(-time.Hour)
			task.Clips[1].ExportLink = ""
		default:
			return refusal(wayin.NotFound, fault.Retry, "unknown task")
		}
		return nil
	}
	began, goOn := make(chan struct{}), make(chan struct{})
	first := true
	r.provider.serve = func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		if first {
			first = false
			close(began)
			<-goOn
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	cut := &failingTransfers{Archive: r.archive, failed: make(chan struct{})}
	r.options.Archive = cut
	r.work()
	id := r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj"})
	<-began
	r.awaitState(id, export.Expired)
	_, err := r.desk.Retry(t.Context(), id, export.RetryOptions{PayAgain: true})
	must(t, err)
	r.await(id, "paid again, and running", func(rec *export.Record) bool {
		return rec.ExportTaskID == "task-2" && rec.Receipt == export.ReceiptOpen && rec.Polls > 1
	})
	close(goOn)
	<-cut.failed
	never(t, 2*time.Second, "the next task, just paid for and rendering, was expired by a transfer of the first", func() bool {
		rec, err := r.desk.Get(t.Context(), id)
		return err == nil && rec.State == export.Expired
	})
	if got := r.receipt(id); got.State != storage.ReceiptOpen {
		t.Errorf("receipt %s", got.State)
	}
}
