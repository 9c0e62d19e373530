package tasks

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// TypeSubmit is the type of an export's first task.
const TypeSubmit = "export:submit"

// The queues of new exports, by priority.
const (
	QueueSubmitHigh = "clipferry-submit-high"
	QueueSubmit     = "clipferry-submit"
	QueueSubmitLow  = "clipferry-submit-low"
)

// The priorities of [Export.Priority].
const (
	PriorityHigh   = "high"
	PriorityNormal = "normal"
	PriorityLow    = "low"
)

// SubmitQueues returns the queues that producers enqueue to, by falling priority.
func SubmitQueues() []string {
	return []string{QueueSubmitHigh, QueueSubmit, QueueSubmitLow}
}

// QueueFor returns the queue that exports of the priority wait in.
func QueueFor(priority string) string {
	switch priority {
	case PriorityHigh:
		return QueueSubmitHigh
	case PriorityLow:
		return QueueSubmitLow
	default:
		return QueueSubmit
	}
}

// asynqQueues is the set in which asynq keeps the names of all queues.
const asynqQueues = "asynq:queues"

// PublishQueues enters queues into asynq's list of them. Whatever looks up or lists
// tasks goes by that list, and asynq's clients enter a queue only once in their
// lives: after a Redis that lost everything, the queues would fill unseen.
func PublishQueues(ctx context.Context, rdb redis.UniversalClient, queues ...string) error {
	names := make([]any, len(queues))
	for i, queue := range queues {
		names[i] = queue
	}
	if err := rdb.SAdd(ctx, asynqQueues, names...).Err(); err != nil {
		return fmt.Errorf("publish the queues: %w", err)
	}
	return nil
}

// DefaultAccount is the account of exports that name none.
const DefaultAccount = "default"

// DefaultTenant is whose exports are that name no tenant.
const DefaultTenant = "default"

// AccountQueue returns the account's own queue of that kind, such as
// clipferry-submit.eu. The default account has the plain queues. The exports of
// an account wait in queues of their own, so that one whose slots are all taken
// stands in nobody else's way.
func AccountQueue(queue, account string) string {
	if account == "" || account == DefaultAccount {
		return queue
	}
	return queue + "." + account
}

// SplitQueue is the reverse of [AccountQueue].
func SplitQueue(name string) (queue, account string) {
	queue, account, own := strings.Cut(name, ".")
	if !own {
		return queue, DefaultAccount
	}
	return queue, account
}

// queueOf returns the queue that an export waits in.
func queueOf(e Export) string { return AccountQueue(QueueFor(e.Priority), e.Account) }

// submitQueues returns [SubmitQueues] and those of the names that are a named
// account's.
func submitQueues(names []string) []string {
	all := SubmitQueues()
	for _, name := range names {
		queue, account := SplitQueue(name)
		if account != DefaultAccount && slices.Contains(SubmitQueues(), queue) {
			all = append(all, name)
		}
	}
	return all
}
