package tasks

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/index"
)

// Many exports are enqueued in chunks, each step of a chunk in one round trip: claim
// the ids, look them up, index, enqueue, release. What is out of the ordinary in a
// chunk, such as a conflict, takes the way of a single export.

// chunkSize is how many exports one round trip is for.
const chunkSize = 500

// item is an export on its way into the queue.
type item struct {
	Export
	id     string
	once   bool   // the id may be known already
	digest string // of the body, where once
	batch  string // that it is a member of
}

// itemOf is the export on its own: under its JobID, or a random id.
func itemOf(e Export) item {
	if e.JobID != "" {
		return item{Export: e, id: e.JobID, once: true, digest: e.Digest()}
	}
	return item{Export: e, id: NewID()}
}

// named is the export under its id, as it is looked up.
func (i item) named() Export {
	e := i.Export
	e.JobID = i.id
	return e
}

// EnqueueEach is [Client.EnqueueAll] for more exports than should be held in memory: it
// goes through them three times, and calls taken with each id, in order, once its export
// is in the queue. An error of taken ends it, once it has been called for all that are.
func (c *Client) EnqueueEach(ctx context.Context, exports iter.Seq[Export], taken func(id string) error) error {
	return c.enqueueEach(ctx, exports, func(_ int, e Export) item { return itemOf(e) }, nil, taken)
}

// enqueueEach enqueues the items that are made of the exports; before, which may be
// nil, is run after all checks and before the first is enqueued.
func (c *Client) enqueueEach(ctx context.Context, exports iter.Seq[Export], of func(int, Export) item, before func() error, taken func(id string) error) error {
	total, err := checkEach(exports)
	if err != nil {
		return err
	}
	items := func(yield func(item) bool) {
		n := 0
		for e := range exports {
			if !yield(of(n, e)) {
				return
			}
			n++
		}
	}
	var wrong BatchError
	for first, chunk := range chunks(items) {
		_, errs, err := c.knownOf(ctx, chunk)
		if err != nil {
			return err
		}
		for i, err := range errs {
			if err != nil {
				wrong = append(wrong, ItemError{first + i, err})
			}
		}
	}
	if len(wrong) > 0 {
		return wrong
	}
	if before != nil {
		if err := before(); err != nil {
			return err
		}
	}
	for first, chunk := range chunks(items) {
		done, err := c.enqueueChunk(ctx, chunk)
		var refused error
		for _, one := range chunk[:done] {
			refused = cmp.Or(refused, taken(one.id))
		}
		if refused != nil {
			return refused
		}
		if err != nil {
			return fmt.Errorf("export %d of %d: %w", first+done+1, total, err)
		}
	}
	return nil
}

// chunks yields the items in slices, each with the number of its first one.
func chunks(items iter.Seq[item]) iter.Seq2[int, []item] {
	return func(yield func(int, []item) bool) {
		first, chunk := 0, make([]item, 0, chunkSize)
		for one := range items {
			if chunk = append(chunk, one); len(chunk) == chunkSize {
				if !yield(first, chunk) {
					return
				}
				first, chunk = first+len(chunk), chunk[:0]
			}
		}
		if len(chunk) > 0 {
			yield(first, chunk)
		}
	}
}

// CheckEach validates each export, and that no two share a JobID with different
// bodies. It asks nobody. Its error is a [BatchError].
func CheckEach(exports iter.Seq[Export]) error {
	_, err := checkEach(exports)
	return err
}

// checkEach is CheckEach, and counts the exports.
func checkEach(exports iter.Seq[Export]) (int, error) {
	var wrong BatchError
	type short [16]byte
	digests := map[short]short{}
	n := -1
	for e := range exports {
		n++
		if err := e.Validate(); err != nil {
			wrong = append(wrong, ItemError{n, err})
			continue
		}
		if e.JobID == "" {
			continue
		}
		id, body := sha256.Sum256([]byte(e.JobID)), sha256.Sum256(e.Body())
		before, seen := digests[short(id[:16])]
		switch {
		case !seen:
			digests[short(id[:16])] = short(body[:16])
		case before != short(body[:16]):
			wrong = append(wrong, ItemError{n, fmt.Errorf("job_id: %s %w (given before in this batch)", e.JobID, ErrDifferentBody)})
		}
	}
	if len(wrong) > 0 {
		return 0, wrong
	}
	return n + 1, nil
}

