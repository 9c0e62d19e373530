package index

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// A batch is a record of its own and the index of its members, which is complete before
// the first of them is enqueued:
//
//	clipferry:{index}:batches       sorted set: batches whose members are not all final, by creation
//	clipferry:{index}:batch:<name>  hash: doc; done: how often it was completed; at:<n>: when for the nth time; event:<id>;
//	                                kept: 1 once S3 has what it is rebuilt from

const openBatches = "clipferry:{index}:batches"

func batchKey(name string) string { return "clipferry:{index}:batch:" + name }

// Members is the index of a batch's members.
func Members(batch string) string { return Attributes{Batch: batch}.Keys()[0] }

// ErrNoBatch is returned for a batch that has no record.
var ErrNoBatch = errors.New("no such batch")

// Batch is the record of a batch.
type Batch struct {
	Name    string          `json:"name"`
	Count   int             `json:"count"`  // of its members
	Digest  string          `json:"digest"` // of their ids and bodies
	Created time.Time       `json:"created"`
	Tenant  string          `json:"tenant,omitempty"` // whose all members are; empty where they are several tenants'
	Notify  json.RawMessage `json:"notify,omitempty"` // whom to notify of its completion
	// Done is how often all members were final.
	Done int `json:"done,omitempty"`
	// Kept is whether S3 has what the batch is rebuilt from.
	Kept bool `json:"-"`
}

// LoadBatch returns the record of a batch; [ErrNoBatch] if there is none.
func LoadBatch(ctx context.Context, rdb redis.UniversalClient, name string) (Batch, error) {
	var b Batch
	fields, err := rdb.HMGet(ctx, batchKey(name), "doc", "done", "kept").Result()
	if err != nil {
		return b, fmt.Errorf("load batch %s: %w", name, err)
	}
	doc, there := fields[0].(string)
	if !there {
		return b, fmt.Errorf("%s: %w", name, ErrNoBatch)
	}
	if err := json.Unmarshal([]byte(doc), &b); err != nil {
		return b, fmt.Errorf("batch %s: %w", name, err)
	}
	done, _ := fields[1].(string)
	b.Done, _ = strconv.Atoi(done) // absent before the first time
	b.Kept = fields[2] != nil
	return b, nil
}

// SaveBatch stores the record of a batch that has none. Its members are there already, see
// [AddMembers].
func SaveBatch(ctx context.Context, rdb redis.UniversalClient, b Batch) error {
	doc, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("encode batch %s: %w", b.Name, err)
	}
	_, err = rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.ZAdd(ctx, openBatches, redis.Z{Score: float64(b.Created.UnixMilli()), Member: b.Name})
		p.HSet(ctx, batchKey(b.Name), "doc", doc, "done", b.Done)
		p.HDel(ctx, batchKey(b.Name), "kept")
		return nil
	})
	if err != nil {
		return fmt.Errorf("store batch %s: %w", b.Name, err)
	}
	return nil
}

// addAtOnce is how many members one command adds: it holds up everybody else meanwhile.
const addAtOnce = 1000

// AddMembers adds exports to the index of a batch, whether they are known or not.
func AddMembers(ctx context.Context, rdb redis.UniversalClient, batch string, created time.Time, ids []string) error {
	for chunk := range slices.Chunk(ids, addAtOnce) {
		members := make([]redis.Z, len(chunk))
		for i, id := range chunk {
			members[i] = redis.Z{Score: float64(created.UnixMilli()), Member: id}
		}
		if err := rdb.ZAddNX(ctx, Members(batch), members...).Err(); err != nil {
			return fmt.Errorf("add %d members to batch %s: %w", len(chunk), batch, err)
		}
	}
	return nil
}

// BatchMembers returns the ids of a batch's members.
func BatchMembers(ctx context.Context, rdb redis.UniversalClient, name string) ([]string, error) {
	var all []string
	for {
		ids, err := rdb.ZRange(ctx, Members(name), int64(len(all)), int64(len(all)+countPage-1)).Result()
		if err != nil {
			return nil, fmt.Errorf("list the members of batch %s: %w", name, err)
		}
		if all = append(all, ids...); len(ids) < countPage {
			return all, nil
		}
	}
}

// BatchKept records that S3 has what the batch is rebuilt from.
func BatchKept(ctx context.Context, rdb redis.UniversalClient, name string) error {
	if err := rdb.HSet(ctx, batchKey(name), "kept", 1).Err(); err != nil {
		return fmt.Errorf("record that batch %s is in S3: %w", name, err)
	}
	return nil
}

