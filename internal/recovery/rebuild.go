package recovery

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

// Manifests reads what was archived.
type Manifests interface {
	ManifestKey(projectID, exportTaskID string) string
	ReadManifest(ctx context.Context, key string) (storage.Manifest, bool, error)
}

// archiveOf reads the manifest of a receipt's task. A crash between manifest and
// receipt leaves the receipt open.
func archiveOf(ctx context.Context, from Manifests, receipt storage.Receipt) (archive, error) {
	key := receipt.Manifest
	if key == "" {
		key = from.ManifestKey(receipt.ProjectID, receipt.ExportTaskID)
	}
	m, ok, err := from.ReadManifest(ctx, key)
	return archive{m, key, ok}, err
}

// Archived looks whether the record's export is archived though the record does not
// say so: a Redis that was restored from an older image has forgotten that. It
// returns what to change then, else nil.
func Archived(ctx context.Context, from Manifests, r *export.Record, now time.Time) (func(*export.Record) error, error) {
	if r.ExportTaskID == "" || !export.Allowed(r.State, export.EvRestore) {
		return nil, nil //nolint:nilnil // nothing to change, and no fault
	}
	task := r.ExportTaskID
	a, err := archiveOf(ctx, from, storage.Receipt{ProjectID: r.ProjectID, ExportTaskID: task})
	if fault.ClassOf(err) == fault.Terminal {
		return nil, nil //nolint:nilnil // something is there that is no manifest of ours: asking again won't help
	}
	if err != nil || !a.complete {
		return nil, err
	}
	return func(r *export.Record) error {
		if r.ExportTaskID != task {
			return fmt.Errorf("task %s is archived, current is %q: %w", task, r.ExportTaskID, export.ErrStale)
		}
		return restore(r, now, task, a)
	}, nil
}

// restore ends a record with the manifest that stands for it, which also knows what the
// record does not.
func restore(r *export.Record, now time.Time, task string, a archive) error {
	if err := r.Restore(now, task, a.key, ArchivedClips(a.manifest)); err != nil {
		return err
	}
	var answer struct {
		Status string `json:"status"`
	}
	_ = json.Unmarshal(a.manifest.Answer, &answer) // one that cannot be read has none
	r.ProviderStatus = cmp.Or(answer.Status, r.ProviderStatus)
	r.Name, r.CostUsage = cmp.Or(r.Name, a.manifest.Name), cmp.Or(r.CostUsage, a.manifest.CostUsage)
	return nil
}

// RequestIn returns the request that a receipt was written for. What can't be
// read is a terminal fault: nobody knows then what was paid for.
func RequestIn(receipt storage.Receipt) (tasks.Export, error) {
	e, err := tasks.ParseSent(receipt.Request)
	if err != nil {
		return e, fault.New(fault.Terminal, fmt.Sprintf("the request in the receipt of export %s can't be read", receipt.ID), err).
			WithHint("somebody else, or a newer clipferry, wrote it")
	}
	return e, nil
}

// inDoubt is why an export is held whose record was lost after its paid request.
var inDoubt = export.Problem{Reason: export.ReasonAnswerLost, Detail: "and Redis with it"}

// Rebuilt returns the record of an export that was paid for: archived if its
// manifest stands, else as it was right after the provider accepted it, or as it
// ended. One that may have been paid for is held: only a person can find out. One that
// was refused for a reason that passes is back in line.
func Rebuilt(ctx context.Context, from Manifests, receipt storage.Receipt, now time.Time) (*export.Record, error) {
	e, err := RequestIn(receipt)
	if err != nil {
		return nil, err
	}
	created := receipt.Created
	if created.IsZero() { // written by a version that did not keep it
		created = receipt.Submitted
	}
	r := export.New(receipt.ID, receipt.Request, e.Digest(), receipt.ProjectID, created)
	r.Wanted = e.ClipIndices
	r.Account, r.Tenant, r.Priority, r.Trace = receipt.Account, receipt.Tenant, receipt.Priority, receipt.Trace
	r.Labels, r.Batch = receipt.Labels, receipt.Batch
	r.ReadAs, r.Skip = receipt.ReadAs, receipt.Skip
	if r.Kind = receipt.Kind; !r.Imported() {
		r.Attempts = 1
	}
	switch {
	case receipt.ExportTaskID == "" && receipt.Ended():
	case receipt.State == storage.ReceiptUnsent:
		inherit(r, receipt)
	case receipt.ExportTaskID == "":
		return r, recall(r, now, receipt, export.Hold)
	default:
		a, err := archiveOf(ctx, from, receipt)
		if err != nil {
			return nil, err
		}
		if a.complete && !a.manifest.ArchivedAt.IsZero() {
			now = a.manifest.ArchivedAt
		}
		if err := adopt(r, now, receipt, a); err != nil {
			return nil, err
		}
	}
	if receipt.Closed != nil && r.State != export.Archived {
		r.EndedAs(string(receipt.State), *receipt.Closed)
	}
	return r, nil
}

// adopt lets a record go on with the task that its receipt names, or end with
// the manifest that stands for it.
func adopt(r *export.Record, now time.Time, receipt storage.Receipt, a archive) error {
	inherit(r, receipt)
	var err error
	if a.complete {
		err = restore(r, now, receipt.ExportTaskID, a)
	} else {
		err = r.Accept(now, receipt.ExportTaskID, "", "")
	}
	if err != nil {
		return err
	}
	if r.ExportTaskID == receipt.ExportTaskID {
		r.SubmittedAt = receipt.Submitted
		r.ReceiptWritten(string(receipt.State))
	}
	return nil
}

// recall reminds a record of the paid request in doubt that its receipt names.
func recall(r *export.Record, now time.Time, receipt storage.Receipt, policy export.Policy) error {
	inherit(r, receipt)
	why := inDoubt
	if receipt.Answer != "" { // it was accepted, and only a person can tell as what
		policy, why = export.Hold, export.Problem{Reason: export.ReasonNotUnderstood, Detail: receipt.Answer}
	}
	return r.Lose(now, receipt.Intent, receipt.Submitted, policy, why)
}

// inherit notes in a record the tasks that its receipt knows besides its own.
func inherit(r *export.Record, receipt storage.Receipt) {
	add := func(to []string, tasks []string) []string {
		for _, task := range tasks {
			known := task == "" || task == receipt.ExportTaskID || task == r.ExportTaskID ||
				slices.Contains(r.Previous, task) || slices.Contains(r.Duplicates, task)
			if !known {
				to = append(to, task)
			}
		}
		return to
	}
	r.Duplicates = add(r.Duplicates, receipt.Duplicates)
	r.Previous = add(r.Previous, receipt.Earlier)
}

// ArchivedClips returns the clips as a manifest names them.
func ArchivedClips(m storage.Manifest) []export.Clip {
	clips := make([]export.Clip, 0, len(m.Clips))
	for _, c := range m.Clips {
		clip := export.Clip{
			Idx: c.Idx, Title: c.Title, Desc: c.Desc, Tags: c.Tags, Score: c.Score, BeginMS: c.BeginMS, EndMS: c.EndMS,
			Warning: c.Warning, ArchivedAt: c.ArchivedAt, Object: c.Object,
		}
		if c.Thumbnail != nil {
			clip.Thumb = &c.Thumbnail.Object
		}
		clips = append(clips, clip)
	}
	return clips
}
