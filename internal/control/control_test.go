package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/control"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

type desk struct {
	*control.Desk
	rdb    *redis.Client
	ledger *ledger.Ledger
	client *tasks.Client
}

func newDesk(t *testing.T) desk {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	l := ledger.New(ledger.Options{Redis: rdb})
	return desk{control.New(rdb, l, time.Now), rdb, l, tasks.NewClientFromRedis(rdb)}
}

func (d desk) enqueue(t *testing.T, e tasks.Export) {
	t.Helper()
	if _, err := d.client.Enqueue(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

func TestAnExportInItsQueueIsShownAsQueued(t *testing.T) {
	d := newDesk(t)
	before := time.Now()
	d.enqueue(t, tasks.Export{JobID: "a", ProjectID: "p", Priority: tasks.PriorityLow, ClipIndices: []int{3}})
	r, err := d.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if r.State != export.Queued || r.ProjectID != "p" || r.Priority != "low" || len(r.Wanted) != 1 {
		t.Errorf("%+v", r)
	}
	time.Sleep(2 * time.Millisecond)
	again, err := d.Get(t.Context(), "a")
	if err != nil || !again.CreatedAt.Equal(r.CreatedAt) || r.CreatedAt.Before(before) {
		t.Errorf("created %s, then %s (%v): it was enqueued after %s", r.CreatedAt, again.CreatedAt, err, before)
	}
	for _, id := range []string{"unknown", "", "no/such", strings.Repeat("x", 200)} {
		if _, err := d.Get(t.Context(), id); !errors.Is(err, control.ErrUnknown) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestAnExportIsCanceledInItsQueue(t *testing.T) {
	d := newDesk(t)
	d.enqueue(t, tasks.Export{JobID: "a", ProjectID: "p"})
	for range 2 { // the second time changes nothing
		r, err := d.Cancel(t.Context(), "a")
		if err != nil || r.State != export.Canceled {
			t.Fatalf("%v, %v", r, err)
		}
	}
	if r, err := d.Get(t.Context(), "a"); err != nil || r.State != export.Canceled {
		t.Errorf("%v, %v", r, err)
	}
	if _, err := d.Cancel(t.Context(), "unknown"); !errors.Is(err, control.ErrUnknown) {
		t.Error(err)
	}
}

func TestTheListIsNewestFirstAcrossQueuesAndLedger(t *testing.T) {
	d := newDesk(t)
	var want []string
	for i := range 450 { // more than two pages of the queue
		id := fmt.Sprintf("job-%03d", i)
		d.enqueue(t, tasks.Export{JobID: id, ProjectID: fmt.Sprint("p", i%2), Priority: []string{"", "high"}[i%3/2]})
		if i < 20 { // taken up by a worker
			if _, err := d.Cancel(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		want = append([]string{id}, want...)
	}
	ids := func(f ledger.Filter) []string {
		t.Helper()
		found, err := d.List(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, r := range found {
			ids = append(ids, r.ID)
		}
		return ids
	}
	if got := ids(ledger.Filter{Limit: 1000}); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("all: %v", got)
	}
	if got := ids(ledger.Filter{Limit: 7}); fmt.Sprint(got) != fmt.Sprint(want[:7]) {
		t.Errorf("the newest 7: %v", got)
	}
	if got := ids(ledger.Filter{Limit: 1000, State: export.Queued}); len(got) != 430 {
		t.Errorf("queued: %d", len(got))
	}
	if got := ids(ledger.Filter{Limit: 1000, State: export.Canceled}); len(got) != 20 {
		t.Errorf("canceled: %d", len(got))
	}
	if got := ids(ledger.Filter{Project: "p1", Limit: 1000}); len(got) != 225 {
		t.Errorf("of project p1: %d", len(got))
	}
	page, err := d.List(t.Context(), ledger.Filter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	if got := ids(ledger.Filter{Limit: 3, Before: control.LastOf(page).CreatedAt, BeforeID: control.LastOf(page).ID}); fmt.Sprint(got) != fmt.Sprint(want[100:103]) {
		t.Errorf("the next page: %v", got)
	}
}

// receipts is an archive's receipts, or their faults.
type receipts []any

func (rs receipts) Receipts(context.Context) iter.Seq2[storage.Receipt, error] {
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

func (receipts) ManifestKey(project, task string) string { return project + "/" + task }

// ReadManifest knows the manifest of task-d.
func (receipts) ReadManifest(_ context.Context, key string) (storage.Manifest, bool, error) {
	m := storage.Manifest{Clips: []storage.ManifestClip{{Idx: 2, ManifestFile: storage.ManifestFile{Key: "k", Size: 5}}}}
	return m, key == "p/task-d", nil
}

func TestRecoverRebuildsWhatWasPaidForAndNothingElse(t *testing.T) {
	d := newDesk(t)
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
	if got != (control.Recovered{Rebuilt: 2, Closed: 1}) {
		t.Errorf("%+v", got)
	}
	if !errors.Is(err, unreadable) || !strings.Contains(err.Error(), "recover export c") {
		t.Errorf("not every fault is named: %v", err)
	}
	r, err := d.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if r.State != export.Rendering || r.ExportTaskID != "task-a" || r.Receipt != export.ReceiptOpen || len(r.Wanted) != 1 {
		t.Errorf("%+v", r)
	}
	if got, _ = d.Recover(t.Context(), list, notify.Envelope{}); got != (control.Recovered{Known: 2, Closed: 1}) {
		t.Errorf("again: %+v", got)
	}
	if r, err = d.Get(t.Context(), "d"); err != nil || r.State != export.Archived || r.ArchivedCount != 1 || !r.NeedsCare() {
		t.Errorf("an archived one whose receipt must be closed yet: %+v, %v", r, err)
	}
	if n, err := d.rdb.ZCard(t.Context(), "asynq:{clipferry-poll}:scheduled").Result(); err != nil || n > 1 {
		t.Errorf("%d polls scheduled, %v", n, err)
	}
}

// webhookSecret is the one of the specification's example.
const webhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func TestWhatItsProducerAskedForIsRecovered(t *testing.T) {
	d := newDesk(t)
	to, err := notify.NewEnvelope([]string{webhookSecret})
	if err != nil {
		t.Fatal(err)
	}
	created := time.Now().Add(-2 * time.Hour).UTC()
	webhook := json.RawMessage(`{"webhook":"https://example.com/hook?token=hush"}`)
	full := storage.Receipt{
		ID: "full", ExportTaskID: "task-a", ProjectID: "p", State: storage.ReceiptOpen, Account: "eu", Priority: "low",
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
	r, err := d.Get(t.Context(), "full")
	if err != nil {
		t.Fatal(err)
	}
	if string(r.Notify) != string(webhook) || r.Account != "eu" || r.Priority != "low" || r.Trace["traceparent"] != "00-abc" || !r.CreatedAt.Equal(created) {
		t.Errorf("%+v", r)
	}
	if r, err = d.Get(t.Context(), "old"); err != nil || r.Notify != nil || !r.CreatedAt.Equal(old.Submitted) {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err = d.Get(t.Context(), "foreign"); err != nil || r.Notify != nil || r.State != export.Rendering {
		t.Errorf("%+v, %v", r, err)
	}
	foreign.Notify = to.ForReceipt("foreign", webhook) // once more, now with its secret
	if done, err = d.Recover(t.Context(), receipts{full, foreign}, to); done.Known != 2 || err != nil {
		t.Errorf("%+v, %v", done, err)
	}
	if r, err = d.Get(t.Context(), "foreign"); err != nil || string(r.Notify) != string(webhook) || r.State != export.Rendering {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestChangesHoldNoSecretAndAreBounded(t *testing.T) {
	d := newDesk(t)
	d.enqueue(t, tasks.Export{JobID: "a", ProjectID: "p", Notify: &tasks.Notify{Webhook: "https://example.com/?token=hush"}})
	if _, err := d.Cancel(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	left, err := d.rdb.LRange(t.Context(), "clipferry:{desk}:changes", 0, -1).Result()
	if err != nil || len(left) != 1 || strings.Contains(left[0], "hush") || len(left[0]) > 1000 {
		t.Errorf("%d bytes: %v, %v", len(fmt.Sprint(left)), left, err)
	}
	must(t, d.rdb.RPush(t.Context(), "clipferry:{desk}:changes", "rubbish of another version").Err())
	take := control.Changes(d.rdb)
	changes, err := take(t.Context())
	if err != nil || len(changes) != 1 || changes[0].Before.State != export.Queued || changes[0].After.State != export.Canceled {
		t.Errorf("%+v, %v", changes, err)
	}
	if changes, err = take(t.Context()); len(changes) != 0 || err != nil {
		t.Errorf("taken twice: %+v, %v", changes, err)
	}
}
