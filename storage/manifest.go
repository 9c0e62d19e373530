package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
)

// ManifestVersion is the schema that PutManifest writes.
const ManifestVersion = 1

// Manifest says what one export's folder holds. It is written last: a folder
// with a manifest is complete.
type Manifest struct {
	Schema       int    `json:"schema"`
	ID           string `json:"id"`
	ProjectID    string `json:"project_id"`
	ExportTaskID string `json:"export_task_id"`
	// Tenant is whose export it is.
	Tenant string `json:"tenant"`
	// Kind is that of a task that was made elsewhere; empty for an export that was ordered.
	Kind export.TaskKind `json:"kind,omitempty"`
	// Name is what the provider calls the export.
	Name string `json:"name,omitempty"`
	// Account is the one that it was ordered with.
	Account string            `json:"account,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"` // the producer's own
	Batch   string            `json:"batch,omitempty"`
	// Settings are the request without the project and the clips. Set by PutManifest.
	Settings json.RawMessage `json:"settings,omitempty"`
	// DurationMS is how long all clips are together. Set by PutManifest.
	DurationMS int64           `json:"duration_ms,omitempty"`
	Request    json.RawMessage `json:"request"`
	Answer     json.RawMessage `json:"answer"` // the provider's, in full
	CostUsage  float64         `json:"cost_usage"`
	CreatedAt  time.Time       `json:"created_at"`
	ArchivedAt time.Time       `json:"archived_at"`
	Clips      []ManifestClip  `json:"clips"`
	// Warnings are about the export as a whole.
	Warnings []string `json:"warnings,omitempty"`
}

// ManifestFile is one object of the folder.
type ManifestFile struct {
	export.Object
	ArchivedAt time.Time `json:"archived_at"`
}

// ManifestClip is one clip: its file, what the provider said of it, and its
// thumbnail or why there is none.
type ManifestClip struct {
	Idx int `json:"idx"`
	ManifestFile
	Title   string   `json:"title"`
	Desc    string   `json:"desc"`
	Tags    []string `json:"tags"`
	Score   float64  `json:"score"`
	BeginMS int64    `json:"begin_ms"`
	EndMS   int64    `json:"end_ms"`
	// DurationMS is set by PutManifest.
	DurationMS int64         `json:"duration_ms,omitempty"`
	Thumbnail  *ManifestFile `json:"thumbnail,omitempty"`
	Warning    string        `json:"warning,omitempty"`
}

// files are all objects that the manifest lists.
func (m Manifest) files() []ManifestFile {
	var fs []ManifestFile
	for _, c := range m.Clips {
		fs = append(fs, c.ManifestFile)
		if c.Thumbnail != nil {
			fs = append(fs, *c.Thumbnail)
		}
	}
	return fs
}

// ErrSealed is returned by PutManifest where another manifest of the same export
// task exists, which names other objects: that one is what was archived.
var ErrSealed = errors.New("another manifest of the same task exists")

// PutManifest writes the manifest, after asking S3 whether every object that it
// lists exists with its size; if one does not, nothing is written. It
// returns the manifest's key. One that exists is never changed: if it names the
// same objects all is well, else that is [ErrSealed].
func (a *Archive) PutManifest(ctx context.Context, m Manifest) (string, error) {
	m = m.Completed()
	if len(m.Answer) == 0 || len(m.Request) == 0 {
		return "", fault.New(fault.Retry, "the manifest of "+m.ExportTaskID+" would lack the request or the provider's response", nil)
	}
	for _, f := range m.files() {
		st, exists, err := a.head(ctx, f.Key)
		if err != nil {
			return "", err
		}
		if !exists || st.size != f.Size {
			return "", fault.New(fault.Retry, fmt.Sprintf("%s is not in S3 with its %d bytes", f.Key, f.Size), nil)
		}
	}
	key := a.ManifestKey(m.ProjectID, m.ExportTaskID)
	// Looking first serves servers without conditional writes.
	for range maxManifestTries {
		existing, exists, err := a.ReadManifest(ctx, key)
		switch {
		case err != nil:
			return "", err
		case exists && existing.ExportTaskID != m.ExportTaskID:
			return "", fault.New(fault.Terminal, fmt.Sprintf("%s is the manifest of task %s, not of %s", key, existing.ExportTaskID, m.ExportTaskID), nil)
		case exists && !existing.names(m):
			return key, fmt.Errorf("%s: %w", key, ErrSealed)
		case exists:
			return key, nil
		}
		if written, err := a.writeDocument(ctx, key, "", m); written || err != nil {
			return key, err
		}
	}
	return "", fault.New(fault.Retry, key+" comes and goes", nil)
}

// Completed is m with the fields that follow from others, which manifests of earlier
// releases lack.
func (m Manifest) Completed() Manifest {
	m.Schema = ManifestVersion
	m.Settings = settingsOf(m.Request)
	m.DurationMS = 0
	m.Clips = slices.Clone(m.Clips)
	for i := range m.Clips {
		c := &m.Clips[i]
		c.DurationMS = max(0, c.EndMS-c.BeginMS)
		m.DurationMS += c.DurationMS
	}
	if m.Name == "" {
		var answer struct {
			Name string `json:"name"`
		}
		_ = json.Unmarshal(m.Answer, &answer) // one without a name that can be read has none
		m.Name = answer.Name
	}
	return m
}

// settingsOf is what a request asks for, apart from the project and the clips; nil
// for one that nobody can read.
func settingsOf(request json.RawMessage) json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(request, &fields) != nil {
		return nil
	}
	delete(fields, "project_id")
	delete(fields, "clip_indices")
	settings, _ := json.Marshal(fields) // of what was read as JSON a moment ago
	return settings
}

// maxManifestTries bounds the looks at a manifest that is taken and not there.
const maxManifestTries = 3

// names reports whether both manifests list the same objects.
func (m Manifest) names(other Manifest) bool {
	return slices.EqualFunc(m.files(), other.files(), func(a, b ManifestFile) bool {
		return a.Key == b.Key && a.Size == b.Size && a.SHA256 == b.SHA256
	})
}

// ReadManifest reads the manifest under key; false when there is none. One of an
// earlier release gets the fields that it lacks, as far as they follow from others.
func (a *Archive) ReadManifest(ctx context.Context, key string) (m Manifest, ok bool, err error) {
	ok, err = a.getDocument(ctx, key, &m)
	if err == nil && ok && m.Schema != ManifestVersion {
		err = fault.New(fault.Terminal, fmt.Sprintf("%s has schema %d, not %d", key, m.Schema, ManifestVersion), nil).
			WithHint("a newer clipferry wrote it")
	}
	if err == nil && ok {
		m = m.Completed()
	}
	return m, ok, err
}
