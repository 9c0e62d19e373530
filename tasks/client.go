package tasks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/clipferry/clipferry/internal/index"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// ErrDifferentBody means that the JobID already stands for another request.
var ErrDifferentBody = errors.New("already stands for an export with a different body")

// Client puts exports in the queue. It is safe for concurrent use.
type Client struct {
	rdb       redis.UniversalClient
	owned     bool
	queue     *asynq.Client
	inspector *asynq.Inspector
	headers   func(context.Context) map[string]string
	claimTime time.Duration // see there; shorter in tests

	mu        sync.Mutex
	published map[string]time.Time // queues, by when; of exports without a JobID
	served    Served               // which accounts and tenants have queues, as of servedAt
	servedAt  time.Time
}

// Option changes a [Client] that is being made.
type Option func(*Client)

// WithTraceHeaders has headers, such as traceparent, taken from the context of
// each enqueue and carried with the task.
func WithTraceHeaders(headers func(context.Context) map[string]string) Option {
	return func(c *Client) { c.headers = headers }
}

// NewClient returns a client for the Redis at the address, in any form that
// [ParseRedis] reads. It connects when it is first used.
func NewClient(redisURL string, opts ...Option) (*Client, error) {
	r, err := ParseRedis(redisURL)
	if err != nil {
		return nil, err
	}
	c := NewClientFromRedis(r.NewClient(), opts...)
	c.owned = true
	return c, nil
}

// NewClientFromRedis returns a client on a pool that stays the caller's to close.
func NewClientFromRedis(rdb redis.UniversalClient, opts ...Option) *Client {
	c := &Client{
		rdb:       rdb,
		queue:     asynq.NewClientFromRedisClient(rdb),
		inspector: asynq.NewInspectorFromRedisClient(rdb),
		headers:   func(context.Context) map[string]string { return nil },
		published: map[string]time.Time{},
		claimTime: claimTime,
	}
	for _, opt := range opts {
		opt(c)
	}
	return c
}

// Close closes the connections that [NewClient] opened.
func (c *Client) Close() error {
	if !c.owned {
		return nil
	}
	return c.rdb.Close()
}

// Enqueue validates the export and puts it in the queue, and returns its id:
// e.JobID, or a random one. With the same JobID again it enqueues nothing and
// returns the same id, for as long as the ledger keeps the export (30 days by
// default); a different body under it is [ErrDifferentBody]. What is wrong with
// the export itself is a [Faults]. A task under the JobID that asynq has archived,
// and of which the ledger knows nothing, makes way for the new one.
//
// After any other error the export may be in the queue or not (the answer may
// have been lost): with a JobID, enqueue again. Without one the returned id,
// where it isn't empty, is the one to look for.
func (c *Client) Enqueue(ctx context.Context, e Export) (string, error) {
	if err := e.Validate(); err != nil {
		return "", err
	}
	if e.JobID == "" {
		return c.enqueueNew(ctx, itemOf(e))
	}
	return c.enqueueOnce(ctx, itemOf(e))
}

// maxLooks bounds how often a task that vanishes between two looks is tried again.
const maxLooks = 5

// enqueueNew does the one atomic enqueue. A conflict is not yet a fault: the
// task may be our own from an attempt whose answer was lost.
func (c *Client) enqueueNew(ctx context.Context, one item) (string, error) {
	id := one.id
	if !one.once {
		c.publish(ctx, c.queueOf(ctx, one.Export))
	}
	now := time.Now().UTC()
	if err := index.Enter(ctx, c.rdb, entryOf(one, now)); err != nil {
		return id, fmt.Errorf("enqueue export %s: %w", id, err)
	}
	e, task := one.named(), c.taskOf(ctx, one, now)
	for range maxLooks {
		_, err := c.queue.EnqueueContext(ctx, task)
		if err == nil {
			return id, nil
		}
		if !errors.Is(err, asynq.ErrTaskIDConflict) {
			return id, fmt.Errorf("enqueue export %s: %w", id, err)
		}
		known, err := c.known(ctx, e)
		if err != nil || known {
			return id, err
		}
		if err := c.clear(ctx, e, id); err != nil {
			return id, err
		}
	}
	return id, fmt.Errorf("enqueue export %s: its task comes and goes; try again", id)
}

// entryOf is how the export is found while it waits. It is entered before it is
// enqueued: what waits is listed, and what is listed and not there is passed over.
func entryOf(one item, now time.Time) index.Entry {
	a := index.Attributes{Project: one.ProjectID, Tenant: one.Tenant, Batch: one.batch, Labels: one.Labels}
	if a.Tenant == DefaultTenant {
		a.Tenant = ""
	}
	return index.Entry{ID: one.id, Created: now, Attributes: a}
}

// publishEvery is how often a client publishes a queue that it fills.
const publishEvery = time.Second

