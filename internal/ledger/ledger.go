// Package ledger is the durable record of every export, in Redis. It is what
// clipferry believes; Asynq only carries. A record changes by compare-and-swap
// alone: load, let a pure function of package export change it, store it if
// nobody else did meanwhile, else again.
//
// Keys. Everything of one export shares a hash tag, so that it is one slot of
// a Redis Cluster; the indexes share another, and no script touches both:
//
//	clipferry:{<id>}              hash: ver, by, doc, digest, answer, clip:<idx>…; short once
//	                              archived, see pack.go
//	clipferry:{<id>}:lease:<name> who works on a step just now
//	clipferry:{index}:…           sorted sets by which exports are found, see package index
//	clipferry:{transfer:<hash>}:checkpoint  how far one transfer got
//	clipferry:{fleet}:lease:<name>          who sweeps
//	clipferry:{fleet}:outages               hash: the workers that S3 fails
//
// The indexes follow the records, they are not part of the swap: an export is
// put into "open" before it needs care and taken out after it stopped needing
// it, so that a crash between the two leaves an entry too many and never one
// too few. Its score there is the version of the record that put it there: a
// writer that comes late, on behalf of an older version, does not take it out.
package ledger

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/index"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/tasks"
)

// ErrUnknown is returned for an export that has no record.
var ErrUnknown = errors.New("no such export")

// ErrUnreadable is returned for an export under whose id Redis holds something else
// than a record.
var ErrUnreadable = errors.New("what Redis holds is no record")

// errConflict means that the record changed between load and store.
var errConflict = errors.New("record changed meanwhile")

// maxSwaps bounds how often an update is tried against other writers. Each
// conflict means that somebody else made progress.
const maxSwaps = 100

// tokenLen is the length of a store's token, which distinguishes writers of one version,
// and argToken which argument of the script it is.
const (
	tokenLen = 10
	argToken = 2
)

// maxSends bounds how often one swap is sent to a Redis that does not answer.
const maxSends = 4

// DefaultRetention is how long a finished export is remembered.
const DefaultRetention = 30 * 24 * time.Hour

// Options configures a Ledger.
type Options struct {
	Redis redis.UniversalClient
	// Retention is how long a finished export stays known, so that its job id
	// is recognized; [DefaultRetention] when zero.
	Retention time.Duration
}

// Ledger keeps the records. It is safe for concurrent use.
type Ledger struct {
	rdb       redis.UniversalClient
	retention time.Duration
}

// New returns a Ledger over the options' Redis.
func New(o Options) *Ledger {
	if o.Retention == 0 {
		o.Retention = DefaultRetention
	}
	return &Ledger{rdb: o.Redis, retention: o.Retention}
}

// Retention is how long a finished export stays known.
func (l *Ledger) Retention() time.Duration { return l.retention }

const (
	fieldVersion = "ver"
	fieldDoc     = "doc"
	fieldDigest  = tasks.LedgerDigest
	fieldAnswer  = "answer"
	fieldClip    = "clip:"
)

// Key is the Redis key of an export's record, which producers look at too.
func Key(id string) string { return tasks.LedgerKey(id) }

var (
	//go:embed swap.lua
	swapSource string
	//go:embed load.lua
	loadSource string

	swapScript = redis.NewScript(swapSource)
	loadScript = redis.NewScript(loadSource)
)

// snapshot is a record as it was loaded, to tell what changed.
type snapshot struct {
	version int64
	doc     string
	digest  string
	clips   map[int]string
}

// Create stores a new record. It reports false, and changes nothing, if the
// export is known already.
func (l *Ledger) Create(ctx context.Context, r *export.Record) (bool, error) {
	if err := l.enterOpen(ctx, r, 1); err != nil {
		return false, err
	}
	version, err := l.store(ctx, r, snapshot{})
	if errors.Is(err, errConflict) {
		return false, l.Tidy(ctx, r.ID)
	}
	if err != nil {
		return false, err
	}
	_ = l.place(ctx, r, version) // as in swap
	return true, nil
}

// Load returns the record with all its clips, without the provider's answer.
func (l *Ledger) Load(ctx context.Context, id string) (*export.Record, error) {
	r, _, err := l.load(ctx, id)
	return r, err
}

