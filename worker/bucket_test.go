package worker_test

import (
	"context"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/breaker"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// countingArchive counts what S3 is asked, and which of it was a probe.
type countingArchive struct {
	worker.Archive
	asked, probes atomic.Int64
}

func (a *countingArchive) Mirror(ctx context.Context, job storage.Job) (storage.Result, error) {
	a.asked.Add(1)
	return a.Archive.Mirror(ctx, job)
}

func (a *countingArchive) PutManifest(ctx context.Context, m storage.Manifest) (string, error) {
	a.asked.Add(1)
	return a.Archive.PutManifest(ctx, m)
}

func (a *countingArchive) Receipt(ctx context.Context, id string) (storage.Receipt, bool, error) {
	a.asked.Add(1)
	return a.Archive.Receipt(ctx, id)
}

func (a *countingArchive) Check(ctx context.Context) error {
	a.probes.Add(1)
	return a.Archive.Check(ctx)
}

func TestABucketThatIsDownIsLeftAloneUntilItAnswers(t *testing.T) {
	r := newRig(t)
	counting := &countingArchive{Archive: r.archive}
	r.options.Archive = counting
	r.provider.clips, r.provider.readsFor = 4, 1000
	r.work()
	r.work()
	running, waiting := make([]string, 5), make([]string, 3) // five slots
	for i := range running {
		running[i] = r.enqueue(tasks.Export{ProjectID: "proj"})
	}
	for _, id := range running {
		r.await(id, "accepted", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptOpen })
	}
	r.s3.Kill()
	r.provider.rendersIn(1)
	for i := range waiting {
		waiting[i] = r.enqueue(tasks.Export{ProjectID: "proj"})
	}
	bucket := breaker.New(r.rdb, breaker.Bucket)
	open := func() bool {
		st, err := bucket.Status(t.Context())
		must(t, err)
		return st.Open
	}
	for deadline := time.Now().Add(time.Minute); !open(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not open after %d requests", counting.asked.Load())
		}
	}
	// What was under way when it opened ends; then only probes go out.
	for calm, last := 0, int64(-1); calm < 20; time.Sleep(100 * time.Millisecond) {
		if n := counting.asked.Load(); n != last {
			calm, last = 0, n
		} else {
			calm++
		}
	}
	asked, probes := counting.asked.Load(), counting.probes.Load()
	for counting.probes.Load() < probes+2 {
		time.Sleep(20 * time.Millisecond)
	}
	if n := counting.asked.Load() - asked; n > 0 || r.provider.submits() != len(running) {
		t.Errorf("while S3 is down: %d requests beside probes, %d paid", n, r.provider.submits())
	}
	r.s3.Restart(t)
	for _, id := range append(running, waiting...) {
		rec := r.awaitState(id, export.Archived)
		for _, c := range rec.Clips {
			if c.Faults > 3 {
				t.Errorf("clip %d of %s was tried %d times", c.Idx, id, c.Faults)
			}
			r.archived(c, r.provider.file(rec.ExportTaskID, c.Idx))
		}
	}
	if open() || r.provider.submits() != len(running)+len(waiting) {
		t.Errorf("open: %t, paid %d times", open(), r.provider.submits())
	}
}

// One worker whose way to S3 is broken keeps none of the others from theirs, and
// nothing that it takes up stays with it.
func TestAWorkerThatAloneLacksS3StopsItselfOnly(t *testing.T) {
	r := newRig(t)
	r.provider.clips, r.provider.readsFor = 3, 1
	good := r.options
	r.work()
	first := r.enqueue(tasks.Export{ProjectID: "proj"})
	r.awaitState(first, export.Archived)

	nowhere := httptest.NewServer(nil)
	nowhere.Close()
	bad := &countingArchive{Archive: newArchive(t, r.s3.ClientAt(nowhere.URL), r.ledger)}
	r.options.Archive = bad
	r.work()
	r.options = good
	ids := make([]string, 12)
	for i := range ids {
		ids[i] = r.enqueue(tasks.Export{ProjectID: "proj"})
	}
	bucket := breaker.New(r.rdb, breaker.Bucket)
	for _, id := range ids {
		r.await(id, "archived", func(rec *export.Record) bool {
			if st, err := bucket.Status(t.Context()); err != nil || st.Open {
				t.Fatalf("one worker stopped the fleet: %+v, %v", st, err)
			}
			return rec.State == export.Archived
		})
	}
	if r.provider.submits() != len(ids)+1 {
		t.Errorf("paid %d times", r.provider.submits())
	}
	t.Logf("the one without S3 asked %d times, with %d probes", bad.asked.Load(), bad.probes.Load())
	if bad.probes.Load() == 0 {
		t.Error("it never found out that it is alone")
	}
}
