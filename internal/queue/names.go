package queue

import (
	"context"
	"fmt"
	"slices"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/tasks"
)

// The queues that only clipferry itself adds to; producers add to
// [tasks.SubmitQueues].
const (
	// Front holds exports that already had a turn: they go before new ones.
	Front = "clipferry-front"
	// Poll holds the reads of running exports.
	Poll = "clipferry-poll"
	// Mirror and Urgent hold transfers; urgent are those near their deadline.
	Mirror = "clipferry-mirror"
	Urgent = "clipferry-urgent"
	// Bulk holds the transfers of what makes an export a large one, so that
	// thousands of clips do not stand before everybody else's.
	Bulk = "clipferry-bulk"
	// Seal holds what writes manifests.
	Seal = "clipferry-seal"
	// Notify holds the calls of producers' webhooks.
	Notify = "clipferry-notify"
	// Passed holds the reads of tasks that were passed through.
	Passed = "clipferry-passed"
)

// NotifyConcurrency is how many webhooks one worker calls at once. A receiver
// that hangs costs one of them 15 s, and never a step of an export.
const NotifyConcurrency = 8

// Work lists the queues of what follows the order, in the order of an export's way.
func Work() []string { return []string{Poll, Mirror, Urgent, Bulk, Seal, Notify, Passed} }

// Orders lists the queues that the accounts' exports are ordered from, in the
// order in which they are served: [Front], then [tasks.SubmitQueues]. Without
// names it is those of the default account.
func Orders(accounts ...string) []string {
	if len(accounts) == 0 {
		accounts = []string{tasks.DefaultAccount}
	}
	var names []string
	for _, kind := range append([]string{Front}, tasks.SubmitQueues()...) {
		for _, account := range accounts {
			if name := tasks.AccountQueue(kind, account); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// All lists the queues of the default account and of the named ones.
func All(accounts ...string) []string {
	return append(Orders(append([]string{tasks.DefaultAccount}, accounts...)...), Work()...)
}

// OfTenant lists the queues that the tenant's exports with the account are ordered
// from. Those that already had a turn wait with the high ones.
func OfTenant(account, tenant string) []string {
	var names []string
	for _, kind := range tasks.SubmitQueues() {
		names = append(names, tasks.TenantQueue(kind, account, tenant))
	}
	return names
}

// orders is the queue of that kind that the export is ordered from; a tenant's own is of
// the kind ofTenant.
func orders(r *export.Record, kind, ofTenant string) string {
	switch {
	case r.Unserved:
		return kind
	case r.Lane == "":
		return tasks.AccountQueue(kind, r.Account)
	default:
		return tasks.TenantQueue(ofTenant, r.Account, r.Lane)
	}
}

// Kind returns which of [All] the queue is, whatever account and tenant it belongs to;
// false for a queue that is not ours.
func Kind(name string) (kind, account string, ours bool) {
	kind, account, tenant := tasks.ParseQueue(name)
	switch {
	case tenant != "":
		return kind, account, tasks.ValidTenant(tenant) && slices.Contains(tasks.SubmitQueues(), kind)
	case account == tasks.DefaultAccount:
		return kind, account, slices.Contains(All(), kind)
	}
	return kind, account, slices.Contains(Orders(), kind)
}

// IsOrders reports whether exports are ordered from the queue.
func IsOrders(name string) bool {
	kind, _, ours := Kind(name)
	return ours && (kind == Front || slices.Contains(tasks.SubmitQueues(), kind))
}

// Existing returns the queues of those kinds that asynq knows of, of whatever
// account, in the order of the kinds. After a loss of Redis a queue is unknown
// until its next task, or [tasks.PublishQueues].
func (q *Queue) Existing(ctx context.Context, kinds []string) ([]string, error) {
	if err := ctx.Err(); err != nil { // the inspector takes no context
		return nil, err
	}
	known, err := q.inspector.Queues()
	if err != nil {
		return nil, fmt.Errorf("list the queues: %w", err)
	}
	slices.Sort(known)
	var names []string
	for _, kind := range kinds {
		for _, name := range known {
			if is, _, ours := Kind(name); ours && is == kind {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// PendingKey is the list in which asynq keeps the tasks of a queue that wait, the
// newest first.
func PendingKey(queue string) string { return "asynq:{" + queue + "}:pending" }

// PausedKey exists while the queue is paused.
func PausedKey(queue string) string { return "asynq:{" + queue + "}:paused" }