func (l *Ledger) load(ctx context.Context, id string) (*export.Record, snapshot, error) {
	// The answer may be large, and only the seal reads it.
	values, err := loadScript.Run(ctx, l.rdb, []string{Key(id)}, fieldClip, "").Slice()
	if err != nil {
		return nil, snapshot{}, loadFault(id, err)
	}
	return decode(id, values)
}

// loadFault says why a record could not be loaded.
func loadFault(id string, err error) error {
	if wrongType(err) {
		return fmt.Errorf("load export %s: %w: its key is not a hash", id, ErrUnreadable)
	}
	return fmt.Errorf("load export %s: %w", id, err)
}

// LoadAnswered returns the record with all its clips and the provider's answer,
// all of one moment: a manifest made of two would tell of an export that never
// was, if Redis lost the record in between.
func (l *Ledger) LoadAnswered(ctx context.Context, id string) (*export.Record, error) {
	values, err := loadScript.Run(ctx, l.rdb, []string{Key(id)}, fieldClip, fieldAnswer).Slice()
	if err != nil {
		return nil, loadFault(id, err)
	}
	last := len(values) - 1
	r, _, err := decode(id, values[:last])
	if err != nil {
		return nil, err
	}
	if answer, _ := values[last].(string); answer != "" {
		r.LastAnswer = json.RawMessage(answer)
	}
	return r, nil
}

// LoadHead returns the record without its clips.
func (l *Ledger) LoadHead(ctx context.Context, id string) (*export.Record, error) {
	r, _, err := l.loadFields(ctx, id, nil)
	return r, err
}

// LoadClip returns the record with the one clip, if that is known.
func (l *Ledger) LoadClip(ctx context.Context, id string, idx int) (*export.Record, error) {
	r, _, err := l.loadFields(ctx, id, []string{clipField(idx)})
	return r, err
}

func clipField(idx int) string { return fieldClip + strconv.Itoa(idx) }

func (l *Ledger) loadFields(ctx context.Context, id string, clips []string) (*export.Record, snapshot, error) {
	values, err := l.rdb.HMGet(ctx, Key(id), append([]string{fieldVersion, fieldDoc}, clips...)...).Result()
	if err != nil {
		return nil, snapshot{}, loadFault(id, err)
	}
	return decode(id, values)
}

// decode reads a record from its version, its document and its clips, as many
// as were loaded; nil where there is none.
func decode(id string, values []any) (*export.Record, snapshot, error) {
	if len(values) < 2 || values[0] == nil || values[1] == nil {
		return nil, snapshot{}, fmt.Errorf("%s: %w", id, ErrUnknown)
	}
	version, _ := values[0].(string)
	doc, _ := values[1].(string)
	s := snapshot{doc: doc, clips: map[int]string{}}
	var err error
	if s.version, err = strconv.ParseInt(version, 10, 64); err != nil {
		return nil, snapshot{}, fmt.Errorf("export %s: %w: version %q: %w", id, ErrUnreadable, version, err)
	}
	r := &export.Record{Clips: map[int]*export.Clip{}}
	if strings.HasPrefix(doc, packedMark) {
		r, err = unpack(id, doc)
	} else {
		err = json.Unmarshal([]byte(doc), r)
	}
	if err != nil {
		return nil, snapshot{}, fmt.Errorf("export %s: %w: %w", id, ErrUnreadable, err)
	}
	s.digest = r.Digest
	for _, value := range values[2:] {
		text, _ := value.(string)
		if text == "" {
			continue
		}
		c := &export.Clip{}
		if err := json.Unmarshal([]byte(text), c); err != nil {
			return nil, snapshot{}, fmt.Errorf("export %s, a clip: %w: %w", id, ErrUnreadable, err)
		}
		r.Clips[c.Idx] = c
		s.clips[c.Idx] = text
	}
	return r, s, nil
}

// Update lets change alter the record, with all its clips, and stores it. An
// error of change is returned as it is and nothing is stored; change may run
// several times, each time on a fresh record.
func (l *Ledger) Update(ctx context.Context, id string, change func(*export.Record) error) (*export.Record, error) {
	return l.swap(ctx, id, l.load, change)
}

// UpdateClip is Update for a change that needs of all clips only the one.
func (l *Ledger) UpdateClip(ctx context.Context, id string, idx int, change func(*export.Record) error) (*export.Record, error) {
	loadClip := func(ctx context.Context, id string) (*export.Record, snapshot, error) {
		return l.loadFields(ctx, id, []string{clipField(idx)})
	}
	return l.swap(ctx, id, loadClip, change)
}

