package storage

import (
	"context"
	"fmt"
	"hash/crc32"

	"golang.org/x/sync/errgroup"

	"github.com/clipferry/clipferry/internal/fault"
)

// verifyReaders is how many objects Verify reads at once.
const verifyReaders = 4

// Report is what Verify found.
type Report struct {
	Manifest string       `json:"manifest"`
	ID       string       `json:"id"`
	Files    []FileReport `json:"files"`
}

// FileReport is about one object. Problem is empty when it is what the manifest says.
type FileReport struct {
	Key     string `json:"key"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
	Problem string `json:"problem,omitempty"`
}

// OK says whether every file is what the manifest says.
func (r Report) OK() bool {
	for _, f := range r.Files {
		if f.Problem != "" {
			return false
		}
	}
	return true
}

// Verify reads every object of a manifest again, some at once, and compares size
// and SHA-256. A wrong or missing object is in the Report; an error means that
// something could not be looked at.
func (a *Archive) Verify(ctx context.Context, manifestKey string) (Report, error) {
	m, ok, err := a.ReadManifest(ctx, manifestKey)
	if err != nil {
		return Report{}, err
	}
	if !ok {
		return Report{}, fault.New(fault.Terminal, "there is no manifest "+manifestKey, nil)
	}
	files := m.files()
	r := Report{Manifest: manifestKey, ID: m.ID, Files: make([]FileReport, len(files))}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(verifyReaders)
	for i, f := range files {
		g.Go(func() error {
			var err error
			r.Files[i], err = a.verifyFile(ctx, f)
			return err
		})
	}
	return r, g.Wait()
}

func (a *Archive) verifyFile(ctx context.Context, f ManifestFile) (FileReport, error) {
	r := FileReport{Key: f.Key, Size: f.Size, SHA256: f.SHA256}
	_, exists, err := a.head(ctx, f.Key)
	if err != nil {
		return r, err
	}
	if !exists {
		r.Problem = "it is missing"
		return r, nil
	}
	crc := crc32.NewIEEE()
	size, sum, err := a.readBack(ctx, f.Key, crc)
	switch {
	case err != nil:
		return r, err
	case size != f.Size:
		r.Problem = fmt.Sprintf("it has %d bytes instead of %d", size, f.Size)
	case sum != f.SHA256:
		r.Problem = "its bytes have changed: SHA-256 " + sum
	case f.CRC32 != "" && encodeCRC(crc.Sum32()) != f.CRC32:
		r.Problem = "the manifest's CRC32 is not that of its bytes"
	}
	return r, nil
}
