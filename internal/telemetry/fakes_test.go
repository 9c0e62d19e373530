package telemetry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

type counts map[export.State]int64

func (c counts) Counts(context.Context) (map[export.State]int64, error) {
	if c == nil {
		return nil, errors.New("redis is down")
	}
	return c, nil
}

type queues map[string]queue.Depth

func (q queues) Depths(context.Context, []string) (map[string]queue.Depth, error) { return q, nil }

type status budget.Status

func (s status) Status(context.Context) (budget.Status, error) { return budget.Status(s), nil }

var (
	someQueues = queues{
		tasks.QueueSubmit: {Pending: 40, Oldest: 90 * time.Second},
		queue.Poll:        {Active: 3, Scheduled: 2, Paused: true, Archived: 1},
	}
	someBudget = status{
		RequestsPerMinute: 15, MaxActive: 5, Rate: 12.75, Slots: 4, Credit: 1.5,
		Held:    []budget.Slot{{Export: "a"}, {Export: "b", InDoubt: true}},
		Waiting: map[budget.Kind]int{budget.Submit: 2}, InFlight: map[budget.Kind]int{budget.Read: 1},
		Halted: "key_refused", Lag: 6 * time.Second, Duration: 2 * time.Minute, Predicted: 3 * time.Minute, Crashed: 2,
	}
	noLimits = status{Credit: math.Inf(1)}
)

// fakeProvider accepts every export and has its two clips ready at the second read.
type fakeProvider struct {
	mu    sync.Mutex
	reads int
}

func (p *fakeProvider) Submit(context.Context, json.RawMessage) (provider.Task, error) {
	return provider.Task{ExportTaskID: "task-1", Status: provider.StatusCreated}, nil
}

func (p *fakeProvider) Read(context.Context, string, string) (provider.Task, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reads++
	task := provider.Task{
		ExportTaskID: "task-1", Status: provider.StatusOngoing, ExpireAt: time.Now().Add(72 * time.Hour), CostUsage: 48,
		Raw: json.RawMessage(`{}`),
	}
	if p.reads > 1 {
		task.Status = provider.StatusSucceeded
		for idx := range 2 {
			task.Clips = append(task.Clips, provider.Clip{
				Idx: idx, Title: fmt.Sprint("clip ", idx), EndMS: 30_000, ExportLink: "https://cdn.example/secret?signature=s3cr3t",
			})
		}
	}
	return task, nil
}

// bucketDown is a bucket that is left alone.
type bucketDown struct{}

func (bucketDown) Health() storage.Health { return storage.Health{Open: true} }

// archive believes every transfer; the first one fails.
type archive struct {
	mu        sync.Mutex
	transfers int
	receipts  map[string]storage.Receipt
}

func (a *archive) Mirror(_ context.Context, job storage.Job) (storage.Result, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.transfers++; a.transfers == 1 {
		return storage.Result{}, errors.New("the network went away")
	}
	return storage.Result{Object: export.Object{Key: job.Key, Size: 1000, SHA256: "00"}, Fetched: 1000}, nil
}

func (a *archive) Folder(project, task string) string { return project + "/" + task + "/" }

func (a *archive) WriteReceipt(_ context.Context, r, _ storage.Receipt) (bool, error) {
	return true, a.SyncReceipt(context.Background(), r)
}

func (a *archive) SyncReceipt(_ context.Context, r storage.Receipt) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.receipts[r.ID] = r
	return nil
}

func (a *archive) KeepBatch(context.Context, storage.Batch) error { return nil }

func (a *archive) ForgetBatch(context.Context, string) error { return nil }

func (a *archive) Health() storage.Health { return storage.Health{} }

func (a *archive) MayOrder(string) error { return nil }

func (a *archive) Receipt(_ context.Context, id string) (storage.Receipt, bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, ok := a.receipts[id]
	return r, ok, nil
}

func (a *archive) PutManifest(context.Context, storage.Manifest) (string, error) {
	return "manifest.json", nil
}

func (a *archive) ManifestKey(project, task string) string {
	return a.Folder(project, task) + "manifest.json"
}

func (a *archive) ReadManifest(context.Context, string) (storage.Manifest, bool, error) {
	return storage.Manifest{}, false, nil
}
func (a *archive) Check(context.Context) error { return nil }

func (a *archive) AbortOrphans(context.Context, time.Duration) (int, error) { return 0, nil }
