package catalog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/clipferry/clipferry/storage"
)

const (
	manifestReaders = 32
	// perFile is how many manifests' lines are written into one file.
	perFile = 1000
	// settling is how long lines may be in the catalog before their manifest is seen
	// in a listing, and how far clocks may be apart.
	settling = 2 * time.Hour
)

// Done is what [Store.Update] and [Store.Rebuild] did.
type Done struct {
	Manifests int // that were read
	Clips     int // in them
	Known     int // manifests whose clips were in the catalog already
}

// Update adds the clips of manifests that the catalog does not have, and merges what
// can be merged.
func (s *Store) Update(ctx context.Context) (Done, error) {
	known := map[string]bool{}
	var faults []error
	for l, err := range s.Lines(ctx) {
		if err != nil {
			faults = append(faults, err)
			continue
		}
		known[l.Manifest] = true
	}
	var done Done
	missing := func(yield func(storage.Listed, error) bool) {
		for o, err := range s.archive.Manifests(ctx) {
			if err == nil && known[o.Key] {
				done.Known++
				continue
			}
			if !yield(o, err) {
				return
			}
		}
	}
	_, err := s.collect(ctx, missing, &done)
	if err = errors.Join(append(faults, err)...); err != nil {
		return done, err
	}
	for {
		if merged, err := s.Merge(ctx); err != nil || merged == 0 {
			return done, err
		}
	}
}

// Rebuild makes the catalog anew from all manifests, and removes what it was before.
// Where a manifest cannot be read, nothing is removed.
func (s *Store) Rebuild(ctx context.Context) (Done, error) {
	began := s.now()
	old, err := s.list(ctx)
	if err != nil {
		return Done{}, err
	}
	var done Done
	written, err := s.collect(ctx, s.archive.Manifests(ctx), &done)
	if err != nil {
		return done, err
	}
	recent, err := s.keepRecent(ctx, old, began.Add(-settling))
	if err != nil {
		return done, err
	}
	written = append(written, recent...)
	return done, s.remove(ctx, slices.DeleteFunc(old, func(f file) bool { return slices.Contains(written, f.Key) }))
}

// keepRecent writes those of the old lines again whose manifest may have been written
// after the manifests were listed.
func (s *Store) keepRecent(ctx context.Context, old []file, since time.Time) ([]string, error) {
	w := newWriter()
	young := slices.DeleteFunc(slices.Clone(old), func(f file) bool { return !f.Modified.IsZero() && f.Modified.Before(since) })
	for chunk := range slices.Chunk(young, readers) {
		bodies, err := s.read(ctx, chunk)
		if err != nil {
			return nil, err
		}
		for _, body := range bodies {
			for l, err := range parsed(body) {
				if err != nil {
					break // it is what a rebuild is for
				}
				if l.ArchivedAt.After(since) {
					w.add(l)
				}
			}
		}
	}
	return s.flush(ctx, w, 1)
}

// collect reads manifests, many at once, and writes their lines. It returns the names
// of the files. A manifest that cannot be read is a fault, and the others are written.
func (s *Store) collect(ctx context.Context, manifests iter.Seq2[storage.Listed, error], done *Done) ([]string, error) {
	var mu sync.Mutex // of all that follows
	var names []string
	var faults []error
	w, inFile := newWriter(), 0
	take := func(m storage.Manifest, key string) error {
		lines := LinesOf(m, key)
		mu.Lock()
		defer mu.Unlock()
		for _, l := range lines {
			w.add(l)
		}
		done.Manifests++
		done.Clips += len(lines)
		if inFile++; inFile < perFile {
			return nil
		}
		full := w
		w, inFile = newWriter(), 0
		name, err := s.flush(ctx, full, perFile)
		names = append(names, name...)
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(manifestReaders)
	for o, err := range manifests {
		if err != nil {
			faults = append(faults, err)
			break
		}
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			m, ok, err := s.archive.ReadManifest(gctx, o.Key)
			if err != nil || !ok {
				mu.Lock()
				defer mu.Unlock()
				faults = append(faults, err)
				return nil
			}
			return take(m, o.Key)
		})
	}
	if err := g.Wait(); err != nil {
		return names, err
	}
	name, err := s.flush(ctx, w, inFile)
	return append(names, name...), errors.Join(append(faults, err, ctx.Err())...)
}

// flush writes a file with the lines of that many manifests; none for no lines.
func (s *Store) flush(ctx context.Context, w *writer, manifests int) ([]string, error) {
	body, err := w.close()
	if err != nil || w.lines == 0 {
		return nil, err
	}
	name := nameOf(levelOf(manifests), hashOf(string(body)))
	if err := s.kept.Write(ctx, name, contentType, body); err != nil {
		return nil, fmt.Errorf("write the catalog: %w", err)
	}
	return []string{name}, nil
}