// knownOf tells for each item whether it is already in the ledger or a queue; errs
// holds [ErrDifferentBody] of those whose id stands for another request.
func (c *Client) knownOf(ctx context.Context, items []item) (known []bool, errs []error, err error) {
	known, errs = make([]bool, len(items)), make([]error, len(items))
	var open []int // not found yet
	for i, one := range items {
		if one.once {
			open = append(open, i)
		}
	}
	// As in known: the ledger is asked before and after the queues.
	for _, look := range []func(context.Context, []item, []int) (map[int]string, error){c.digestsInLedger, c.digestsInQueues, c.digestsInLedger} {
		if len(open) == 0 {
			break
		}
		digests, err := look(ctx, items, open)
		if err != nil {
			return nil, nil, err
		}
		open = slices.DeleteFunc(open, func(i int) bool {
			digest, found := digests[i]
			if known[i] = found; found && digest != items[i].digest {
				errs[i] = fmt.Errorf("job_id: %s %w", items[i].id, ErrDifferentBody)
			}
			return found
		})
	}
	return known, errs, nil
}

// digestsInLedger is digestInLedger of many.
func (c *Client) digestsInLedger(ctx context.Context, items []item, of []int) (map[int]string, error) {
	digests, there := make([]*redis.StringCmd, len(of)), make([]*redis.IntCmd, len(of))
	queues := map[string]bool{}
	_, _ = c.rdb.Pipelined(ctx, func(p redis.Pipeliner) error { // its error may be that one is not there
		for n, i := range of {
			digests[n], there[n] = p.HGet(ctx, LedgerKey(items[i].id), LedgerDigest), p.Exists(ctx, LedgerKey(items[i].id))
			queues[c.queueOf(ctx, items[i].Export)] = true
		}
		for queue := range queues {
			p.SAdd(ctx, asynqQueues, queue)
		}
		return nil
	})
	found := map[int]string{}
	for n, i := range of {
		if err := errors.Join(ignoreNil(digests[n].Err()), there[n].Err()); err != nil {
			return nil, fmt.Errorf("look up export %s: %w", items[i].id, err)
		}
		if there[n].Val() > 0 {
			found[i] = digests[n].Val()
		}
	}
	return found, nil
}

