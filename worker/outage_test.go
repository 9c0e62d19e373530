package worker_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// brokenArchive refuses each write a number of times, as S3 does while it is down.
type brokenArchive struct {
	worker.Archive
	mirrors, manifests, receipts atomic.Int64 // refusals left
}

func refuse(left *atomic.Int64) error {
	if left.Add(-1) >= 0 {
		return fault.New(fault.Retry, "S3 does not answer", nil)
	}
	return nil
}

func (a *brokenArchive) Mirror(ctx context.Context, job storage.Job) (storage.Result, error) {
	if err := refuse(&a.mirrors); err != nil {
		return storage.Result{}, err
	}
	return a.Archive.Mirror(ctx, job)
}

func (a *brokenArchive) PutManifest(ctx context.Context, m storage.Manifest) (string, error) {
	if err := refuse(&a.manifests); err != nil {
		return "", err
	}
	return a.Archive.PutManifest(ctx, m)
}

func (a *brokenArchive) SyncReceipt(ctx context.Context, r storage.Receipt) error {
	if err := refuse(&a.receipts); err != nil {
		return err
	}
	return a.Archive.SyncReceipt(ctx, r)
}

// An outage of hours passes in seconds, with as many tries as there would be.
func TestAnOutageOfS3FailsNoExport(t *testing.T) {
	const tries = 30 // of one clip; with waits of up to 10 min that is hours
	r := newRig(t)
	r.provider.clips, r.provider.readsFor = 1, 1
	broken := &brokenArchive{Archive: r.archive}
	broken.mirrors.Store(tries)
	broken.manifests.Store(tries)
	broken.receipts.Store(3)
	r.options.Archive = broken
	r.waitsForNothing()
	r.patience = 3 * time.Minute
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	rec := r.awaitState(id, export.Archived)
	if rec.Clips[0].Faults != tries || rec.SealRound < tries {
		t.Errorf("the outage was not met: %d faults, seal round %d", rec.Clips[0].Faults, rec.SealRound)
	}
	r.archived(rec.Clips[0], r.provider.file("task-1", 0))
	r.await(id, "receipt done", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptDone })
	if r.provider.submits() != 1 {
		t.Errorf("paid %d times", r.provider.submits())
	}
}

// The export is accepted in the moment in which Redis fails over to a replica
// that has lost its record and takes no writes yet, while S3 is down: the worker
// alone knows that it is paid for, and tries until either takes it.
func TestAPaidExportIsTriedUntilSomethingTakesIt(t *testing.T) {
	const tries = 6 // of the receipt: more than are made once the ledger has it
	r := newRig(t)
	r.provider.readsFor = 1000
	broken := &brokenArchive{Archive: r.archive}
	r.options.Archive = broken
	r.provider.submit = func(n int, _ json.RawMessage) error {
		if n == 1 {
			broken.receipts.Store(tries)
			must(t, r.rdb.FlushAll(context.Background()).Err())
			must(t, r.rdb.ConfigSet(context.Background(), "min-replicas-to-write", "1").Err())
		}
		return nil
	}
	r.work()
	e := tasks.Export{JobID: "a", ProjectID: "proj"}
	r.enqueue(e)
	for deadline := time.Now().Add(time.Minute); r.provider.submits() == 0 || broken.receipts.Load() > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("given up: the receipt would be tried %d times more", broken.receipts.Load())
		}
	}
	must(t, r.rdb.ConfigSet(context.Background(), "min-replicas-to-write", "0").Err())
	r.await("a", "taken by the ledger", func(rec *export.Record) bool { return rec.ExportTaskID == "task-1" })
	r.await("a", "taken by S3", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptOpen })
	r.enqueue(e)
	never(t, time.Second, "paid twice, though no answer was lost and nobody died", func() bool { return r.provider.submits() > 1 })
}

