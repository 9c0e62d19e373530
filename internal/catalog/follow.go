package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// DefaultFollowEvery is how often a follower looks for what is new.
const DefaultFollowEvery = 15 * time.Second

// Status is how an index that follows the catalog in S3 is.
type Status struct {
	Loaded bool      // all of the catalog was read once
	Synced time.Time // when it last was what S3 has
	Err    error     // why it is not, nil if it is
	Clips  int
}

// Status says how far the index is.
func (x *Index) Status() Status {
	x.mu.RLock()
	defer x.mu.RUnlock()
	s := x.status
	s.Clips = x.live
	return s
}

// Follow keeps an index at what the catalog in S3 is, until ctx ends. While S3 cannot
// be read the index stays as it is; [Index.Status] has the fault.
func (s *Store) Follow(ctx context.Context, x *Index, every time.Duration, log *slog.Logger) {
	f := &follower{store: s, index: x, files: map[string]*followed{}}
	for {
		err := f.sync(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			log.WarnContext(ctx, "the catalog cannot be read whole", logkey.Error, err)
		}
		if retry.Wait(ctx, every) != nil {
			return
		}
	}
}

// Load brings an index that is new to what the catalog in S3 is.
func (s *Store) Load(ctx context.Context, x *Index) error {
	return (&follower{store: s, index: x, files: map[string]*followed{}}).sync(ctx)
}

// follower remembers which files of the catalog are in an index.
type follower struct {
	store *Store
	index *Index
	files map[string]*followed
	last  uint32 // number given to a file
}

type followed struct {
	number uint32
	missed bool // in the last listing
}

// filesAtOnce are read, and held in memory, at the same time.
const filesAtOnce = 4

// sync takes up files that are new, and lets go of clips that no file has any more.
func (f *follower) sync(ctx context.Context) error {
	began := f.store.now()
	files, err := f.store.list(ctx)
	if err == nil {
		err = f.takeAll(ctx, slices.DeleteFunc(slices.Clone(files), func(o file) bool { return f.files[o.Key] != nil }))
	}
	if err == nil {
		err = f.letGo(ctx, files)
	}
	x := f.index
	x.mu.Lock()
	defer x.mu.Unlock()
	x.status.Err = err
	if err == nil {
		x.status.Loaded, x.status.Synced = true, began
	}
	return err
}

// takeAll takes files up, some at once. One that cannot be read does not keep the
// others out.
func (f *follower) takeAll(ctx context.Context, files []file) error {
	faults := make([]error, len(files))
	var g errgroup.Group
	g.SetLimit(filesAtOnce)
	for i, o := range files {
		known := f.files[o.Key]
		if known == nil {
			f.last++
			known = &followed{number: f.last}
		}
		g.Go(func() error {
			if err := f.take(ctx, o, known.number); err != nil {
				faults[i] = fmt.Errorf("%s: %w", o.Key, err)
			}
			return nil
		})
		f.files[o.Key] = known
	}
	_ = g.Wait() // the faults are in faults
	for i, o := range files {
		if faults[i] != nil {
			delete(f.files, o.Key) // for another time
		}
	}
	return errors.Join(faults...)
}

// take adds a file's lines to the index. One that has just been merged into another
// is no fault: the next listing has the other.
func (f *follower) take(ctx context.Context, o file, number uint32) error {
	body, there, err := f.store.kept.Read(ctx, o.Key, maxFile)
	if err != nil || !there {
		return err
	}
	var lines []Line
	for l, err := range parsed(body) {
		if err != nil {
			f.index.addFrom(number, lines)
			return err
		}
		if lines = append(lines, l); len(lines) == addAtOnce {
			f.index.addFrom(number, lines)
			lines = lines[:0]
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	f.index.addFrom(number, lines)
	return nil
}

// letGo drops the clips that are in files which two listings lacked. One is not
// enough: a listing in pages may miss both a file and what it was merged into.
func (f *follower) letGo(ctx context.Context, there []file) error {
	listed := make(map[string]bool, len(there))
	for _, o := range there {
		listed[o.Key] = true
	}
	gone := map[uint32]bool{}
	for name, known := range f.files {
		switch {
		case listed[name]:
			known.missed = false
		case !known.missed:
			known.missed = true
		default:
			gone[known.number] = true
		}
	}
	if f.index.in(gone) { // perhaps in another file as well, which was read before
		if err := f.takeAll(ctx, there); err != nil {
			return err
		}
		f.index.dropFiles(gone)
	}
	maps.DeleteFunc(f.files, func(_ string, known *followed) bool { return gone[known.number] })
	return nil
}
