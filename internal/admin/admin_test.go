package admin_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/tasks"
)

type rig struct {
	*admin.Service
	rdb    *redis.Client
	ledger *ledger.Ledger
	client *tasks.Client
}

func newRig(t *testing.T) rig {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	l := ledger.New(ledger.Options{Redis: rdb})
	return rig{admin.New(rdb, l, time.Now), rdb, l, tasks.NewClientFromRedis(rdb)}
}

func (d rig) enqueue(t *testing.T, e tasks.Export) {
	t.Helper()
	if _, err := d.client.Enqueue(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

func TestAnExportInItsQueueIsShownAsQueued(t *testing.T) {
	d := newRig(t)
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
		if _, err := d.Get(t.Context(), id); !errors.Is(err, admin.ErrUnknown) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestAnExportIsCanceledInItsQueue(t *testing.T) {
	d := newRig(t)
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
	if _, err := d.Cancel(t.Context(), "unknown"); !errors.Is(err, admin.ErrUnknown) {
		t.Error(err)
	}
}

func TestARetryInTheQueueSaysWhatIsThere(t *testing.T) {
	d := newRig(t)
	d.enqueue(t, tasks.Export{JobID: "a", ProjectID: "p"})
	_, err := d.Retry(t.Context(), "a", export.RetryOptions{})
	if !errors.Is(err, export.ErrNotNow) || !strings.Contains(err.Error(), "waits in its queue") {
		t.Errorf("of a queued export: %v", err)
	}
	if _, err := d.Retry(t.Context(), "nobody", export.RetryOptions{}); !errors.Is(err, admin.ErrUnknown) {
		t.Errorf("of none: %v", err)
	}
}

func TestABrokenRecordIsShownAsWhatItIs(t *testing.T) {
	d := newRig(t)
	d.enqueue(t, tasks.Export{JobID: "a", ProjectID: "p"})
	d.enqueue(t, tasks.Export{JobID: "b", ProjectID: "p"})
	if err := d.rdb.Set(t.Context(), ledger.Key("a"), "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	r, err := d.Get(t.Context(), "a")
	if err != nil || r.State != export.Unreadable || strings.Contains(r.Problem.Detail, "script") {
		t.Errorf("%+v, %v", r, err)
	}
	found, err := d.List(t.Context(), ledger.Filter{})
	if err != nil || len(found) != 2 || found[0].ID != "b" || found[1].State != export.Unreadable {
		t.Errorf("%v, %v", found, err)
	}
	_, canceled := d.Cancel(t.Context(), "a")
	_, retried := d.Retry(t.Context(), "a", export.RetryOptions{})
	for what, err := range map[string]error{"cancel": canceled, "retry": retried} {
		if !errors.Is(err, ledger.ErrUnreadable) || err.Error() != "what Redis holds under its id is no record of an export, so that it can't be changed" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestTheListIsNewestFirstAcrossQueuesAndLedger(t *testing.T) {
	d := newRig(t)
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
	if got := ids(ledger.Filter{Limit: 3, Before: admin.LastOf(page).CreatedAt, BeforeID: admin.LastOf(page).ID}); fmt.Sprint(got) != fmt.Sprint(want[100:103]) {
		t.Errorf("the next page: %v", got)
	}
}

func TestATenantsListHoldsItsExportsAlone(t *testing.T) {
	d := newRig(t)
	d.enqueue(t, tasks.Export{JobID: "news-taken-up", ProjectID: "p", Tenant: "news"})
	if _, err := d.Cancel(t.Context(), "news-taken-up"); err != nil {
		t.Fatal(err)
	}
	d.enqueue(t, tasks.Export{JobID: "news-queued", ProjectID: "p", Tenant: "news"})
	d.enqueue(t, tasks.Export{JobID: "nobodys", ProjectID: "p"})
	d.enqueue(t, tasks.Export{JobID: "named", ProjectID: "p", Tenant: tasks.DefaultTenant})
	for tenant, want := range map[string]string{
		"news": "[news-queued news-taken-up]", tasks.DefaultTenant: "[named nobodys]", "sport": "[]",
	} {
		found, err := d.List(t.Context(), ledger.Filter{Tenant: tenant})
		must(t, err)
		ids := []string{}
		for _, r := range found {
			ids = append(ids, r.ID)
		}
		if fmt.Sprint(ids) != want {
			t.Errorf("%s has %v", tenant, ids)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
