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

// tenantsKey is the sorted set of the queues of single tenants, without their kind
// (such as @news), by when a worker last said that it has them.
const tenantsKey = "clipferry:{fleet}:tenants"

// tenantsForgotten is after how long a queue gets nothing more that no worker has.
const tenantsForgotten = 24 * time.Hour

// PublishTenants says that workers with the account serve queues of these tenants:
// producers' exports go there from now on, those of all others into the plain queues.
func PublishTenants(ctx context.Context, rdb redis.UniversalClient, account string, tenants []string, now time.Time) error {
	members := make([]redis.Z, len(tenants))
	for i, tenant := range tenants {
		members[i] = redis.Z{Score: float64(now.UnixMilli()), Member: TenantQueue("", account, tenant)}
	}
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		if len(members) > 0 {
			p.ZAdd(ctx, tenantsKey, members...)
		}
		p.ZRemRangeByScore(ctx, tenantsKey, "-inf", strconv.FormatInt(now.Add(-tenantsForgotten).UnixMilli(), 10))
		return nil
	})
	if err != nil {
		return fmt.Errorf("publish the tenants: %w", err)
	}
	return nil
}

// tenantsEvery is how often a client asks which tenants have queues.
const tenantsEvery = 5 * time.Second

// queueOf returns the queue that an export waits in: its tenant's, if workers have
// said that they serve one. Where that can't be learned it is the plain one, from
// which a worker moves it.
func (c *Client) queueOf(ctx context.Context, e Export) string {
	plain := AccountQueue(QueueFor(e.Priority), e.Account)
	if e.Tenant == "" || e.Tenant == DefaultTenant {
		return plain
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.tenantsAt) > tenantsEvery {
		if found, err := c.rdb.ZRange(ctx, tenantsKey, 0, -1).Result(); err == nil {
			c.tenants, c.tenantsAt = found, time.Now()
		}
	}
	if slices.Contains(c.tenants, TenantQueue("", e.Account, e.Tenant)) {
		return TenantQueue(QueueFor(e.Priority), e.Account, e.Tenant)
	}
	return plain
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
