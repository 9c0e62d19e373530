package tasks

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// The task types.
const (
	TypeSubmit = "export:submit"
	TypePoll   = "export:poll"
	TypeMirror = "export:mirror"
	TypeSeal   = "export:seal"
	// TypeNotify calls a producer's webhook.
	TypeNotify = "export:notify"
)

// The queues, named so that an operator sees the flow at a glance.
const (
	// QueueFront holds exports that already had a turn: they go before new ones.
	QueueFront = "clipferry-front"
	// QueueSubmitHigh, QueueSubmit and QueueSubmitLow hold new exports by priority.
	QueueSubmitHigh = "clipferry-submit-high"
	QueueSubmit     = "clipferry-submit"
	QueueSubmitLow  = "clipferry-submit-low"
	// QueuePoll holds the reads of running exports.
	QueuePoll = "clipferry-poll"
	// QueueMirror and QueueUrgent hold transfers; urgent are those near their deadline.
	QueueMirror = "clipferry-mirror"
	QueueUrgent = "clipferry-urgent"
	// QueueBulk holds the transfers of what makes an export a large one, so that
	// thousands of clips do not stand before everybody else's.
	QueueBulk = "clipferry-bulk"
	// QueueSeal holds what writes manifests.
	QueueSeal = "clipferry-seal"
	// QueueNotify holds the calls of producers' webhooks.
	QueueNotify = "clipferry-notify"
)

// The priorities of [Export.Priority].
const (
	PriorityHigh   = "high"
	PriorityNormal = "normal"
	PriorityLow    = "low"
)

// Queues returns the names of all queues, in the order of an export's way.
func Queues() []string {
	return append(OrderQueues(), QueuePoll, QueueMirror, QueueUrgent, QueueBulk, QueueSeal, QueueNotify)
}

// OrderQueues returns the queues that exports are ordered from at the provider, in
// the order in which they are served: [QueueFront], then [SubmitQueues].
func OrderQueues() []string { return append([]string{QueueFront}, SubmitQueues()...) }

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

// Announce enters queues into asynq's list of them. Whatever looks up or lists
// tasks goes by that list, and asynq's clients enter a queue only once in their
// lives: after a Redis that lost everything, the queues would fill unseen.
func Announce(ctx context.Context, rdb redis.UniversalClient, queues ...string) error {
	names := make([]any, len(queues))
	for i, queue := range queues {
		names[i] = queue
	}
	if err := rdb.SAdd(ctx, asynqQueues, names...).Err(); err != nil {
		return fmt.Errorf("announce the queues: %w", err)
	}
	return nil
}

// DefaultAccount is the account of exports that name none.
const DefaultAccount = "default"

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

// OwnedQueues returns those of the names that are submit queues of a named
// account, [QueueFront]'s included.
func OwnedQueues(names []string) []string {
	var owned []string
	for _, name := range names {
		queue, account := SplitQueue(name)
		if account != DefaultAccount && slices.Contains(OrderQueues(), queue) {
			owned = append(owned, name)
		}
	}
	return owned
}
