package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/index"
	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/recovery"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// batchEvent is the event of a batch, as its receiver reads it.
type batchEvent struct {
	ID, Type string
	Data     struct {
		Batch   string
		Members int
		States  map[string]int
	}
}

// batchEvents returns the events in the producer's own queue.
func (r *rig) batchEvents() []batchEvent {
	r.t.Helper()
	infos, err := asynq.NewInspectorFromRedisClient(r.rdb).ListPendingTasks("mine")
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return nil
	}
	must(r.t, err)
	events := make([]batchEvent, len(infos))
	for i, info := range infos {
		must(r.t, json.Unmarshal(info.Payload, &events[i]))
	}
	return events
}

// A batch whose producer died half-way goes on where it stopped; its event comes once all
// members are final, once for each time, whatever became of workers meanwhile.
func TestABatchIsCompletedOnce(t *testing.T) {
	r := newRig(t)
	n, err := notify.New(notify.Options{Redis: r.rdb, Ledger: r.ledger, Logger: r.options.Logger})
	must(t, err)
	r.options.Notifier = n
	exports := []tasks.Export{{ProjectID: "p", JobID: "named"}, {ProjectID: "p"}, {ProjectID: "p"}, {ProjectID: "q", Labels: tasks.Labels{"a": "b"}}}
	_, err = r.client.Enqueue(t.Context(), exports[0]) // known before the batch
	must(t, err)
	batch := tasks.Batch{Name: "season-1", Notify: &tasks.Notify{TaskType: "mine:done", Queue: "mine"}}
	died := errors.New("died")
	taken := 0
	err = r.client.EnqueueBatchEach(t.Context(), batch, slices.Values(exports), func(string) error {
		if taken++; taken == 2 {
			return died
		}
		return nil
	})
	if !errors.Is(err, died) {
		t.Fatal(err)
	}
	ids, err := r.client.EnqueueBatch(t.Context(), batch, exports)
	must(t, err)
	again, err := r.client.EnqueueBatch(t.Context(), batch, exports)
	must(t, err)
	if len(ids) != 4 || !slices.Equal(ids, again) || ids[1] == ids[2] {
		t.Fatalf("%v, then %v", ids, again)
	}
	if _, err := r.client.EnqueueBatch(t.Context(), batch, exports[:3]); !errors.Is(err, tasks.ErrDifferentBatch) {
		t.Errorf("other exports under the name: %v", err)
	}
	_, err = r.admin.Cancel(t.Context(), ids[3])
	must(t, err)
	r.work()
	sweeper, err := worker.New(r.options)
	must(t, err)
	sweep := func() {
		t.Helper()
		must(t, sweeper.Sweep(t.Context()))
	}
	for _, id := range ids[:3] {
		r.awaitState(id, export.Archived)
	}
	for range 2 { // the second time changes nothing
		sweep()
	}
	events := r.batchEvents()
	if len(events) != 1 || events[0].Type != "batch.completed" || events[0].Data.Members != 4 ||
		fmt.Sprint(events[0].Data.States) != "map[archived:3 canceled:1]" {
		t.Fatalf("%+v", events)
	}
	// A retry of a member reopens it, and it is completed anew.
	_, err = r.admin.Retry(t.Context(), ids[3], export.RetryOptions{})
	must(t, err)
	r.awaitState(ids[3], export.Archived)
	sweep()
	if events = r.batchEvents(); len(events) != 2 || events[0].ID == events[1].ID || events[1].Data.States["archived"] != 4 {
		t.Fatalf("after the retry: %+v", events)
	}
	if n := r.provider.submits(); n != 4 {
		t.Errorf("%d orders for 4 members", n)
	}
	// Redis forgets everything: the receipts know the members, and the file given again
	// finds them, pays for nothing, and completes the batch.
	must(t, r.rdb.FlushAll(t.Context()).Err())
	must(t, tasks.PublishQueues(t.Context(), r.rdb, "mine")) // as the producer's own worker does
	ids, err = r.client.EnqueueBatch(t.Context(), batch, exports)
	must(t, err)
	for _, id := range ids {
		if rec := r.awaitState(id, export.Archived); id != "named" && rec.Batch != batch.Name {
			t.Errorf("%s is of batch %q", id, rec.Batch)
		}
	}
	deadline := time.Now().Add(time.Minute)
	for events = nil; len(events) == 0 && time.Now().Before(deadline); events = r.batchEvents() {
		sweep()
	}
	if len(events) != 1 || events[0].Data.States["archived"] != 4 || r.provider.submits() != 4 {
		t.Errorf("after the loss: %+v, %d orders", events, r.provider.submits())
	}
}

