package worker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

// image is all that a Redis holds at one moment, as an RDB file has it.
type image map[string]string

func (r *rig) image() image {
	r.t.Helper()
	keys, err := r.rdb.Keys(r.t.Context(), "*").Result()
	must(r.t, err)
	m := image{}
	for _, k := range keys {
		if dump, err := r.rdb.Dump(r.t.Context(), k).Result(); err == nil { // else it has ended meanwhile
			m[k] = dump
		}
	}
	return m
}

// restore makes Redis what it was; the leases of then have ended.
func (r *rig) restore(m image) {
	r.t.Helper()
	ctx := context.Background()
	must(r.t, r.rdb.FlushAll(ctx).Err())
	for k, dump := range m {
		if !strings.Contains(k, ":lease:") {
			must(r.t, r.rdb.Restore(ctx, k, 0, dump).Err())
		}
	}
}

// A Redis that was restored from an older image believes an archived export to
// be rendering. Whoever meets it first, it ends archived.
func TestABackupDoesNotExpireWhatIsArchived(t *testing.T) {
	t.Parallel()
	for _, recovered := range []bool{true, false} {
		t.Run(map[bool]string{true: "recovered", false: "by the fleet alone"}[recovered], func(t *testing.T) {
			r := newRig(t)
			r.provider.readsFor = 1000
			stop := r.work()
			id := r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj"})
			r.await(id, "accepted", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptOpen && rec.Polls > 0 })
			stop()
			backup := r.image()
			r.provider.rendersIn(1)
			stop = r.work()
			first := r.await(id, "closed", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptDone })
			stop()
			before := r.receipt(id)

			r.restore(backup)
			r.provider.mu.Lock() // four days later
			r.provider.read = func(int, *provider.Task) error { return refusal(provider.NotFound, fault.Retry, "unknown task") }
			r.provider.mu.Unlock()
			_, err := r.ledger.Update(t.Context(), id, func(rec *export.Record) error {
				rec.ExpireAt = time.Now().Add(-24 * time.Hour)
				return nil
			})
			must(t, err)
			if recovered {
				done, err := r.recovery.Recover(t.Context(), r.archive, nil)
				must(t, err)
				if done.Repaired != 1 {
					t.Errorf("recovered %+v", done)
				}
			}
			r.work()
			rec := r.await(id, "final", func(rec *export.Record) bool { return rec.State.Final() })
			if rec.State != export.Archived || rec.ArchivedCount != first.ArchivedCount || rec.Manifest != first.Manifest {
				t.Errorf("%s with %d clips: %s", rec.State, rec.ArchivedCount, view.Sentence(rec, view.CLI))
			}
			r.await(id, "at rest", func(rec *export.Record) bool { return !rec.NeedsCare() })
			if after := r.receipt(id); after.State != storage.ReceiptDone || after.Manifest != before.Manifest {
				t.Errorf("its receipt was %s (%s) and is %s (%q)", before.State, before.Manifest, after.State, after.Manifest)
			}
		})
	}
}

// A Redis from before an export was paid for again: its second task is not lost.
func TestABackupFromBeforeAnExportWasPaidForAgain(t *testing.T) {
	t.Parallel()
	for name, failedInBackup := range map[string]bool{"failed then": true, "rendering then": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.provider.readsFor = 1000
			fails := failedInBackup
			r.provider.read = func(_ int, task *provider.Task) error {
				if fails && task.ExportTaskID == "task-1" {
					task.Status = provider.StatusFailed
				}
				return nil
			}
			stop := r.work()
			id := r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj"})
			r.await(id, "as in the backup", func(rec *export.Record) bool {
				return rec.Receipt == map[bool]string{true: export.ReceiptFailed, false: export.ReceiptOpen}[failedInBackup]
			})
			stop()
			backup := r.image()
			r.provider.mu.Lock()
			fails = true
			r.provider.mu.Unlock()
			stop = r.work()
			r.await(id, "failed", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptFailed })
			_, err := r.admin.Retry(t.Context(), id, export.RetryOptions{PayAgain: true})
			must(t, err)
			r.await(id, "paid again", func(rec *export.Record) bool {
				return rec.ExportTaskID == "task-2" && rec.Receipt == export.ReceiptOpen
			})
			stop()

			r.restore(backup)
			r.provider.mu.Lock()
			r.provider.readsFor = 1 // task-2 is done
			r.provider.mu.Unlock()
			r.work()
			r.await(id, "what the fleet makes of it", func(rec *export.Record) bool { return rec.State == export.Failed })
			done, err := r.recovery.Recover(t.Context(), r.archive, nil)
			must(t, err)
			if done.Repaired != 1 {
				t.Errorf("recovered %+v", done)
			}
			rec := r.awaitState(id, export.Archived)
			if rec.ExportTaskID != "task-2" || r.provider.submits() != 2 {
				t.Errorf("archived as %s, paid %d times", rec.ExportTaskID, r.provider.submits())
			}
			if done, err = r.recovery.Recover(t.Context(), r.archive, nil); err != nil || done.Repaired != 0 {
				t.Errorf("once more: %+v, %v", done, err)
			}
		})
	}
}

// The manifest is what the archive is known by: a second seal, after Redis has
// gone back, must not change what it says, and the record says the same.
func TestAManifestStaysAsItIs(t *testing.T) {
	r := newRig(t)
	r.provider.readsFor = 1000
	stop := r.work()
	id := r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj"})
	r.await(id, "accepted", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptOpen && rec.Polls > 0 })
	stop()
	backup := r.image()
	r.provider.rendersIn(1)
	stop = r.work()
	rec := r.await(id, "closed", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptDone })
	stop()
	before, _, err := r.archive.ReadManifest(t.Context(), rec.Manifest)
	must(t, err)
	r.restore(backup)
	r.provider.mu.Lock()
	r.provider.read = func(_ int, task *provider.Task) error { // somebody edited a title at the provider
		task.Clips[0].Title = "Better title"
		return nil
	}
	r.provider.mu.Unlock()
	r.work()
	rec = r.awaitState(id, export.Archived)
	after, _, err := r.archive.ReadManifest(t.Context(), rec.Manifest)
	must(t, err)
	if was, is := fmt.Sprintf("%+v", before), fmt.Sprintf("%+v", after); was != is {
		t.Errorf("the manifest was\n%s\nand is\n%s", was, is)
	}
	for _, c := range after.Clips {
		if got := rec.Clips[c.Idx]; got == nil || got.Object.Key != c.Key || got.Title != c.Title {
			t.Errorf("clip %d is %s (%s) in the manifest, in the record %+v", c.Idx, c.Key, c.Title, got)
		}
	}
}