type loader func(context.Context, string) (*export.Record, snapshot, error)

func (l *Ledger) swap(ctx context.Context, id string, load loader, change func(*export.Record) error) (*export.Record, error) {
	for try := range maxSwaps {
		r, before, err := load(ctx, id)
		if err != nil {
			return nil, err
		}
		state, cared := r.State, r.NeedsCare()
		if err := change(r); err != nil {
			return r, err
		}
		if !cared && r.NeedsCare() {
			if err := l.enterOpen(ctx, r, before.version+1); err != nil {
				return nil, err
			}
		}
		if state.Final() && !r.State.Final() && r.Batch != "" {
			if err := index.ReopenBatch(ctx, l.rdb, r.Batch, r.UpdatedAt); err != nil {
				return nil, err
			}
		}
		version, err := l.store(ctx, r, before)
		if errors.Is(err, errConflict) {
			yield(ctx, try)
			continue
		}
		if err != nil {
			return nil, err
		}
		if r.State != state || r.NeedsCare() != cared {
			// The change stands: to call it failed for its index would have the
			// caller do it twice. The export is among the open ones, so that
			// whoever looks after these puts it right, see Tidy.
			_ = l.place(ctx, r, version)
		}
		return r, nil
	}
	return nil, fmt.Errorf("export %s: still contended after %d tries: %w", id, maxSwaps, errConflict)
}

// yield waits a little and at random after the nth conflict, so that many
// writers of one record do not keep each other from it.
func yield(ctx context.Context, n int) {
	_ = retry.Wait(ctx, mathrand.N(time.Millisecond<<min(n, 5)))
}

// store writes what changed since the snapshot, if the version still is the
// snapshot's, and returns the new version. Version 0 means that there must be
// no record.
func (l *Ledger) store(ctx context.Context, r *export.Record, before snapshot) (int64, error) {
	args := []any{before.version, l.ttl(r).Milliseconds(), rand.Text()[:tokenLen]}
	if before.version == 0 || r.Digest != before.digest {
		args = append(args, fieldDigest, r.Digest)
	}
	if packable(r) {
		doc, err := pack(r)
		if err != nil {
			return 0, err
		}
		args[argToken] = "" // short: to store it twice does no harm
		args = append(args, fieldDoc, doc, fieldAnswer, "")
		for idx := range before.clips {
			args = append(args, clipField(idx), "")
		}
		return l.runSwap(ctx, r.ID, args)
	}
	doc, err := json.Marshal(r)
	if err != nil {
		return 0, fmt.Errorf("encode export %s: %w", r.ID, err)
	}
	args = append(args, fieldDoc, doc)
	if r.LastAnswer != nil {
		args = append(args, fieldAnswer, []byte(r.LastAnswer))
	}
	for idx, c := range r.Clips {
		text, err := json.Marshal(c)
		if err != nil {
			return 0, fmt.Errorf("encode clip %d of export %s: %w", idx, r.ID, err)
		}
		if string(text) != before.clips[idx] {
			args = append(args, clipField(idx), text)
		}
	}
	for idx := range maps.Keys(before.clips) {
		if r.Clips[idx] == nil {
			args = append(args, clipField(idx), "")
		}
	}
	return l.runSwap(ctx, r.ID, args)
}

// runSwap sends the swap until it is answered, a few times: a lost reply must
// not look like a rival's change, since the caller would then believe that its
// own step was not recorded.
func (l *Ledger) runSwap(ctx context.Context, id string, args []any) (int64, error) {
	wait := 50 * time.Millisecond
	for try := 1; ; try++ {
		version, err := swapScript.Run(ctx, l.rdb, []string{Key(id)}, args...).Int64()
		switch {
		case err == nil && version < 0:
			return 0, errConflict
		case err == nil:
			return version, nil
		case try == maxSends || ctx.Err() != nil:
			return 0, fmt.Errorf("store export %s: %w", id, err)
		}
		_ = retry.Wait(ctx, wait)
		wait *= 2
	}
}

// ttl is how long a record is kept from now on; zero means for ever.
func (l *Ledger) ttl(r *export.Record) time.Duration {
	if r.State != export.Held && !r.NeedsCare() {
		return l.retention
	}
	return 0
}
