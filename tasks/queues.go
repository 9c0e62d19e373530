package tasks

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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
	queue, account, _ = ParseQueue(name)
	return queue, account
}

// TenantQueue returns the queue of that kind in which the exports of a tenant of its
// own share wait, such as clipferry-submit@news or, with an account,
// clipferry-submit.eu@news. Without a tenant it is [AccountQueue].
func TenantQueue(queue, account, tenant string) string {
	if tenant == "" || tenant == DefaultTenant {
		return AccountQueue(queue, account)
	}
	return AccountQueue(queue, account) + "@" + tenant
}

// ParseQueue is the reverse of [TenantQueue]; the tenant is empty where the queue is
// not one tenant's.
func ParseQueue(name string) (queue, account, tenant string) {
	name, tenant, _ = strings.Cut(name, "@")
	queue, account, own := strings.Cut(name, ".")
	if !own {
		account = DefaultAccount
	}
	return queue, account, tenant
}

// servedKey is the sorted set of the accounts and tenants that have queues of their own,
// each as its queues without their kind (such as .eu or @news, empty for the plain ones), by
// when a worker last said that it has them.
const servedKey = "clipferry:{fleet}:served"

// servedForgotten is after how long a queue gets nothing more that no worker has.
const servedForgotten = 24 * time.Hour

// PublishServed says that workers serve queues of the account and, with it, of these
// tenants: producers' exports go there from now on, those of all others into the plain
// queues.
func PublishServed(ctx context.Context, rdb redis.UniversalClient, account string, tenants []string, now time.Time) error {
	members := []redis.Z{{Member: AccountQueue("", account)}}
	for _, tenant := range tenants {
		members = append(members, redis.Z{Member: TenantQueue("", account, tenant)})
	}
	for i := range members {
		members[i].Score = float64(now.UnixMilli())
	}
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZAdd(ctx, servedKey, members...)
		p.ZRemRangeByScore(ctx, servedKey, "-inf", strconv.FormatInt(now.Add(-servedForgotten).UnixMilli(), 10))
		return nil
	})
	if err != nil {
		return fmt.Errorf("publish the accounts and tenants: %w", err)
	}
	return nil
}

// Served are the accounts and tenants that have queues of their own, as workers have said;
// empty before any did.
type Served []string

// LoadServed asks which accounts and tenants have queues of their own.
func LoadServed(ctx context.Context, rdb redis.UniversalClient) (Served, error) {
	served, err := rdb.ZRange(ctx, servedKey, 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("ask which accounts and tenants have queues: %w", err)
	}
	return served, nil
}

// Account reports whether a worker has the account.
func (s Served) Account(name string) bool {
	return name == "" || name == DefaultAccount || slices.Contains(s, AccountQueue("", name))
}

// queue returns the queue of that kind in which an export of the account and tenant waits:
// its own if that is served, else the plain one, from which a worker moves it. So nobody
// makes queues that nobody serves. Before any worker said what it has, the account is
// believed: in the plain queue, another account's exports may be in the way.
func (s Served) queue(kind, account, tenant string) string {
	own := TenantQueue("", account, tenant)
	switch {
	case slices.Contains(s, own):
		return kind + own
	case len(s) > 0 && !s.Account(account):
		return kind
	default:
		return AccountQueue(kind, account)
	}
}

// servedEvery is how often a client asks which accounts and tenants have queues.
const servedEvery = 5 * time.Second

// queueOf returns the queue that an export waits in.
func (c *Client) queueOf(ctx context.Context, e Export) string {
	kind := QueueFor(e.Priority)
	if TenantQueue("", e.Account, e.Tenant) == "" {
		return kind
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.servedAt) > servedEvery {
		if found, err := LoadServed(ctx, c.rdb); err == nil {
			c.served, c.servedAt = found, time.Now()
		}
	}
	return c.served.queue(kind, e.Account, e.Tenant)
}

// submitQueues returns [SubmitQueues] and those of the names that are a named
// account's or a tenant's.
func submitQueues(names []string) []string {
	all := SubmitQueues()
	for _, name := range names {
		queue, account, tenant := ParseQueue(name)
		if (account != DefaultAccount || tenant != "") && slices.Contains(SubmitQueues(), queue) {
			all = append(all, name)
		}
	}
	return all
}
