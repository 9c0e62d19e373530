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
	"github.com/clipferry/clipferry/internal/index"
)

// Filter says which exports List returns.
type Filter struct {
	State   export.State      // empty for all
	Project string            // empty for all
	Tenant  string            // empty for all, see [export.Record.TenantName]
	Batch   string            // empty for all
	Labels  map[string]string // all must match
	// Since is the earliest creation; zero for all.
	Since time.Time
	// Before and BeforeID are CreatedAt and ID of the last export of the page
	// before, for the next one; zero for the first. Without BeforeID, exports
	// of the same millisecond are left out.
	Before   time.Time
	BeforeID string
	Limit    int // at most so many; zero means 100
}

// Takes reports whether the filter lets a record through, wherever its page begins.
// One that can't be read may be anybody's: it is shown where not asked for whose. Who
// is a member of a batch the index alone knows: an export may have been there before it.
func (f Filter) Takes(r *export.Record) bool {
	if r.State == export.Unreadable {
		return f.Project == "" && f.Tenant == "" && f.Batch == "" && len(f.Labels) == 0
	}
	for name, value := range f.Labels {
		if got, has := r.Labels[name]; !has || got != value {
			return false
		}
	}
	return (f.State == "" || r.State == f.State) &&
		(f.Project == "" || r.ProjectID == f.Project) &&
		(f.Tenant == "" || r.TenantName() == f.Tenant) &&
		!r.CreatedAt.Before(f.Since)
}

// walks returns the sets of indexes that together name all that the filter lets
// through: what is in all indexes of a set. Exports without a record come first and
// archived ones last, so that one which gets its record meanwhile, or is archived, is
// met by a later one.
func (f Filter) walks() [][]string {
	attributes := index.Attributes{Project: f.Project, Batch: f.Batch, Labels: f.Labels}
	if f.Tenant != export.DefaultTenant {
		attributes.Tenant = f.Tenant
	}
	keys := attributes.Keys()
	with := func(key string) []string { return append([]string{key}, keys...) }
	switch {
	case f.State == export.Queued:
		return [][]string{with(index.Waiting), with(index.State(string(f.State)))}
	case f.State != "":
		return [][]string{with(index.State(string(f.State)))}
	case len(keys) > 0:
		return [][]string{keys}
	default:
		return [][]string{{index.Waiting}, {index.Rest}, {index.Archived}}
	}
}

// position is where a page begins in an index, which runs from the newest on
// and within a millisecond by falling id.
type position struct {
	top string // the newest score that may follow, as Redis spells a bound
	ms  string // of the entry before; its id
	id  string
}

func after(ms, id string) position {
	if id == "" { // none of the same millisecond comes after it
		return position{top: "(" + ms}
	}
	return position{top: ms, ms: ms, id: id}
}

func (f Filter) start() position {
	if f.Before.IsZero() {
		return position{top: "+inf"}
	}
	return after(strconv.FormatInt(f.Before.UnixMilli(), 10), f.BeforeID)
}

// Finder returns the records that exports will have which wait in a queue; those
// that it does not find are left out.
type Finder func(ctx context.Context, ids []string) ([]*export.Record, error)

// List returns records, without their clips, the newest f.Limit of them first. Of
// exports that are indexed and have no record yet waiting knows more.
//
// One that a crash has left elsewhere in the index than its creation says is shown
// as of there, until it is placed again: the next page goes on from the index, and
// would otherwise come back to it for ever, or pass others by.
func (l *Ledger) List(ctx context.Context, f Filter, waiting Finder) ([]*export.Record, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	var found []*export.Record
	listed := map[string]bool{}
	for _, keys := range f.walks() {
		some, err := l.walk(ctx, f, keys, waiting)
		if err != nil {
			return nil, err
		}
		for _, r := range some {
			if !listed[r.ID] {
				listed[r.ID] = true
				found = append(found, r)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b *export.Record) int {
		if c := int(b.CreatedAt.UnixMilli() - a.CreatedAt.UnixMilli()); c != 0 {
			return c
		}
		return strings.Compare(b.ID, a.ID)
	})
	return found[:min(len(found), f.Limit)], nil
}

// walk returns the newest records of exports that are in all of the indexes.
func (l *Ledger) walk(ctx context.Context, f Filter, keys []string, waiting Finder) ([]*export.Record, error) {
	var found []*export.Record
	at := f.start()
	for more := true; more; {
		var ids []string
		var places map[string]int64
		var err error
		if ids, places, at, more, err = l.page(ctx, keys, at, min(f.Limit, maxPage)); err != nil {
			return nil, err
		}
		records, err := l.headsOr(ctx, ids, waiting)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			r := records[id]
			if r == nil {
				continue
			}
			if r.CreatedAt.UnixMilli() != places[id] {
				r.CreatedAt = time.UnixMilli(places[id]).UTC()
			}
			if f.Takes(r) {
				found = append(found, r)
			}
			if len(found) == f.Limit {
				return found, nil
			}
		}
		more = more && (len(ids) == 0 || places[ids[len(ids)-1]] >= f.Since.UnixMilli())
	}
	return found, nil
}

