package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/catalog"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/s3test"
)

// archive holds every file in S3 against what the provider serves.
func (a *audit) archive(ctx context.Context, all []wish) {
	manifests, clips := map[string]string{}, map[string]bool{} // keys
	index := catalog.NewIndex()
	if err := catalog.NewStore(a.h.archive).Load(ctx, index); err != nil {
		a.rep.breach("the catalog: %v", err)
	}
	for _, w := range all {
		r, err := a.h.admin.Get(ctx, w.export.JobID)
		if err != nil {
			continue // said already
		}
		if r.Manifest != "" {
			manifests[r.Manifest] = r.ID
		}
		if (r.State == export.Archived) != (r.Manifest != "") {
			a.rep.breach("export %s is %s with the manifest %q", r.ID, r.State, r.Manifest)
		}
		for _, c := range r.Clips {
			if c.State == export.ClipArchived {
				clips[c.Object.Key] = true
				a.clip(r, c)
			}
		}
		if r.State == export.Archived {
			a.complete(r)
			a.cataloged(index, r)
		}
		a.receipt(ctx, r)
	}
	a.files(manifests, clips)
}

// clip recomputes the hash of one archived clip and of its source.
func (a *audit) clip(r *export.Record, c *export.Clip) {
	content, err := a.h.provider.Content(r.ExportTaskID, c.Idx)
	if err != nil {
		a.rep.breach("export %s: %v", r.ID, err)
		return
	}
	served, err := content.SHA256()
	if err != nil {
		a.rep.breach("export %s: %v", r.ID, err)
		return
	}
	stored, size, err := hashFile(a.h.file(c.Object.Key))
	a.rep.clips++
	a.rep.bytes += size
	switch {
	case err != nil:
		a.rep.breach("lost: clip %d of export %s: %v", c.Idx, r.ID, err)
	case stored != served || stored != c.Object.SHA256 || size != c.Object.Size:
		a.rep.breach("differs: clip %d of export %s is %s (%d bytes) in S3, %s (%d) at its source, %s in the ledger",
			c.Idx, r.ID, stored, size, served, content.Size(), c.Object.SHA256)
	}
}

// complete holds the manifest of an archived export against the provider's clips.
func (a *audit) complete(r *export.Record) {
	var manifest struct {
		ID           string `json:"id"`
		ExportTaskID string `json:"export_task_id"`
		Clips        []struct {
			Idx    int    `json:"idx"`
			Key    string `json:"key"`
			SHA256 string `json:"sha256"`
		} `json:"clips"`
	}
	text, err := os.ReadFile(a.h.file(r.Manifest))
	if err == nil {
		err = json.Unmarshal(text, &manifest)
	}
	if err != nil {
		a.rep.breach("lost: the manifest of export %s: %v", r.ID, err)
		return
	}
	want := a.tasks[r.ExportTaskID].Clips
	if manifest.ID != r.ID || manifest.ExportTaskID != r.ExportTaskID || len(manifest.Clips) != len(want) || len(r.Clips) != len(want) {
		a.rep.breach("export %s: its manifest is of %s, task %s, with %d clips; the provider made %d", r.ID, manifest.ID,
			manifest.ExportTaskID, len(manifest.Clips), len(want))
		return
	}
	for i, c := range manifest.Clips {
		of := r.Clips[c.Idx]
		if c.Idx != want[i] || of == nil || c.Key != of.Object.Key || c.SHA256 != of.Object.SHA256 {
			a.rep.breach("export %s: its manifest names clip %d as %s", r.ID, c.Idx, c.Key)
		}
	}
}

// cataloged finds each clip of an archived export in the catalog, once.
func (a *audit) cataloged(index *catalog.Index, r *export.Record) {
	lines := index.Export(r.ID)
	if len(lines) != len(r.Clips) {
		a.rep.breach("export %s: the catalog has %d of its %d clips", r.ID, len(lines), len(r.Clips))
		return
	}
	for _, l := range lines {
		if c := r.Clips[l.Idx]; c == nil || l.Key != c.Object.Key || l.SHA256 != c.Object.SHA256 {
			a.rep.breach("export %s: the catalog has clip %d as %s", r.ID, l.Idx, l.Key)
		}
	}
}

// receipt holds the receipt of an export against its state.
func (a *audit) receipt(ctx context.Context, r *export.Record) {
	receipt, found, err := a.h.archive.Receipt(ctx, r.ID)
	says, due := r.ReceiptDue()
	switch {
	case err != nil || !found:
		a.rep.breach("export %s has no receipt: %v", r.ID, err)
	case due || string(receipt.State) != says || receipt.ExportTaskID != r.ExportTaskID:
		a.rep.breach("the receipt of export %s says %s of task %s; it is %s, task %s", r.ID, receipt.State,
			receipt.ExportTaskID, r.State, r.ExportTaskID)
	}
}

// clipEnding are the endings of what clips are archived as.
var clipEnding = map[string]bool{".mp4": true, ".mov": true, ".webm": true, ".ts": true}

// files walks the whole bucket: a manifest stands where an export is archived
// and nowhere else, and so do clips.
func (a *audit) files(manifests map[string]string, clips map[string]bool) {
	root := filepath.Join(a.h.s3.Dir, s3test.Bucket)
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && p != root {
				return fs.SkipDir // the server's own
			}
			return nil
		}
		key, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		key = filepath.ToSlash(key)
		switch {
		case path.Base(key) == "manifest.json":
			a.rep.manifests++
			if manifests[key] == "" {
				a.rep.breach("%s is the manifest of no archived export", key)
			}
		case clipEnding[path.Ext(key)] && strings.HasPrefix(path.Base(key), "clip-") && !clips[key]:
			a.rep.unnamed++
		}
		return nil
	})
	if err != nil {
		a.rep.breach("the bucket can't be walked: %v", err)
	}
}

// uploads sweeps the unfinished uploads and sees that none is left.
func (a *audit) uploads(ctx context.Context) {
	aborted, err := a.h.archive.AbortOrphans(ctx, 0)
	if err != nil {
		a.rep.breach("sweeping the uploads: %v", err)
	}
	a.rep.aborted = aborted
	pages := s3.NewListMultipartUploadsPaginator(a.h.s3.Client(), &s3.ListMultipartUploadsInput{Bucket: aws.String(s3test.Bucket)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			a.rep.breach("listing the uploads: %v", err)
			return
		}
		for _, u := range page.Uploads {
			a.rep.breach("left behind: an upload of %s", aws.ToString(u.Key))
		}
	}
}

func (h *house) file(key string) string {
	return filepath.Join(h.s3.Dir, s3test.Bucket, filepath.FromSlash(key))
}

func hashFile(name string) (sum string, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = f.Close() }()
	hash := sha256.New()
	size, err = io.Copy(hash, f)
	return hex.EncodeToString(hash.Sum(nil)), size, err
}

// noLinks is for an archive that is only looked at.
type noLinks struct{}

func (noLinks) MaxSize() int64 { return 1 << 30 }

func (noLinks) Open(context.Context, string, link.Range) (*link.Body, error) {
	return nil, errors.New("nothing is fetched here")
}
