package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// flushBefore has Redis lose everything before the nth command that passes,
// counted from when left is set.
type flushBefore struct {
	redis.Hook
	left  atomic.Int64
	flush func()
}

func (f *flushBefore) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f *flushBefore) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (f *flushBefore) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.HasPrefix(cmd.Name(), "eval") || strings.HasPrefix(cmd.Name(), "h") {
			if f.left.Add(-1) == 0 {
				f.flush()
			}
		}
		return next(ctx, cmd)
	}
}

// armed sets the flush off once the only clip of an export is in S3.
type armed struct {
	worker.Archive
	arm  func()
	last string // export
}

func (a *armed) Mirror(ctx context.Context, job storage.Job) (storage.Result, error) {
	o, err := a.Archive.Mirror(ctx, job)
	if job.Export != a.last {
		a.last = job.Export
		a.arm()
	}
	return o, err
}

// Redis may be lost between any two commands of the steps that end an export:
// the manifest, which is believed for ever, is whole or is not there.
func TestRedisLostWhileAnExportIsSealed(t *testing.T) {
	r := newRig(t)
	r.waitsForNothing()
	r.provider.clips, r.provider.readsFor = 1, 1
	hook := &flushBefore{flush: func() { must(t, r.rdb.FlushAll(context.Background()).Err()) }}
	hooked := r.redis.Client()
	hooked.AddHook(hook)
	r.options.Ledger = ledger.New(ledger.Options{Redis: hooked})
	at := int64(0)
	r.options.Archive = &armed{Archive: r.archive, arm: func() { hook.left.Store(at) }}
	for at = 1; ; at++ {
		stop := r.work()
		id := r.enqueue(tasks.Export{ProjectID: "proj", JobID: fmt.Sprintf("job-%d", at)})
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			rec, err := r.ledger.Load(t.Context(), id)
			if err == nil && !rec.NeedsCare() || errors.Is(err, ledger.ErrUnknown) && r.provider.submits() == int(at) {
				break // archived, or lost
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s is neither archived nor lost after a minute: %+v, %v", id, rec, err)
			}
		}
		_, err := r.recovery.Recover(t.Context(), r.archive, nil)
		must(t, err)
		if receipt, _, err := r.archive.Receipt(t.Context(), id); err != nil || receipt.State == storage.ReceiptOpen {
			r.awaitState(id, export.Archived)
		}
		stop()
		task := fmt.Sprintf("task-%d", at)
		m, ok, err := r.archive.ReadManifest(t.Context(), r.archive.ManifestKey("proj", task))
		must(t, err)
		var answer struct {
			ExportTaskID string `json:"export_task_id"`
		}
		must(t, json.Unmarshal(m.Answer, &answer))
		if !ok || answer.ExportTaskID != task || len(m.Clips) != 1 {
			t.Errorf("lost before command %d: %d clips, answer %q in the manifest", at, len(m.Clips), m.Answer)
		}
		if r.provider.submits() != int(at) {
			t.Errorf("paid %d times for %d exports", r.provider.submits(), at)
		}
		if hook.left.Load() > 0 { // it takes fewer commands than that
			break
		}
	}
	if at < 6 {
		t.Errorf("an export took %d commands from its clip to its end: the test does not see them", at)
	}
}

// Redis is flushed while an export waits for its request, which is never sent: it waits in
// line again, whether recover comes before its worker notices or after.
func TestWhatWaitsForItsRequestIsNoDoubtAfterALossOfRedis(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]bool{"recovered before": true, "recovered after": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			recovers := func() {
				_, err := r.recovery.Recover(context.Background(), r.archive, nil)
				must(t, err)
			}
			a := r.options.Accounts[worker.DefaultAccount]
			a.Gate = failingGate{a.Gate, func() {
				must(t, r.rdb.FlushAll(context.Background()).Err())
				if early {
					recovers()
				}
			}, new(sync.Once)}
			r.options.Accounts[worker.DefaultAccount] = a
			stop := r.work()
			r.enqueue(tasks.Export{JobID: "a", ProjectID: "proj"})
			if early {
				r.await("a", "back in line", func(rec *export.Record) bool { return rec.State != export.Held && len(rec.Settled) > 0 })
			} else {
				r.awaitReceipt("a", storage.ReceiptUnsent)
				recovers()
			}
			stop()
			r.work() // its sweep schedules what nobody has
			if rec := r.awaitState("a", export.Archived); rec.Doubts != 0 {
				t.Errorf("%d doubts", rec.Doubts)
			}
		})
	}
}