// headsOr loads records without clips, those that are not recorded yet from where
// they wait.
func (l *Ledger) headsOr(ctx context.Context, ids []string, waiting Finder) (map[string]*export.Record, error) {
	records, missing, err := l.heads(ctx, ids)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 && waiting != nil {
		found, err := waiting(ctx, missing)
		if err != nil {
			return nil, err
		}
		records = append(records, found...)
		if len(found) < len(missing) { // it may have been taken up between the two looks
			again, _, err := l.heads(ctx, missing)
			if err != nil {
				return nil, err
			}
			records = append(records, again...)
		}
	}
	byID := make(map[string]*export.Record, len(records))
	for _, r := range records {
		byID[r.ID] = r
	}
	return byID, nil
}

// Unindexed returns those of the exports that are neither recorded nor indexed.
func (l *Ledger) Unindexed(ctx context.Context, of []*export.Record) ([]*export.Record, error) {
	if len(of) == 0 {
		return nil, nil
	}
	ids, recorded := make([]string, len(of)), make([]*redis.IntCmd, len(of))
	var waiting, rest, archived *redis.FloatSliceCmd
	_, err := l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, r := range of {
			ids[i], recorded[i] = r.ID, p.Exists(ctx, Key(r.ID))
		}
		waiting, rest, archived = p.ZMScore(ctx, index.Waiting, ids...), p.ZMScore(ctx, index.Rest, ids...), p.ZMScore(ctx, index.Archived, ids...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for %d exports: %w", len(of), err)
	}
	var missing []*export.Record
	for i, r := range of {
		if recorded[i].Val() == 0 && waiting.Val()[i]+rest.Val()[i]+archived.Val()[i] == 0 { // a creation is never 0
			missing = append(missing, r)
		}
	}
	return missing, nil
}

// maxPage is how many records are loaded at once, and maxLooks how many entries one
// script goes through: it holds up everybody else meanwhile.
const (
	maxPage  = 500
	maxLooks = 5000
)

var (
	//go:embed list.lua
	listSource string

	listScript = redis.NewScript(listSource)
)

// page returns the entries, with their creation, that are in all of the indexes and
// follow the position, where the next page begins, and whether there may be one. It
// counts from values, not from ranks, so that exports that come and go meanwhile are
// neither listed twice nor hide others.
func (l *Ledger) page(ctx context.Context, keys []string, at position, most int) (ids []string, places map[string]int64, next position, more bool, err error) {
	reply, err := listScript.Run(ctx, l.rdb, keys, at.top, at.ms, at.id, most, maxLooks).Slice()
	if err != nil {
		return nil, nil, at, false, fmt.Errorf("list exports: %w", err)
	}
	text := func(i int) string { s, _ := reply[i].(string); return s }
	places = map[string]int64{}
	for i := 3; i+1 < len(reply); i += 2 {
		ms, err := strconv.ParseFloat(text(i+1), 64)
		if err != nil {
			return nil, nil, at, false, fmt.Errorf("list exports: creation of %s: %w", text(i), err)
		}
		ids, places[text(i)] = append(ids, text(i)), int64(ms)
	}
	if follows, _ := reply[0].(int64); follows > 0 && text(2) != "" {
		return ids, places, after(text(1), text(2)), true, nil
	}
	return ids, places, at, false, nil
}

// headsAtOnce is how many records are loaded in one round trip: each may be as large as
// its request, of which a list keeps nothing.
const headsAtOnce = 50

// heads loads records without clips, and names the exports that have none.
func (l *Ledger) heads(ctx context.Context, ids []string) (records []*export.Record, missing []string, err error) {
	for some := range slices.Chunk(ids, headsAtOnce) {
		found, none, err := l.someHeads(ctx, some)
		if err != nil {
			return nil, nil, err
		}
		records, missing = append(records, found...), append(missing, none...)
	}
	return records, missing, nil
}

// someHeads is heads in one round trip.
func (l *Ledger) someHeads(ctx context.Context, ids []string) (records []*export.Record, missing []string, err error) {
	replies := make([]*redis.SliceCmd, len(ids))
	_, err = l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			replies[i] = p.HMGet(ctx, Key(id), fieldVersion, fieldDoc)
		}
		return nil
	})
	if err != nil && !wrongType(err) {
		return nil, nil, fmt.Errorf("load %d exports: %w", len(ids), err)
	}
	records = make([]*export.Record, 0, len(ids))
	for i, id := range ids {
		err := replies[i].Err()
		if err != nil && !wrongType(err) {
			return nil, nil, fmt.Errorf("load export %s: %w", id, err)
		}
		var r *export.Record
		if err == nil {
			r, _, err = decode(id, replies[i].Val())
		}
		switch {
		case errors.Is(err, ErrUnknown):
			missing = append(missing, id)
			continue
		case wrongType(err):
			r = export.NewUnreadable(id, loadFault(id, err).Error())
		case err != nil: // one that is broken must not hide the others
			r = export.NewUnreadable(id, err.Error())
		}
		r.Request, r.Notify, r.Trace = nil, nil, nil // none of which a list shows
		records = append(records, r)
	}
	return records, missing, nil
}

// wrongType reports whether a key holds something else than a record.
func wrongType(err error) bool {
	var said redis.Error
	return errors.As(err, &said) && strings.Contains(said.Error(), "WRONGTYPE") // a script says it in the middle
}
