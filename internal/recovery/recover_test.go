package recovery_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/recovery"
	"github.com/clipferry/clipferry/storage"
)

type rig struct {
	*recovery.Service
	rdb    *redis.Client
	ledger *ledger.Ledger
}

func newRig(t *testing.T) rig {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	l := ledger.New(ledger.Options{Redis: rdb})
	return rig{recovery.New(rdb, l, queue.New(rdb), time.Now), rdb, l}
}

// receipts is an archive's receipts, or their faults.
type receipts []any

func (rs receipts) Receipts(context.Context, time.Time) iter.Seq2[storage.Receipt, error] {
	return func(yield func(storage.Receipt, error) bool) {
		for _, r := range rs {
			err, _ := r.(error)
			receipt, _ := r.(storage.Receipt)
			if !yield(receipt, err) {
				return
			}
		}
	}
}

func (receipts) Batches(context.Context) iter.Seq2[storage.Batch, error] {
	return func(func(storage.Batch, error) bool) {}
}

func (receipts) ManifestKey(project, task string) string { return project + "/" + task }

// ReadManifest knows the manifest of task-d.
func (receipts) ReadManifest(_ context.Context, key string) (storage.Manifest, bool, error) {
	m := storage.Manifest{Clips: []storage.ManifestClip{{Idx: 2, ManifestFile: storage.ManifestFile{Object: export.Object{Key: "k", Size: 5}}}}}
	return m, key == "p/task-d", nil
}

func TestRecoverRebuildsWhatWasPaidForAndNothingElse(t *testing.T) {
	d := newRig(t)
	open := storage.Receipt{
		ID: "a", ExportTaskID: "task-a", ProjectID: "p", State: storage.ReceiptOpen,
		Request: json.RawMessage(`{"project_id":"p","clip_indices":[1]}`), Submitted: time.Now().Add(-time.Hour),
	}
	done, broken, sealed := open, open, open
	done.ID, done.State = "b", storage.ReceiptDone
	broken.ID, broken.Request = "c", json.RawMessage(`{"project_id":7}`)
	sealed.ID, sealed.ExportTaskID = "d", "task-d" // its worker died before it could close the receipt
	unreadable := errors.New("unreadable")
	list := receipts{unreadable, broken, done, open, sealed}

	got, err := d.Recover(t.Context(), list, notify.Envelope{})
	if !reflect.DeepEqual(got, recovery.Recovered{Rebuilt: 2, Closed: 1}) {
		t.Errorf("%+v", got)
	}
	if !errors.Is(err, unreadable) || !strings.Contains(err.Error(), "recover export c") {
		t.Errorf("not every fault is named: %v", err)
	}
	r, err := d.ledger.Load(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if r.State != export.Rendering || r.ExportTaskID != "task-a" || r.Receipt != export.ReceiptOpen || len(r.Wanted) != 1 {
		t.Errorf("%+v", r)
	}
	if got, _ = d.Recover(t.Context(), list, notify.Envelope{}); !reflect.DeepEqual(got, recovery.Recovered{Known: 2, Closed: 1}) {
		t.Errorf("again: %+v", got)
	}
	if r, err = d.ledger.Load(t.Context(), "d"); err != nil || r.State != export.Archived || r.ArchivedCount != 1 || !r.NeedsCare() {
		t.Errorf("an archived one whose receipt must be closed yet: %+v, %v", r, err)
	}
	if n, err := d.rdb.ZCard(t.Context(), "asynq:{clipferry-poll}:scheduled").Result(); err != nil || n > 1 {
		t.Errorf("%d polls scheduled, %v", n, err)
	}
}

// webhookSecret is the one of the specification's example.
const webhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func TestWhatItsProducerAskedForIsRecovered(t *testing.T) {
	d := newRig(t)
	to, err := notify.NewEnvelope([]string{webhookSecret})
	if err != nil {
		t.Fatal(err)
	}
	created := time.Now().Add(-2 * time.Hour).UTC()
	webhook := json.RawMessage(`{"webhook":"https://example.com/hook?token=hush"}`)
	full := storage.Receipt{
		ID: "full", ExportTaskID: "task-a", ProjectID: "p", State: storage.ReceiptOpen, Account: "eu", Tenant: "news", Priority: "low",
		Labels: map[string]string{"show": "42"}, Batch: "season-1",
		Request: json.RawMessage(`{"project_id":"p"}`), Created: created, Submitted: created.Add(time.Hour),
		Trace: map[string]string{"traceparent": "00-abc"}, Notify: to.ForReceipt("full", webhook),
	}
	old, foreign := full, full // of an older version; sealed by a secret that is gone
	old.ID, old.Notify, old.Created, old.Priority, old.Trace = "old", nil, time.Time{}, "", nil
	foreign.ID = "foreign"

	done, err := d.Recover(t.Context(), receipts{full, old, foreign}, to)
	if done.Rebuilt != 3 {
		t.Errorf("%+v", done)
	}
	if err == nil || !strings.Contains(err.Error(), "foreign is rebuilt, but nobody will be told") || strings.Contains(err.Error(), "full") {
		t.Errorf("%v", err)
	}
	r, err := d.ledger.Load(t.Context(), "full")
	if err != nil {
		t.Fatal(err)
	}
	if string(r.Notify) != string(webhook) || r.Account != "eu" || r.Tenant != "news" || r.Priority != "low" || r.Labels["show"] != "42" || r.Batch != "season-1" || r.Trace["traceparent"] != "00-abc" || !r.CreatedAt.Equal(created) {
		t.Errorf("%+v", r)
	}
	if r, err = d.ledger.Load(t.Context(), "old"); err != nil || r.Notify != nil || !r.CreatedAt.Equal(old.Submitted) {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err = d.ledger.Load(t.Context(), "foreign"); err != nil || r.Notify != nil || r.State != export.Rendering {
		t.Errorf("%+v, %v", r, err)
	}
	foreign.Notify = to.ForReceipt("foreign", webhook) // once more, now with its secret
	if done, err = d.Recover(t.Context(), receipts{full, foreign}, to); done.Known != 2 || err != nil {
		t.Errorf("%+v, %v", done, err)
	}
	if r, err = d.ledger.Load(t.Context(), "foreign"); err != nil || string(r.Notify) != string(webhook) || r.State != export.Rendering {
		t.Errorf("%+v, %v", r, err)
	}
}

// passed notes which receipts it is given.
type passed struct{ ids []string }

func (p *passed) Restore(_ context.Context, r storage.Receipt) (bool, error) {
	p.ids = append(p.ids, r.ID)
	return len(p.ids) == 1, nil
}

// TestWhatWasPassedThroughIsNoExport: its receipts are restored by whoever wrote them, and
// left alone where that is not known.
func TestWhatWasPassedThroughIsNoExport(t *testing.T) {
	d := newRig(t)
	open := storage.Receipt{ID: "pass/default/task:1", ExportTaskID: "clips_1", State: storage.ReceiptOpen, Passed: json.RawMessage(`{}`)}
	over := open
	over.ID, over.State = "pass/default/task:2", storage.ReceiptEnded
	for range 2 {
		if got, err := d.Recover(t.Context(), receipts{open, over}, nil); err != nil || !reflect.DeepEqual(got, recovery.Recovered{}) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	p := &passed{}
	d.Passed = p
	if got, err := d.Recover(t.Context(), receipts{open, over}, nil); err != nil || !reflect.DeepEqual(got, recovery.Recovered{Passed: 1}) || len(p.ids) != 2 {
		t.Errorf("%+v, %v, given %v", got, err, p.ids)
	}
}