func TestAProviderThatIsDownIsLeftAloneUntilItAnswers(t *testing.T) {
	r := newRig(t)
	var calls atomic.Int64
	var down atomic.Bool
	r.provider.readsFor = 3
	refused := func() error {
		calls.Add(1)
		if down.Load() {
			return refusal(provider.Unavailable, fault.Retry, "503")
		}
		return nil
	}
	r.provider.submit = func(int, json.RawMessage) error { return refused() }
	r.provider.read = func(int, *provider.Task) error { return refused() }
	gate := r.options.Accounts[worker.DefaultAccount].Gate.(soonGate)
	r.work()
	r.work()
	down.Store(true)
	ids := make([]string, 8)
	for i := range ids {
		ids[i] = r.enqueue(tasks.Export{ProjectID: "proj"})
	}
	halted := func() bool {
		st, err := gate.Status(t.Context())
		must(t, err)
		return st.Halted == "provider_unavailable"
	}
	for deadline := time.Now().Add(30 * time.Second); !halted(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not halted after %d calls", calls.Load())
		}
	}
	// Eight exports that each tried by themselves, twice as long each time, would
	// make dozens of calls; the fleet makes a probe now and then.
	before := calls.Load()
	time.Sleep(8 * time.Second)
	if n := calls.Load() - before; n > 6 {
		t.Errorf("%d calls in 8 s to a provider that is down", n)
	}
	down.Store(false)
	for _, id := range ids {
		r.awaitState(id, export.Archived)
	}
	if halted() || r.provider.submits() != len(ids) {
		t.Errorf("halted: %t; paid %d times for %d exports", halted(), r.provider.submits(), len(ids))
	}
}

func TestAStopDoesNotWaitForARedisThatIsAway(t *testing.T) {
	const timeout = 2 * time.Second
	r := newRig(t)
	r.provider.readsFor = 1000
	r.options.ShutdownTimeout = timeout
	stop := r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	r.awaitState(id, export.Rendering)
	r.redis.Pause()
	began := time.Now()
	stop()
	took := time.Since(began)
	r.redis.Resume()
	if took > timeout+10*time.Second {
		t.Errorf("it took %s to stop, with %s for what is under way", took, timeout)
	}
}

func TestNoNumberOfFaultsEndsAnExportBeforeItsDeadline(t *testing.T) {
	t.Parallel()
	const often = 1000
	now := time.Date(2026, 4, 7, 12, 0, 0, 0, time.UTC)
	r := export.New("e", json.RawMessage(`{"project_id":"p"}`), "d", "p", now)
	for i := range often {
		must(t, r.Intend(now, "run"))
		must(t, r.PutBack(now, "run", now, export.Problem{Reason: export.ReasonProviderUnavailable, Detail: "503"}))
		if r.State != export.Queued {
			t.Fatalf("%s after %d refused submits", r.State, i+1)
		}
	}
	must(t, r.Intend(now, "run"))
	must(t, r.Accept(now, "task", "", "CREATED"))
	for i := range often {
		must(t, r.ReadFault(now, r.Step, export.Problem{Reason: export.ReasonProviderUnavailable, Detail: "503"}, now))
		if r.State != export.Rendering {
			t.Fatalf("%s after %d failed reads", r.State, i+1)
		}
	}
	clip := export.Clip{Idx: 0, Link: "https://cdn/0"}
	must(t, r.Answer(now, r.ExportTaskID, r.Step, export.Reading{Status: "SUCCEEDED", Succeeded: true, Clips: []export.Clip{clip}}, now))
	for i := range often {
		must(t, r.ClipRetry(now, 0, r.Clips[0].Round, export.Problem{Reason: export.ReasonTransferFailed, Detail: "S3 is down"}, false, now))
		if r.State != export.Mirroring {
			t.Fatalf("%s after %d failed transfers", r.State, i+1)
		}
	}
	must(t, r.ClipDone(now, r.ExportTaskID, 0, r.Clips[0].Round, export.Object{Key: "k", Size: 1}, nil, ""))
	for i := range often {
		must(t, r.SealRetry(now, r.SealRound, export.Problem{Reason: export.ReasonManifestNotWritten, Detail: "S3 is down"}, now))
		if r.State != export.Mirroring || !r.Sealable() {
			t.Fatalf("%s after %d failed seals", r.State, i+1)
		}
	}
}