// A batch outlives the loss of Redis: recovery brings back its record, whom to notify, and
// its members that had ended, however they did. What was never ordered is in no receipt;
// the batch waits for its producer to enqueue it again.
func TestABatchOutlivesALossOfRedis(t *testing.T) {
	r := newRig(t)
	n, err := notify.New(notify.Options{Redis: r.rdb, Ledger: r.ledger, Logger: r.options.Logger})
	must(t, err)
	r.options.Notifier = n
	project, open := map[string]string{}, true // of a task; under the provider's lock
	r.provider.submit = func(n int, body json.RawMessage) error {
		e, err := tasks.ParseSent(body)
		must(t, err)
		if e.ProjectID == "refused" {
			return refusal(provider.Rejected, fault.Terminal, "ratio: no")
		}
		project[fmt.Sprintf("task-%d", n)] = e.ProjectID
		return nil
	}
	r.provider.read = func(_ int, task *provider.Task) error {
		switch is := project[task.ExportTaskID]; {
		case is == "failed":
			task.Status = provider.StatusFailed
		case is == "open" && open, is == "canceled":
			task.Status, task.Clips = provider.StatusOngoing, nil
		}
		return nil
	}
	stop := r.work()
	named := tasks.Export{ProjectID: "named", JobID: "named"}
	r.awaitState(r.enqueue(named), export.Archived) // known before the batch
	must(t, r.admin.Pause(t.Context(), tasks.QueueSubmitLow))
	batch := tasks.Batch{Name: "season-1", Notify: &tasks.Notify{TaskType: "mine:done", Queue: "mine"}}
	exports := []tasks.Export{named}
	for _, name := range []string{"archived", "failed", "refused", "canceled", "open", "late"} {
		e := tasks.Export{ProjectID: name}
		if name == "late" {
			e.Priority = tasks.PriorityLow
		}
		exports = append(exports, e)
	}
	ids, err := r.client.EnqueueBatch(t.Context(), batch, exports)
	must(t, err)
	id := map[string]string{}
	for i, e := range exports {
		id[e.ProjectID] = ids[i]
	}
	r.await(id["canceled"], "accepted", func(rec *export.Record) bool { return rec.ExportTaskID != "" })
	_, err = r.admin.Cancel(t.Context(), id["canceled"])
	must(t, err)
	for name, says := range map[string]string{
		"named": export.ReceiptDone, "archived": export.ReceiptDone, "failed": export.ReceiptFailed, "refused": export.ReceiptFailed,
		"canceled": export.ReceiptCanceled, "open": export.ReceiptOpen,
	} {
		r.await(id[name], "its receipt "+says, func(rec *export.Record) bool { return rec.Receipt == says })
	}
	stop()
	must(t, r.rdb.FlushAll(context.Background()).Err())
	r.provider.mu.Lock()
	open = false
	r.provider.mu.Unlock()

	done, err := r.recovery.Recover(t.Context(), r.archive, n)
	must(t, err)
	if len(done.Batches) != 1 || done.Batches[0] != (recovery.RecoveredBatch{Name: "season-1", Missing: 1}) {
		t.Errorf("recovered %+v", done)
	}
	if done, err = r.recovery.Recover(t.Context(), r.archive, n); err != nil || len(done.Batches) != 0 {
		t.Errorf("again: %+v, %v", done, err)
	}
	must(t, tasks.PublishQueues(t.Context(), r.rdb, "mine"))
	r.work()
	sweeper, err := worker.New(r.options)
	must(t, err)
	for name, state := range map[string]export.State{
		"named": export.Archived, "archived": export.Archived, "open": export.Archived,
		"failed": export.Failed, "refused": export.Failed, "canceled": export.Canceled,
	} {
		r.awaitState(id[name], state)
	}
	must(t, sweeper.Sweep(t.Context()))
	if events := r.batchEvents(); len(events) != 0 {
		t.Errorf("a member is missing: %+v", events)
	}
	again, err := r.client.EnqueueBatch(t.Context(), batch, exports)
	must(t, err)
	if !slices.Equal(ids, again) {
		t.Errorf("%v, then %v", ids, again)
	}
	r.awaitState(id["late"], export.Archived)
	for range 2 {
		must(t, sweeper.Sweep(t.Context()))
	}
	events := r.batchEvents()
	if len(events) != 1 || events[0].Data.Members != 7 || fmt.Sprint(events[0].Data.States) != "map[archived:4 canceled:1 failed:2]" {
		t.Errorf("%+v", events)
	}
	if n := r.provider.submits(); n != 6 {
		t.Errorf("%d orders were accepted, for 6 members that the provider takes", n)
	}
	for b, err := range r.archive.Batches(t.Context()) {
		t.Errorf("S3 keeps a batch that is complete: %+v, %v", b, err)
	}
}

