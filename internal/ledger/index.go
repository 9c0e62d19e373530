package ledger

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
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

var (
	//go:embed place.lua
	placeSource string

	placeScript = redis.NewScript(placeSource)
)

// enterOpen puts a record among the open ones before it is stored, as of the version
// that it will have: one that comes to need care is never without its entry.
func (l *Ledger) enterOpen(ctx context.Context, r *export.Record, version int64) error {
	_, err := l.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.ZAddNX(ctx, indexAll, redis.Z{Score: created(r), Member: r.ID})
		p.ZAddGT(ctx, indexOpen, redis.Z{Score: float64(version), Member: r.ID})
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
	keys := []string{indexAll, indexOpen}
	for _, s := range export.States() {
		keys = append(keys, indexState+string(s))
	}
	for range maxSwaps {
		care := 0
		if r.NeedsCare() {
			care = 1
		}
		err := placeScript.Run(ctx, l.rdb, keys, r.ID, created(r), version, care,
			1+slices.Index(keys, indexState+string(r.State))).Err()
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

func created(r *export.Record) float64 { return float64(r.CreatedAt.UnixMilli()) }

// Open returns the ids of all exports that the sweeper must look after, and
// perhaps of some that have just stopped needing it, see [Ledger.Tidy].
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
		score, err := l.rdb.ZScore(ctx, indexOpen, id).Result()
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
	before := strconv.FormatInt(now.Add(-l.retention).UnixMilli(), 10)
	forgotten, kept := 0, 0
	for {
		ids, err := l.rdb.ZRangeByScore(ctx, indexAll, &redis.ZRangeBy{
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

// Filter says which exports List returns.
type Filter struct {
	State   export.State // empty for all
	Project string       // empty for all
	Tenant  string       // empty for all, see [export.Record.TenantName]
	// Before and BeforeID are CreatedAt and ID of the last export of the page
	// before, for the next one; zero for the first. Without BeforeID, exports
	// of the same millisecond are left out.
	Before   time.Time
	BeforeID string
	Limit    int // at most so many; zero means 100
}

// Takes reports whether the filter lets a record through, wherever its page begins.
// One that can't be read may be anybody's: it is shown where not asked for whose.
func (f Filter) Takes(r *export.Record) bool {
	return (f.State == "" || r.State == f.State || r.State == export.Unreadable) &&
		(f.Project == "" || r.ProjectID == f.Project) &&
		(f.Tenant == "" || r.State != export.Unreadable && r.TenantName() == f.Tenant)
}

// position is where a page begins in an index, which runs from the newest on
// and within a millisecond by falling id.
type position struct {
	top string  // the newest score that may follow, as Redis spells a bound
	ms  float64 // of the entry before; its id
	id  string
}

func (p position) follows(z redis.Z) bool {
	id, _ := z.Member.(string)
	return p.id == "" || z.Score < p.ms || z.Score == p.ms && id < p.id
}

func after(ms float64, id string) position {
	top := strconv.FormatFloat(ms, 'f', -1, 64)
	if id == "" { // none of the same millisecond comes after it
		return position{top: "(" + top}
	}
	return position{top: top, ms: ms, id: id}
}

func (f Filter) start() position {
	if f.Before.IsZero() {
		return position{top: "+inf"}
	}
	return after(float64(f.Before.UnixMilli()), f.BeforeID)
}

// List returns records, without their clips, newest first. One that a crash has
// left elsewhere in the index than its creation says is shown as of there, until
// it is placed again: the next page goes on from the index, and would otherwise
// come back to it for ever, or pass others by.
func (l *Ledger) List(ctx context.Context, f Filter) ([]*export.Record, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	key := indexAll
	if f.State != "" {
		key = indexState + string(f.State)
	}
	var found []*export.Record
	at := f.start()
	for {
		entries, err := l.page(ctx, key, at)
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 {
			return found, nil
		}
		ids, places := make([]string, 0, len(entries)), make(map[string]int64, len(entries))
		for _, z := range entries {
			id, _ := z.Member.(string)
			ids, places[id] = append(ids, id), int64(z.Score)
			at = after(z.Score, id)
		}
		records, err := l.heads(ctx, ids)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			if ms, known := places[r.ID]; known && r.CreatedAt.UnixMilli() != ms {
				r.CreatedAt = time.UnixMilli(ms).UTC()
			}
			if f.Takes(r) {
				found = append(found, r)
			}
			if len(found) == f.Limit {
				return found, nil
			}
		}
	}
}

// page returns the entries of an index that follow the position, none at its
// end. It counts from values, not from ranks, so that exports that come and go
// meanwhile are neither listed twice nor hide others.
func (l *Ledger) page(ctx context.Context, key string, at position) ([]redis.Z, error) {
	for count := int64(pageSize); ; count *= 2 {
		entries, err := l.rdb.ZRevRangeByScoreWithScores(ctx, key, &redis.ZRangeBy{
			Min: "-inf", Max: at.top, Count: count,
		}).Result()
		if err != nil {
			return nil, fmt.Errorf("list exports: %w", err)
		}
		full := int64(len(entries)) == count
		for len(entries) > 0 && !at.follows(entries[0]) {
			entries = entries[1:]
		}
		if len(entries) > 0 || !full {
			return entries, nil
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
	if err != nil && !wrongType(err) {
		return nil, fmt.Errorf("load %d exports: %w", len(ids), err)
	}
	records := make([]*export.Record, 0, len(ids))
	for i, id := range ids {
		err := replies[i].Err()
		if err != nil && !wrongType(err) {
			return nil, fmt.Errorf("load export %s: %w", id, err)
		}
		var r *export.Record
		if err == nil {
			r, _, err = decode(id, replies[i].Val())
		}
		switch {
		case errors.Is(err, ErrUnknown):
			continue
		case err != nil: // one that is broken must not hide the others
			r = export.NewUnreadable(id, err.Error())
		}
		r.Request, r.Notify, r.Trace = nil, nil, nil // none of which a list shows
		records = append(records, r)
	}
	return records, nil
}

// wrongType reports whether a key holds something else than a record.
func wrongType(err error) bool {
	var said redis.Error
	return errors.As(err, &said) && strings.Contains(said.Error(), "WRONGTYPE") // a script says it in the middle
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