// OpenBatches returns the batches whose members are not all final, as far as is known.
func OpenBatches(ctx context.Context, rdb redis.UniversalClient) ([]string, error) {
	names, err := rdb.ZRange(ctx, openBatches, 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("list the open batches: %w", err)
	}
	return names, nil
}

// ReopenBatch has a batch looked after again: one of its members goes on.
func ReopenBatch(ctx context.Context, rdb redis.UniversalClient, name string, now time.Time) error {
	_, err := rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.ZAddNX(ctx, openBatches, redis.Z{Score: float64(now.UnixMilli()), Member: name})
		p.Persist(ctx, batchKey(name))
		return nil
	})
	if err != nil {
		return fmt.Errorf("reopen batch %s: %w", name, err)
	}
	return nil
}

// CompletedAt returns when the batch was completed for the time after b.Done: now, or
// when somebody who died since said so first.
func CompletedAt(ctx context.Context, rdb redis.UniversalClient, b Batch, now time.Time) (time.Time, error) {
	field := "at:" + strconv.Itoa(b.Done+1)
	var at *redis.StringCmd
	_, err := rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HSetNX(ctx, batchKey(b.Name), field, now.UTC().Format(time.RFC3339Nano))
		at = p.HGet(ctx, batchKey(b.Name), field)
		return nil
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("record the end of batch %s: %w", b.Name, err)
	}
	return time.Parse(time.RFC3339Nano, at.Val())
}

// KeepBatchEvent keeps what a webhook is called with, so that each call of it is the same.
func KeepBatchEvent(ctx context.Context, rdb redis.UniversalClient, name, id string, body []byte) error {
	if err := rdb.HSetNX(ctx, batchKey(name), "event:"+id, body).Err(); err != nil {
		return fmt.Errorf("keep the event of batch %s: %w", name, err)
	}
	return nil
}

// BatchEvent returns what [KeepBatchEvent] has kept; [ErrNoBatch] if there is none.
func BatchEvent(ctx context.Context, rdb redis.UniversalClient, name, id string) ([]byte, error) {
	body, err := rdb.HGet(ctx, batchKey(name), "event:"+id).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("event %s of batch %s: %w", id, name, ErrNoBatch)
	}
	if err != nil {
		return nil, fmt.Errorf("load event %s of batch %s: %w", id, name, err)
	}
	return body, nil
}

// CloseBatch records that the producer is notified, and keeps the record for the
// retention from now on.
func CloseBatch(ctx context.Context, rdb redis.UniversalClient, b Batch, retention time.Duration) error {
	_, err := rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, batchKey(b.Name), "done", b.Done+1)
		p.HDel(ctx, batchKey(b.Name), "kept")
		p.Expire(ctx, batchKey(b.Name), retention)
		p.ZRem(ctx, openBatches, b.Name)
		return nil
	})
	if err != nil {
		return fmt.Errorf("close batch %s: %w", b.Name, err)
	}
	return nil
}

// DropBatch forgets that a batch is open.
func DropBatch(ctx context.Context, rdb redis.UniversalClient, name string) error {
	if err := rdb.ZRem(ctx, openBatches, name).Err(); err != nil {
		return fmt.Errorf("forget batch %s: %w", name, err)
	}
	return nil
}

var (
	//go:embed count.lua
	countSource string

	countScript = redis.NewScript(countSource)
)

// countPage is how many members one script goes through: it holds up everybody else meanwhile.
const countPage = 5000

// CountMembers returns how many of a batch's members are in each of the states that has
// any; those that wait without a record count as the first. missing are in none: they
// are not enqueued yet, or forgotten.
func CountMembers[S ~string](ctx context.Context, rdb redis.UniversalClient, batch string, states []S) (in map[S]int, missing int, err error) {
	keys := []string{Members(batch), Waiting} // where most of a large batch are comes first
	for _, s := range states {
		keys = append(keys, State(string(s)))
	}
	in = map[S]int{}
	add := func(s S, n int64) {
		if n > 0 {
			in[s] += int(n)
		}
	}
	for first := 0; ; first += countPage {
		counts, err := countScript.Run(ctx, rdb, keys, first, countPage).Int64Slice()
		if err != nil {
			return nil, 0, fmt.Errorf("count the members of batch %s: %w", batch, err)
		}
		add(states[0], counts[0])
		for i, s := range states {
			add(s, counts[i+1])
		}
		missing += int(counts[len(states)+1])
		if total := counts[len(states)+2]; total < countPage {
			return in, missing, nil
		}
	}
}