// An S3 whose policy refuses to keep batches alone takes receipts: members are ordered.
func TestABatchThatAPolicyRefusesToKeep(t *testing.T) {
	r := newRig(t)
	var refused atomic.Int64
	r.archive = newArchive(t, r.s3.ClientAt(refusing(t, r.s3.Endpoint, func(req *http.Request) bool {
		is := req.Method == http.MethodPut && strings.Contains(req.URL.Path, "/_batches/")
		if is {
			refused.Add(1)
		}
		return is
	})), r.ledger)
	r.options.Archive, r.options.SubmitConcurrency = r.archive, 1
	stop := r.work()
	exports := make([]tasks.Export, 6)
	for i := range exports {
		exports[i].ProjectID = fmt.Sprint("p", i)
	}
	ids, err := r.client.EnqueueBatch(t.Context(), tasks.Batch{Name: "season-1"}, exports)
	must(t, err)
	for _, id := range ids {
		r.awaitState(id, export.Archived)
	}
	stop()
	if n := refused.Load(); n < 1 || n > 2 { // an order and, at the same moment, a sweep
		t.Errorf("S3 was asked %d times", n)
	}
}

// A batch whose members had all ended when Redis was lost is completed by the first sweep
// after its recovery, and S3 forgets it then: the next loss must not complete it again.
func TestARebuiltBatchIsForgotten(t *testing.T) {
	r := newRig(t)
	n, err := notify.New(notify.Options{Redis: r.rdb, Ledger: r.ledger, Logger: r.options.Logger})
	must(t, err)
	r.options.Notifier = n
	stop := r.work()
	ids, err := r.client.EnqueueBatch(t.Context(), tasks.Batch{Name: "season-1"}, []tasks.Export{{ProjectID: "p"}})
	must(t, err)
	r.await(ids[0], "its receipt done", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptDone })
	stop()
	must(t, recovery.KeepBatch(context.Background(), r.rdb, r.archive, "season-1", n.ForReceipt))
	must(t, r.rdb.FlushAll(context.Background()).Err())
	done, err := r.recovery.Recover(t.Context(), r.archive, n)
	must(t, err)
	if len(done.Batches) != 1 {
		t.Fatalf("recovered %+v", done)
	}
	sweeper, err := worker.New(r.options)
	must(t, err)
	must(t, sweeper.Sweep(t.Context()))
	if open, err := index.OpenBatches(t.Context(), r.rdb); err != nil || len(open) != 0 {
		t.Fatalf("open: %v, %v", open, err)
	}
	for b, err := range r.archive.Batches(t.Context()) {
		t.Errorf("S3 keeps a batch that is complete: %+v, %v", b, err)
	}
}
