package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
)

const (
	indexAll   = "clipferry:{index}:all"
	indexOpen  = "clipferry:{index}:open"
	indexState = "clipferry:{index}:state:"
	pageSize   = 200
)

// indexBirth runs before a record is stored.
func (l *Ledger) indexBirth(ctx context.Context, r *export.Record) error {
	z := member(r)
	_, err := l.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.ZAddNX(ctx, indexAll, z)
		p.ZAddNX(ctx, indexOpen, z)
		return nil
	})
	if err != nil {
		return fmt.Errorf("index export %s: %w", r.ID, err)
	}
	return nil
}

// indexMove runs after a record was stored in another state than before.
func (l *Ledger) indexMove(ctx context.Context, r *export.Record, before export.State) error {
	z := member(r)
	_, err := l.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		if before != "" && before != r.State {
			p.ZRem(ctx, indexState+string(before), r.ID)
		}
		p.ZAdd(ctx, indexState+string(r.State), z)
		p.ZAddNX(ctx, indexAll, z)
		if r.NeedsCare() {
			p.ZAddNX(ctx, indexOpen, z)
		} else {
			p.ZRem(ctx, indexOpen, r.ID)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index export %s: %w", r.ID, err)
	}
	return nil
}

func member(r *export.Record) redis.Z {
	return redis.Z{Score: float64(r.CreatedAt.UnixMilli()), Member: r.ID}
}

// Open returns the ids of all exports that the sweeper must look after, oldest first.
func (l *Ledger) Open(ctx context.Context) ([]string, error) {
	ids, err := l.rdb.ZRange(ctx, indexOpen, 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("list open exports: %w", err)
	}
	return ids, nil
}

// Tidy puts the indexes of one export right: what a crash between a record and
// its indexes left behind.
func (l *Ledger) Tidy(ctx context.Context, id string) error {
	r, err := l.LoadHead(ctx, id)
	if errors.Is(err, ErrUnknown) {
		return l.forget(ctx, id)
	}
	if err != nil {
		return err
	}
	z := member(r)
	_, err = l.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		for _, s := range export.States() {
			if s != r.State {
				p.ZRem(ctx, indexState+string(s), id)
			}
		}
		p.ZAdd(ctx, indexState+string(r.State), z)
		if !r.NeedsCare() {
			p.ZRem(ctx, indexOpen, id)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("tidy the indexes of %s: %w", id, err)
	}
	return nil
}

func (l *Ledger) forget(ctx context.Context, id string) error {
	_, err := l.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.ZRem(ctx, indexAll, id)
		p.ZRem(ctx, indexOpen, id)
		for _, s := range export.States() {
			p.ZRem(ctx, indexState+string(s), id)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget export %s: %w", id, err)
	}
	return nil
}

// Trim forgets index entries older than the retention whose record has gone,
// at most limit of them.
func (l *Ledger) Trim(ctx context.Context, now time.Time, limit int) (int, error) {
	ids, err := l.rdb.ZRangeByScore(ctx, indexAll, &redis.ZRangeBy{
		Min: "-inf", Max: strconv.FormatInt(now.Add(-l.retention).UnixMilli(), 10), Count: int64(limit),
	}).Result()
	if err != nil {
		return 0, fmt.Errorf("list old exports: %w", err)
	}
	forgotten := 0
	for _, id := range ids {
		n, err := l.rdb.Exists(ctx, Key(id)).Result()
		if err != nil {
			return forgotten, fmt.Errorf("look for export %s: %w", id, err)
		}
		if n > 0 {
			continue
		}
		if err := l.forget(ctx, id); err != nil {
			return forgotten, err
		}
		forgotten++
	}
	return forgotten, nil
}

// Filter says which exports List returns.
type Filter struct {
	State   export.State // empty for all
	Project string       // empty for all
	Before  time.Time    // only exports created earlier, for the next page; zero for all
	Limit   int          // at most so many; zero means 100
}

// List returns records, without their clips, newest first.
func (l *Ledger) List(ctx context.Context, f Filter) ([]*export.Record, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	key := indexAll
	if f.State != "" {
		key = indexState + string(f.State)
	}
	top := "+inf"
	if !f.Before.IsZero() {
		top = "(" + strconv.FormatInt(f.Before.UnixMilli(), 10)
	}
	var found []*export.Record
	for offset := 0; ; offset += pageSize {
		ids, err := l.rdb.ZRevRangeByScore(ctx, key, &redis.ZRangeBy{
			Min: "-inf", Max: top, Offset: int64(offset), Count: pageSize,
		}).Result()
		if err != nil {
			return nil, fmt.Errorf("list exports: %w", err)
		}
		page, err := l.heads(ctx, ids)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			if (f.State == "" || r.State == f.State) && (f.Project == "" || r.ProjectID == f.Project) {
				found = append(found, r)
			}
			if len(found) == f.Limit {
				return found, nil
			}
		}
		if len(ids) < pageSize {
			return found, nil
		}
	}
}

// heads loads records without clips in one round trip, leaving out those that
// have gone.
func (l *Ledger) heads(ctx context.Context, ids []string) ([]*export.Record, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	replies := make([]*redis.SliceCmd, len(ids))
	_, err := l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			replies[i] = p.HMGet(ctx, Key(id), fieldVersion, fieldDoc)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load %d exports: %w", len(ids), err)
	}
	records := make([]*export.Record, 0, len(ids))
	for i, id := range ids {
		r, _, err := decode(id, nil, replies[i].Val())
		if errors.Is(err, ErrUnknown) {
			continue
		}
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

// Counts returns how many exports are in each state.
func (l *Ledger) Counts(ctx context.Context) (map[export.State]int64, error) {
	replies := map[export.State]*redis.IntCmd{}
	_, err := l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, s := range export.States() {
			replies[s] = p.ZCard(ctx, indexState+string(s))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count exports: %w", err)
	}
	counts := map[export.State]int64{}
	for s, reply := range replies {
		counts[s] = reply.Val()
	}
	return counts, nil
}