// publish publishes the queue unless that was done a moment ago. If it fails,
// the next one or the sweeper of a worker does it.
func (c *Client) publish(ctx context.Context, queue string) {
	c.mu.Lock()
	recent := time.Since(c.published[queue]) < publishEvery
	if !recent {
		c.published[queue] = time.Now()
	}
	c.mu.Unlock()
	if !recent {
		_ = PublishQueues(ctx, c.rdb, queue)
	}
}

// over reports whether asynq keeps a task that it will not run again.
func over(s asynq.TaskState) bool {
	return s == asynq.TaskStateArchived || s == asynq.TaskStateCompleted
}

// clear deletes what asynq keeps of a task that is over and whose export nobody
// knows: it would hold the TaskID until asynq forgets it, in 90 days.
func (c *Client) clear(ctx context.Context, e Export, id string) error {
	queue := c.queueOf(ctx, e)
	if err := ctx.Err(); err != nil { // the inspector takes no context
		return err
	}
	info, err := c.inspector.GetTaskInfo(queue, SubmitTaskID(id))
	if err == nil && over(info.State) {
		err = c.inspector.DeleteTask(queue, info.ID)
	}
	if err != nil && !gone(err) {
		return fmt.Errorf("clear what is left of export %s in %s: %w", id, queue, err)
	}
	return nil
}

func gone(err error) bool {
	return errors.Is(err, asynq.ErrQueueNotFound) || errors.Is(err, asynq.ErrTaskNotFound)
}

// known reports whether the export with this JobID is already in the ledger or
// in a queue. Under a different body it returns [ErrDifferentBody].
//
// The ledger is asked before and after the queues, since a task leaves the queue
// only after its export is in the ledger.
func (c *Client) known(ctx context.Context, e Export) (bool, error) {
	for _, look := range []func(context.Context, Export) (string, bool, error){c.digestInLedger, c.digestInQueue, c.digestInLedger} {
		digest, found, err := look(ctx, e)
		switch {
		case err != nil:
			return false, err
		case !found:
			continue
		case digest != e.Digest():
			return false, fmt.Errorf("job_id: %s %w", e.JobID, ErrDifferentBody)
		default:
			return true, nil
		}
	}
	return false, nil
}

// digestInLedger returns the digest that the record has under the JobID. It is
// empty where the id was used up by a task that was malformed. On the way, for
// no further round trip, the export's queue is published: else the next look,
// into the queues, might not see it.
func (c *Client) digestInLedger(ctx context.Context, e Export) (string, bool, error) {
	in := c.queueOf(ctx, e)
	var digest *redis.StringCmd
	var exists *redis.IntCmd
	_, _ = c.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		digest = p.HGet(ctx, LedgerKey(e.JobID), LedgerDigest)
		exists = p.Exists(ctx, LedgerKey(e.JobID))
		p.SAdd(ctx, asynqQueues, in) // may fail: a Redis that takes no writes can be asked all the same
		return nil
	})
	if err := errors.Join(ignoreNil(digest.Err()), exists.Err()); err != nil {
		return "", false, fmt.Errorf("look up export %s: %w", e.JobID, err)
	}
	return digest.Val(), exists.Val() > 0, nil
}

func ignoreNil(err error) error {
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

// digestInQueue returns the digest of the request that waits under the JobID,
// empty where it is malformed.
func (c *Client) digestInQueue(ctx context.Context, wanted Export) (string, bool, error) {
	return digestOf(c.Queued(ctx, wanted.JobID))
}

// digestOf is the digest of a request that was looked up.
func digestOf(e Export, found bool, err error) (string, bool, error) {
	var malformed Faults
	if errors.As(err, &malformed) {
		return "", true, nil
	}
	if err != nil || !found {
		return "", false, err
	}
	return e.Digest(), true, nil
}

// Queued returns the request of an export whose first task is still in a submit
// queue: waiting, or taken up by a worker and not yet finished with. One that
// asynq has archived waits for nothing. A request that is malformed is a [Faults].
func (c *Client) Queued(ctx context.Context, id string) (Export, bool, error) {
	there, err := c.inspector.Queues()
	if err != nil {
		return Export{}, false, fmt.Errorf("list the queues: %w", err)
	}
	for _, queue := range submitQueues(there) {
		if e, found, err := c.queuedIn(ctx, queue, id); found || err != nil {
			return e, found, err
		}
	}
	return Export{}, false, nil
}

// queuedIn is Queued of one queue.
func (c *Client) queuedIn(ctx context.Context, queue, id string) (Export, bool, error) {
	if err := ctx.Err(); err != nil { // the inspector takes no context
		return Export{}, false, err
	}
	info, err := c.inspector.GetTaskInfo(queue, SubmitTaskID(id))
	switch {
	case gone(err):
		return Export{}, false, nil
	case err != nil:
		return Export{}, false, fmt.Errorf("look up export %s in %s: %w", id, queue, err)
	case over(info.State):
		return Export{}, false, nil
	}
	e, err := ParseExport(info.Payload)
	if err != nil {
		return Export{}, false, fmt.Errorf("the task of export %s in %s is malformed: %w", id, queue, err)
	}
	return e, true, nil
}
