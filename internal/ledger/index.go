package ledger

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/index"
)

const pageSize = 200

var (
	//go:embed place.lua
	placeSource string

	placeScript = redis.NewScript(placeSource)
)

// enterOpen puts a record among the open ones before it is stored, as of the version
// that it will have: one that comes to need care is never without its entry.
func (l *Ledger) enterOpen(ctx context.Context, r *export.Record, version int64) error {
	_, err := l.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		if r.State != export.Archived {
			p.ZAddNX(ctx, index.Rest, redis.Z{Score: created(r), Member: r.ID})
		}
		p.ZAddGT(ctx, index.Open, redis.Z{Score: float64(version), Member: r.ID})
		return nil
	})
	if err != nil {
		return fmt.Errorf("index export %s: %w", r.ID, err)
	}
	return nil
}

// place puts the record, as stored in the version, where it belongs. Of several
// that do so at once the last looks again, so that the indexes end up right.
func (l *Ledger) place(ctx context.Context, r *export.Record, version int64) error {
	for range maxSwaps {
		keys := []string{index.Rest, index.Open, index.Waiting, index.Of(r.ID)}
		for _, s := range export.States() {
			keys = append(keys, index.State(string(s)))
		}
		states, attributes := len(keys), AttributesOf(r).Keys()
		keys = append(keys, attributes...)
		err := placeScript.Run(ctx, l.rdb, keys, r.ID, created(r), version, r.NeedsCare(), r.State != export.Archived,
			1+slices.Index(keys, index.State(string(r.State))), states, index.Pack(attributes, "")).Err()
		if err != nil {
			return fmt.Errorf("index export %s: %w", r.ID, err)
		}
		now, s, err := l.loadFields(ctx, r.ID, nil)
		if errors.Is(err, ErrUnknown) || err == nil && s.version == version {
			return nil
		}
		if err != nil {
			return err
		}
		r, version = now, s.version
	}
	return nil // whoever changed it so often places it
}

// AttributesOf returns what the export is found by. That it is the default tenant's
// is not: all are, where there are no others.
func AttributesOf(r *export.Record) index.Attributes {
	return index.Attributes{Project: r.ProjectID, Tenant: r.Tenant, Batch: r.Batch, Labels: r.Labels}
}

func created(r *export.Record) float64 { return float64(r.CreatedAt.UnixMilli()) }

// Open returns the ids of all exports that the sweeper must look after, and
// perhaps of some that have just stopped needing it, see [Ledger.Tidy].
func (l *Ledger) Open(ctx context.Context) ([]string, error) {
	ids, err := l.rdb.ZRange(ctx, index.Open, 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("list open exports: %w", err)
	}
	return ids, nil
}

// Tidy puts the indexes of one export right: what a crash between a record and
// its indexes left behind.
func (l *Ledger) Tidy(ctx context.Context, id string) error {
	r, s, err := l.overtake(ctx, id)
	if errors.Is(err, ErrUnknown) {
		if err := l.forget(ctx, id); err != nil {
			return err
		}
		r, s, err = l.loadFields(ctx, id, nil) // it may have been created between the two
		if errors.Is(err, ErrUnknown) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	return l.place(ctx, r, s.version)
}

// overtake loads a record for [Ledger.Tidy]. If one that needs no care was
// entered for a version that it has not reached, because the writer died or
// Redis lost its last moments, it moves the record past that version: a writer
// that still is about to store it then has to enter it again.
func (l *Ledger) overtake(ctx context.Context, id string) (*export.Record, snapshot, error) {
	for {
		r, s, err := l.loadFields(ctx, id, nil)
		if err != nil || r.NeedsCare() {
			return r, s, err
		}
		score, err := l.rdb.ZScore(ctx, index.Open, id).Result()
		if errors.Is(err, redis.Nil) || err == nil && int64(score) <= s.version {
			return r, s, nil
		}
		if err != nil {
			return nil, snapshot{}, fmt.Errorf("look for export %s among the open ones: %w", id, err)
		}
		if _, err := l.store(ctx, r, s); err != nil && !errors.Is(err, errConflict) {
			return nil, snapshot{}, err
		}
	}
}

func (l *Ledger) forget(ctx context.Context, id string) error {
	packed, err := l.rdb.HGet(ctx, index.Of(id), id).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("forget export %s: %w", id, err)
	}
	attributes, _ := index.Unpack(packed)
	_, err = l.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range append(attributes, index.Rest, index.Open, index.Waiting) {
			p.ZRem(ctx, key, id)
		}
		p.HDel(ctx, index.Of(id), id)
		for _, s := range export.States() {
			p.ZRem(ctx, index.State(string(s)), id)
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
	forgotten := 0
	for _, key := range []string{index.Rest, index.Archived} {
		n, err := l.trim(ctx, key, now, limit-forgotten)
		if forgotten += n; err != nil {
			return forgotten, err
		}
	}
	return forgotten, nil
}

// trim is Trim of one index.
func (l *Ledger) trim(ctx context.Context, key string, now time.Time, limit int) (int, error) {
	before := strconv.FormatInt(now.Add(-l.retention).UnixMilli(), 10)
	forgotten, kept := 0, 0
	for {
		ids, err := l.rdb.ZRangeByScore(ctx, key, &redis.ZRangeBy{
			Min: "-inf", Max: before, Offset: int64(kept), Count: pageSize,
		}).Result()
		if err != nil {
			return forgotten, fmt.Errorf("list old exports: %w", err)
		}
		for _, id := range ids {
			n, err := l.rdb.Exists(ctx, Key(id)).Result()
			if err != nil {
				return forgotten, fmt.Errorf("look for export %s: %w", id, err)
			}
			if n > 0 {
				kept++
				continue
			}
			if forgotten == limit {
				return forgotten, nil
			}
			if err := l.forget(ctx, id); err != nil {
				return forgotten, err
			}
			forgotten++
		}
		if len(ids) < pageSize {
			return forgotten, nil
		}
	}
}

// Counts returns how many exports are in each state.
func (l *Ledger) Counts(ctx context.Context) (map[export.State]int64, error) {
	replies := map[export.State]*redis.IntCmd{}
	_, err := l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, s := range export.States() {
			replies[s] = p.ZCard(ctx, index.State(string(s)))
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