// digestsInQueues is digestInQueue of many: only what is there is read.
func (c *Client) digestsInQueues(ctx context.Context, items []item, of []int) (map[int]string, error) {
	names, err := c.inspector.Queues()
	if err != nil {
		return nil, fmt.Errorf("list the queues: %w", err)
	}
	names = submitQueues(names)
	there := make([][]*redis.IntCmd, len(of))
	_, err = c.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for n, i := range of {
			for _, queue := range names {
				there[n] = append(there[n], p.Exists(ctx, "asynq:{"+queue+"}:t:"+SubmitTaskID(items[i].id)))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for %d exports in the queues: %w", len(of), err)
	}
	found := map[int]string{}
	for n, i := range of {
		for q, exists := range there[n] {
			if exists.Val() == 0 {
				continue
			}
			digest, is, err := digestOf(c.queuedIn(ctx, names[q], items[i].id))
			if err != nil {
				return nil, err
			}
			if is {
				found[i] = digest
				break
			}
		}
	}
	return found, nil
}

// enqueueChunk enqueues the items, in order, and returns how many of them, from the
// first on, are in the queue.
func (c *Client) enqueueChunk(ctx context.Context, items []item) (int, error) {
	began := time.Now()
	claimed, claimErr := c.claimAll(ctx, items)
	known, errs, err := c.knownOf(ctx, items)
	if err != nil {
		return 0, err
	}
	if claimErr != nil && slices.Contains(known, false) { // what is known can be told all the same
		return 0, claimErr
	}
	if err := c.renewAll(ctx, began, items, claimed); err != nil {
		return 0, err
	}
	var fresh []item
	met := map[string]bool{}
	special := len(items) // the first one that goes alone: another body is there, or about to be
	for i, one := range items {
		if errs[i] != nil || one.once && !known[i] && !claimed[i] {
			special = i
			break
		}
		if !known[i] && !met[one.id] {
			fresh = append(fresh, one)
		}
		met[one.id] = true
	}
	taken, err := c.enqueueFresh(ctx, fresh)
	if err == nil {
		c.releaseAll(ctx, items, claimed)
	}
	n := 0 // of fresh
	for i, one := range items[:special] {
		if n == len(fresh) || fresh[n].id != one.id {
			continue // known
		}
		if n == len(taken) {
			return i, err
		}
		if !taken[n] { // what holds its TaskID has to be looked at
			if _, err := c.enqueueOnce(ctx, one); err != nil {
				return i, err
			}
		}
		n++
	}
	if err != nil || special == len(items) {
		return special, err
	}
	if _, err := c.enqueueOnce(ctx, items[special]); err != nil {
		return special, err
	}
	rest, err := c.enqueueChunk(ctx, items[special+1:])
	return special + 1 + rest, err
}

// enqueueFresh indexes the items and enqueues them, and tells of each, as far as it
// came, whether it is in the queue; where not, its TaskID was taken.
func (c *Client) enqueueFresh(ctx context.Context, fresh []item) ([]bool, error) {
	if len(fresh) == 0 {
		return nil, nil
	}
	entries, made := make([]index.Entry, len(fresh)), make([]*asynq.Task, len(fresh))
	for i, one := range fresh {
		now := time.Now().UTC()
		entries[i], made[i] = entryOf(one, now), c.taskOf(ctx, one, now)
	}
	if err := index.Enter(ctx, c.rdb, entries...); err != nil {
		return nil, err
	}
	record := &recorder{UniversalClient: c.rdb}
	queue := asynq.NewClientFromRedisClient(record)
	for _, task := range made {
		if _, err := queue.EnqueueContext(ctx, task); err != nil {
			return nil, err
		}
	}
	return record.send(ctx)
}

// recorder takes the scripts that asynq's client sends, so that those of many tasks go
// out in one round trip and are asynq's own all the same.
type recorder struct {
	redis.UniversalClient
	scripts []func(redis.Pipeliner) *redis.Cmd
}

// notLoaded is what Redis answers to the hash of a script that it doesn't know: the
// script itself follows.
type notLoaded struct{}

func (notLoaded) Error() string { return "NOSCRIPT" }
func (notLoaded) RedisError()   {}

// EvalSha asks for the script itself.
func (r *recorder) EvalSha(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(notLoaded{})
	return cmd
}

// Eval keeps the script and answers that it was run.
func (r *recorder) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	r.scripts = append(r.scripts, func(p redis.Pipeliner) *redis.Cmd { return p.Eval(ctx, script, keys, args...) })
	cmd := redis.NewCmd(ctx)
	cmd.SetVal(int64(1))
	return cmd
}

// send sends the scripts, in order, and returns of each, as far as all before it were
// answered, whether its task is new.
func (r *recorder) send(ctx context.Context) ([]bool, error) {
	replies := make([]*redis.Cmd, len(r.scripts))
	_, _ = r.Pipelined(ctx, func(p redis.Pipeliner) error { // each reply has its own error
		for i, script := range r.scripts {
			replies[i] = script(p)
		}
		return nil
	})
	var fresh []bool
	for _, reply := range replies {
		n, err := reply.Int()
		if err != nil {
			return fresh, err
		}
		fresh = append(fresh, n == 1)
	}
	return fresh, nil
}

// taskOf is the first task of an item.
func (c *Client) taskOf(ctx context.Context, one item, now time.Time) *asynq.Task {
	headers := map[string]string{HeaderEnqueuedAt: strconv.FormatInt(now.UnixMilli(), 10)}
	if one.batch != "" {
		headers[HeaderBatch] = one.batch
	}
	maps.Copy(headers, c.headers(ctx))
	return newTask(one.Export, one.id, headers, c.queueOf(ctx, one.Export))
}
