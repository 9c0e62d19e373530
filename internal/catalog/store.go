package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/storage"
)

const (
	// fanout is how many files of a level are merged into one of the next.
	fanout = 10
	// maxInputs and maxInputBytes bound what is merged at once; compressed, as all sizes.
	maxInputs     = 1000
	maxInputBytes = 64 << 20
	// fullSize is that of a file that is merged no more.
	fullSize = maxInputBytes / fanout
	// maxFile bounds a file that is read.
	maxFile = 256 << 20

	readers = 16 // of small files, at once
)

// Store is the catalog in S3. Nothing of it is kept in memory.
type Store struct {
	archive *storage.Archive
	kept    storage.Kept
	now     func() time.Time
}

// NewStore returns the catalog of an archive.
func NewStore(a *storage.Archive) *Store {
	return &Store{archive: a, kept: a.Kept("catalog"), now: time.Now}
}

// Health is how S3 has answered for the catalog's files of late.
func (s *Store) Health() storage.Health { return s.kept.Health() }

// file is one of the catalog's, by its name in the folder: its level, and a hash.
type file struct {
	storage.Listed
	level int
}

var fileName = regexp.MustCompile(`^([0-9])/[0-9a-f]{32}\.jsonl\.gz$`)

func nameOf(level int, hash string) string {
	return fmt.Sprintf("%d/%.32s.jsonl.gz", min(level, 9), hash)
}

// list returns the catalog's files, those of the lowest level first, the oldest first.
func (s *Store) list(ctx context.Context) ([]file, error) {
	var files []file
	for o, err := range s.kept.List(ctx) {
		if err != nil {
			return nil, err
		}
		if m := fileName.FindStringSubmatch(o.Key); m != nil {
			level, _ := strconv.Atoi(m[1]) // a digit
			files = append(files, file{o, level})
		}
	}
	slices.SortFunc(files, func(a, b file) int {
		return cmp.Or(a.level-b.level, a.Modified.Compare(b.Modified), cmp.Compare(a.Key, b.Key))
	})
	return files, nil
}

// Add writes the lines of the export whose manifest is under key. To do it again
// changes nothing.
func (s *Store) Add(ctx context.Context, key string) error {
	m, there, err := s.archive.ReadManifest(ctx, key)
	if err != nil {
		return err
	}
	if !there {
		return fault.New(fault.Retry, "there is no manifest "+key, nil)
	}
	w := newWriter()
	for _, l := range LinesOf(m, key) {
		w.add(l)
	}
	body, err := w.close()
	if err != nil || w.lines == 0 {
		return err
	}
	return s.kept.Write(ctx, nameOf(0, hashOf(key)), contentType, body)
}

// Merge merges small files into larger ones, so that there are always few. One that
// is cut off leaves lines twice, which readers count once; the next one removes them.
// It returns how many files it has merged.
func (s *Store) Merge(ctx context.Context) (int, error) {
	files, err := s.list(ctx)
	if err != nil {
		return 0, err
	}
	merged := 0
	for group := range groups(files) {
		n, err := s.merge(ctx, group)
		merged += n
		if err != nil {
			return merged, fmt.Errorf("merge the catalog: %w", err)
		}
	}
	return merged, nil
}

// groups are the files to merge with each other.
func groups(files []file) iter.Seq[[]file] {
	return func(yield func([]file) bool) {
		var group []file
		var size int64
		end := func() bool {
			goOn := len(group) < fanout || yield(group)
			group, size = nil, 0
			return goOn
		}
		for _, f := range files {
			if f.Size >= fullSize {
				continue
			}
			apart := len(group) > 0 && (group[0].level != f.level || len(group) == maxInputs || size+f.Size > maxInputBytes)
			if apart && !end() {
				return
			}
			group, size = append(group, f), size+f.Size
		}
		end()
	}
}

// merge writes one file of many, under a name that follows from theirs: who does it
// again after a crash writes the same one. A file that is not ours is left alone.
func (s *Store) merge(ctx context.Context, group []file) (int, error) {
	bodies, err := s.read(ctx, group)
	if err != nil {
		return 0, err
	}
	w := newWriter()
	var names []string
	var inputs []file
	var faults []error
	for i, f := range group {
		switch err := w.copy(bodies[i]); {
		case bodies[i] == nil: // another one has merged it
		case err != nil:
			faults = append(faults, fmt.Errorf("%s: %w", f.Key, err))
		default:
			names = append(names, f.Key)
			inputs = append(inputs, f)
		}
	}
	if len(inputs) < 2 {
		return 0, errors.Join(faults...)
	}
	body, err := w.close()
	if err != nil {
		return 0, err
	}
	slices.Sort(names)
	name := nameOf(group[0].level+levelOf(len(inputs)), hashOf(strings.Join(names, "\n")))
	if err := s.kept.Write(ctx, name, contentType, body); err != nil {
		return 0, err
	}
	return len(inputs), errors.Join(append(faults, s.remove(ctx, inputs))...)
}

// levelOf is the level of a file with that many of level 0.
func levelOf(files int) int {
	level := 0
	for ; files >= fanout; files /= fanout {
		level++
	}
	return level
}

// read returns the bodies of files; nil for one that is not there any more.
func (s *Store) read(ctx context.Context, files []file) ([][]byte, error) {
	bodies := make([][]byte, len(files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i, f := range files {
		g.Go(func() error {
			body, _, err := s.kept.Read(ctx, f.Key, maxFile)
			bodies[i] = body
			return err
		})
	}
	return bodies, g.Wait()
}

func (s *Store) remove(ctx context.Context, files []file) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, f := range files {
		g.Go(func() error { return s.kept.Delete(ctx, f.Key) })
	}
	return g.Wait()
}

// Lines yields all lines of the catalog, some of them perhaps twice, or of an older
// revision. A file that cannot be read yields its fault, and the next ones still come.
func (s *Store) Lines(ctx context.Context) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		files, err := s.list(ctx)
		if err != nil {
			yield(Line{}, err)
			return
		}
		for chunk := range slices.Chunk(files, readers) {
			bodies, err := s.read(ctx, chunk)
			if err != nil {
				yield(Line{}, err)
				return
			}
			for i, body := range bodies {
				for l, err := range parsed(body) {
					if err != nil {
						err = fmt.Errorf("%s: %w", path.Base(chunk[i].Key), err)
					}
					if !yield(l, err) {
						return
					}
				}
			}
		}
	}
}
