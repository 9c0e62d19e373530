package worker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/tasks"
)

// sharesAs returns as which tenant the export shares the slots: those that are not
// configured share as one.
func (w *Worker) sharesAs(r *export.Record) string {
	if _, own := w.o.Tenants[r.TenantName()]; own {
		return r.TenantName()
	}
	return tasks.DefaultTenant
}

// ownQueues are the configured tenants that have queues of their own.
func (w *Worker) ownQueues() []string {
	names := slices.Sorted(maps.Keys(w.o.Tenants))
	return slices.DeleteFunc(names, func(name string) bool { return name == tasks.DefaultTenant })
}

// publishServed tells producers' clients, and the rest of the fleet, which accounts and
// tenants have queues.
func (w *Worker) publishServed(ctx context.Context) error {
	for account := range w.o.Accounts {
		for _, as := range w.namesOf(account) {
			if err := tasks.PublishServed(ctx, w.o.Redis, as, w.ownQueues(), w.now()); err != nil {
				return err
			}
		}
	}
	return nil
}

// unserved reports whether no worker of the fleet has the export's account.
func (w *Worker) unserved(ctx context.Context, r *export.Record) (bool, error) {
	if _, err := w.account(r); err == nil {
		return false, nil
	}
	served, err := tasks.LoadServed(ctx, w.o.Redis)
	return !served.Account(r.Account), err
}

// maxFormer bounds the queues of former tenants that are served.
const maxFormer = 64

// tenantQueues returns the queues of single tenants that this worker serves for the
// account: those of the configured ones, and those that are there of former ones.
func (w *Worker) tenantQueues(ctx context.Context, account string) []string {
	var names []string
	for _, as := range w.namesOf(account) {
		for _, tenant := range w.ownQueues() {
			names = append(names, queue.OfTenant(as, tenant)...)
		}
	}
	there, err := w.queue.Existing(ctx, tasks.SubmitQueues())
	if err != nil {
		w.log.Warn("whether there are queues of former tenants could not be seen", logkey.Error, err)
	}
	former := 0
	for _, name := range there {
		_, as, tenant := tasks.ParseQueue(name)
		if tenant != "" && former < maxFormer && slices.Contains(w.namesOf(account), as) && !slices.Contains(names, name) {
			names = append(names, name)
			former++
		}
	}
	return names
}

// namesOf are the names by which exports mean the account.
func (w *Worker) namesOf(account string) []string {
	if account == w.o.Default && account != DefaultAccount {
		return []string{account, DefaultAccount}
	}
	return []string{account}
}

// waiting limits how many exports of each tenant and account wait for their turn in
// this worker, so that none stands in another's way: asynq limits a server as a whole.
type waiting struct {
	limit int

	mu    sync.Mutex
	held  map[string]int         // by line: whose handlers run
	taken map[string][]time.Time // when tasks were taken out whose handlers don't run yet
}

// begins is how long asynq may take from a task to its handler; if that never runs,
// the task counts no longer.
const begins = 5 * time.Second

func newWaiting(limit int) *waiting {
	return &waiting{limit: limit, held: map[string]int{}, taken: map[string][]time.Time{}}
}

// lineOf is whose exports wait in a queue: an account's and a tenant's.
func lineOf(name string) string {
	_, account, tenant := tasks.ParseQueue(name)
	return tasks.TenantQueue("", account, tenant)
}

// full reports whether as many wait here as may.
func (h *waiting) full(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	line := lineOf(name)
	h.taken[line] = slices.DeleteFunc(h.taken[line], func(at time.Time) bool { return time.Since(at) > begins })
	return h.held[line]+len(h.taken[line]) >= h.limit
}

// take notes that a task was taken out of the queue.
func (h *waiting) take(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taken[lineOf(name)] = append(h.taken[lineOf(name)], time.Now())
}

// begin notes that a handler runs, and returns what ends it.
func (h *waiting) begin(name string) (end func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	line := lineOf(name)
	if len(h.taken[line]) > 0 {
		h.taken[line] = h.taken[line][1:]
	}
	h.held[line]++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.held[line]--
	}
}
