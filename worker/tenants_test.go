package worker_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// tenants gives the fleet tenants, which producers know of.
func (r *rig) tenants(shares map[string]int) {
	r.t.Helper()
	r.options.Tenants = shares
	var names []string
	for name := range shares {
		names = append(names, name)
	}
	must(r.t, tasks.PublishServed(r.t.Context(), r.rdb, worker.DefaultAccount, names, time.Now()))
}

// TestABacklogOfOneTenantDelaysNoOther: a thousand of one are before ten of another,
// in Asynq as at the gate.
func TestABacklogOfOneTenantDelaysNoOther(t *testing.T) {
	r := newRig(t)
	r.tenants(map[string]int{"news": 1, "sport": 1})
	r.provider.clips, r.provider.readsFor = 1, 1
	var exports []tasks.Export
	for i := range 1000 {
		exports = append(exports, tasks.Export{ProjectID: fmt.Sprintf("news-%d", i), Tenant: "news"})
	}
	_, err := r.client.EnqueueAll(t.Context(), exports)
	must(t, err)
	r.work()
	await(t, func() bool { return r.provider.submits() >= 10 })
	before := r.provider.submits()
	var ids []string
	for i := range 10 {
		ids = append(ids, r.enqueue(tasks.Export{ProjectID: fmt.Sprintf("sport-%d", i), Tenant: "sport"}))
	}
	for _, id := range ids {
		if rec := r.awaitState(id, export.Archived); rec.TenantName() != "sport" {
			t.Errorf("%s is %s's", id, rec.TenantName())
		}
	}
	news, sport := 0, 0
	for _, project := range r.provider.projects()[before:] {
		if strings.HasPrefix(project, "sport") {
			sport++
		} else if sport < 10 {
			news++
		}
	}
	// The workers notice the first within a moment, and it then goes by turns; those
	// that were at the gate or rendering do not count. Without shares, all thousand go first.
	if news > 60 {
		t.Errorf("%d exports of the other went before the ten", news)
	}
	for name, want := range map[string]bool{"clipferry-submit@news": true, "clipferry-submit@sport": true, "clipferry-submit": false} {
		if n, err := r.rdb.LLen(t.Context(), "asynq:{"+name+"}:pending").Result(); err != nil || n > 0 && !want {
			t.Errorf("%s has %d (%v)", name, n, err)
		}
	}
}

// await waits for what no record shows.
func await(t *testing.T, done func() bool) {
	t.Helper()
	for began := time.Now(); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("it has not come to that within a minute")
		}
	}
}

// TestExportsFindTheQueuesOfTheirTenants whoever enqueued them where, and those of
// tenants without any share the plain one.
func TestExportsFindTheQueuesOfTheirTenants(t *testing.T) {
	r := newRig(t)
	r.tenants(map[string]int{"news": 1, tasks.DefaultTenant: 2})
	endless(r.provider)
	bare := asynq.NewClientFromRedisClient(r.rdb)
	put := func(id, queue, tenant string) {
		task := asynq.NewTask(tasks.TypeSubmit, []byte(`{"project_id":"p","tenant":"`+tenant+`"}`))
		_, err := bare.EnqueueContext(t.Context(), task, asynq.Queue(queue), asynq.TaskID("submit:"+id), asynq.MaxRetry(25), asynq.Timeout(time.Hour))
		must(t, err)
	}
	put("plain", "clipferry-submit", "news")
	put("right", "clipferry-submit@news", "news")
	put("unknown", "clipferry-submit", "art")
	put("former", "clipferry-submit@former", "former")
	want := map[string]string{"plain": "news", "right": "news", "unknown": "", "former": "former"}
	r.work()
	for id, lane := range want {
		if rec := r.awaitState(id, export.Rendering); rec.Lane != lane {
			t.Errorf("%s is in the queues of %q", id, rec.Lane)
		}
	}
	if id := r.enqueue(tasks.Export{ProjectID: "q", Tenant: "made-up"}); id == "" {
		t.Error("no id")
	}
	names, err := r.rdb.SMembers(t.Context(), "asynq:queues").Result()
	must(t, err)
	for _, name := range names {
		if strings.Contains(name, "made-up") || strings.Contains(name, "art") {
			t.Errorf("a tenant that is not configured has the queue %s", name)
		}
	}
}

// lookWindow holds what an idle worker does now and then about equally often, however
// it falls: most comes each 15 seconds or more often.
const lookWindow = 15 * time.Second

// TestATenantCostsAnIdleWorkerLittle: docs/performance.md has the figure; here is seen
// that it does not grow.
func TestATenantCostsAnIdleWorkerLittle(t *testing.T) {
	rate := func(r *rig, tenants int) func() func() float64 {
		shares := map[string]int{}
		for i := range tenants {
			shares[fmt.Sprint("t", i)] = 1
		}
		r.tenants(shares)
		r.options.PollInterval = time.Second
		r.work()
		count := func() (int64, time.Time) {
			info, err := r.rdb.Info(t.Context(), "stats").Result()
			must(t, err)
			_, text, _ := strings.Cut(info, "total_commands_processed:")
			text, _, _ = strings.Cut(text, "\r\n")
			n, err := strconv.ParseInt(text, 10, 64)
			must(t, err)
			return n, time.Now()
		}
		return func() func() float64 {
			first, began := count()
			return func() float64 {
				last, now := count()
				return float64(last-first) / now.Sub(began).Seconds()
			}
		}
	}
	none, four := newRig(t), newRigAlone(t)
	without, with := rate(none, 0), rate(four, 4)
	time.Sleep(2 * time.Second) // what a start costs is over
	baseOf, moreOf := without(), with()
	time.Sleep(lookWindow)
	base, more := baseOf(), moreOf()
	t.Logf("%.1f commands a second without tenants, %.1f with four", base, more)
	if each := (more - base) / 4; each > 8 {
		t.Errorf("a tenant costs %.1f commands a second", each)
	}
}
