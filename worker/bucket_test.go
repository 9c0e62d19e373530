package worker_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// countingArchive counts what S3 is asked besides probes.
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

func (a *countingArchive) WriteReceipt(ctx context.Context, r, was storage.Receipt) (bool, error) {
	a.asked.Add(1)
	return a.Archive.WriteReceipt(ctx, r, was)
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
	for deadline := time.Now().Add(3 * time.Minute); !r.archive.Health().Open; time.Sleep(20 * time.Millisecond) {
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
	if all, err := r.ledger.Outages(t.Context(), time.Now()); err != nil || len(all) != 1 || all[0].Sentence == "" {
		t.Errorf("the fleet knows of %+v, %v", all, err)
	}
	r.s3.Restart(t)
	r.patience = 3 * time.Minute // writes are probed once a minute
	for _, id := range append(running, waiting...) {
		rec := r.awaitState(id, export.Archived)
		for _, c := range rec.Clips {
			if c.Faults > 5 {
				t.Errorf("clip %d of %s was tried %d times", c.Idx, id, c.Faults)
			}
			r.archived(c, r.provider.file(rec.ExportTaskID, c.Idx))
		}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if all, err := r.ledger.Outages(t.Context(), time.Now()); err == nil && len(all) == 0 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("it is over, and the fleet knows of %+v, %v", all, err)
		}
	}
	if r.archive.Health().Open || r.provider.submits() != len(running)+len(waiting) {
		t.Errorf("open: %t, paid %d times", r.archive.Health().Open, r.provider.submits())
	}
}

// One worker whose way to S3 is broken keeps none of the others from theirs, and
// nothing that it takes up stays with it.
func TestAWorkerThatAloneLacksS3HandsBackWhatItHas(t *testing.T) {
	r := newRig(t)
	r.provider.clips, r.provider.readsFor = 3, 1
	good := r.options
	r.work()
	first := r.enqueue(tasks.Export{ProjectID: "proj"})
	r.awaitState(first, export.Archived)

	nowhere := httptest.NewServer(nil)
	nowhere.Close()
	bad := newArchive(t, r.s3.ClientAt(nowhere.URL), r.ledger)
	r.options.Archive = bad
	r.work()
	r.options = good
	ids := make([]string, 12)
	for i := range ids {
		ids[i] = r.enqueue(tasks.Export{ProjectID: "proj"})
	}
	for _, id := range ids {
		r.awaitState(id, export.Archived)
	}
	if r.provider.submits() != len(ids)+1 {
		t.Errorf("paid %d times", r.provider.submits())
	}
}

// readOnly is an S3 that reads, and refuses writes, as one without the permission does.
type readOnly struct{ worker.Archive }

var errDenied = fault.New(fault.Retry, "AccessDenied", storage.ErrUnavailable)

func (readOnly) WriteReceipt(context.Context, storage.Receipt, storage.Receipt) (bool, error) {
	return false, errDenied
}

func (readOnly) SyncReceipt(context.Context, storage.Receipt) error { return errDenied }

// Whatever S3 says to reads, nothing is ordered while it takes no receipts.
func TestNothingIsOrderedWithoutAReceipt(t *testing.T) {
	r := newRig(t)
	r.waitsForNothing()
	good := r.options
	r.options.Archive = readOnly{r.archive}
	stop := r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	rec := r.await(id, "put back", func(rec *export.Record) bool { return rec.Round > 1 })
	if rec.State != export.Queued || rec.Attempts != 0 || rec.Doubts != 0 || rec.Problem.Reason != export.ReasonStorageUnavailable {
		t.Errorf("%s after %d attempts, %d doubts: %+v", rec.State, rec.Attempts, rec.Doubts, rec.Problem)
	}
	never(t, time.Second, "ordered without a receipt", func() bool { return r.provider.submits() > 0 })
	stop()
	r.options = good
	r.work()
	if rec = r.awaitState(id, export.Archived); rec.Doubts != 0 || r.provider.submits() != 1 {
		t.Errorf("%d doubts, paid %d times", rec.Doubts, r.provider.submits())
	}
}

// An S3 that takes receipts and refuses clips: what is ordered by then stays paid for and
// waits, and nothing more is.
func TestNothingIsOrderedThatS3WouldRefuse(t *testing.T) {
	r := newRig(t)
	r.waitsForNothing()
	var refuses atomic.Bool
	refuses.Store(true)
	endpoint := refusing(t, r.s3.Endpoint, func(req *http.Request) bool {
		return refuses.Load() && strings.HasSuffix(req.URL.Path, ".mp4") && (req.Method == http.MethodPut || req.Method == http.MethodPost)
	})
	archive := newArchive(t, r.s3.ClientAt(endpoint), r.ledger)
	r.options.Archive = archive
	r.work()
	ids := make([]string, 30)
	for i := range 4 {
		ids[i] = r.enqueue(tasks.Export{ProjectID: "proj"})
	}
	for end := time.Now().Add(time.Minute); !archive.Health().Open && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	paid := r.provider.submits()
	for i := range ids[4:] {
		ids[4+i] = r.enqueue(tasks.Export{ProjectID: "proj"})
	}
	never(t, 8*time.Second, "ordered though no clip is taken", func() bool { return r.provider.submits() > paid })
	if h := archive.Health(); !h.Open || !strings.Contains(h.Sentence, "AccessDenied") {
		t.Errorf("%+v", h)
	}
	refuses.Store(false)
	for _, id := range ids {
		r.awaitState(id, export.Archived)
	}
	if r.provider.submits() != len(ids) {
		t.Errorf("paid %d times", r.provider.submits())
	}
}

// refusesClips is an S3 that has refused clips for long, and lets one order through.
type refusesClips struct{ worker.Archive }

func (refusesClips) Health() storage.Health {
	return storage.Health{Open: true, WantsOrder: true}
}

func (refusesClips) MayOrder(id string) error {
	if id != "first" {
		return errDenied
	}
	return nil
}

// One export is ordered though S3 refuses clips, and S3 knows of it as of any other.
func TestAnExportIsOrderedToSeeWhetherS3TakesIt(t *testing.T) {
	r := newRig(t)
	r.provider.readsFor = 1000
	r.options.Archive = refusesClips{r.archive}
	r.work()
	for _, id := range []string{"first", "second"} {
		r.enqueue(tasks.Export{ProjectID: "proj", JobID: id})
	}
	r.await("first", "known to S3", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptOpen })
	rec := r.await("second", "put back", func(rec *export.Record) bool { return rec.Round > 1 })
	if rec.Problem.Reason != export.ReasonStorageUnavailable || r.provider.submits() != 1 {
		t.Errorf("%+v, paid %d times", rec.Problem, r.provider.submits())
	}
}
