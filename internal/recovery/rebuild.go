package recovery

import (
	"context"
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

// ManifestOf returns the manifest of a receipt's export and its key; false if
// none stands. A crash between manifest and receipt leaves the receipt open.
func ManifestOf(ctx context.Context, from Manifests, receipt storage.Receipt) (storage.Manifest, string, bool, error) {
	key := receipt.Manifest
	if key == "" {
		key = from.ManifestKey(receipt.ProjectID, receipt.ExportTaskID)
	}
	m, ok, err := from.ReadManifest(ctx, key)
	return m, key, ok, err
}

// RequestIn returns the request that a receipt was written for. What can't be
// read is a terminal fault: nobody knows then what was paid for.
func RequestIn(receipt storage.Receipt) (tasks.Export, error) {
	e, err := tasks.ParseExport(receipt.Request)
	if err != nil {
		return e, fault.New(fault.Terminal, fmt.Sprintf("the request in the receipt of export %s can't be read", receipt.ID), err).
			WithHint("somebody else, or a newer clipferry, wrote it")
	}
	return e, nil
}

// inDoubt is why an export is held whose record was lost after its paid request.
var inDoubt = export.Problem{Reason: export.ReasonAnswerLost, Detail: "and Redis with it"}

// Rebuilt returns the record of an export that was paid for: archived if its
// manifest stands, else as it was right after the provider accepted it. One that
// may have been paid for is held: only a person can find out.
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
	r.Account, r.Priority, r.Trace = receipt.Account, receipt.Priority, receipt.Trace
	r.Attempts = 1
	if receipt.State == storage.ReceiptDoubt {
		return r, Recall(r, now, receipt, export.Hold)
	}
	manifest, key, archived, err := ManifestOf(ctx, from, receipt)
	if err != nil {
		return nil, err
	}
	if err := Adopt(r, now, receipt, key, manifest, archived); err != nil {
		return nil, err
	}
	return r, nil
}

// Adopt lets a record go on with the task that its receipt names, or end with
// the manifest that stands for it.
func Adopt(r *export.Record, now time.Time, receipt storage.Receipt, key string, m storage.Manifest, archived bool) error {
	Inherit(r, receipt)
	var err error
	if archived {
		err = r.Restore(now, receipt.ExportTaskID, key, ArchivedClips(m))
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

// Recall reminds a record of the paid request in doubt that its receipt tells of.
func Recall(r *export.Record, now time.Time, receipt storage.Receipt, policy export.Policy) error {
	Inherit(r, receipt)
	return r.Recall(now, receipt.Intent, receipt.Submitted, policy, inDoubt)
}

// Inherit tells a record of the tasks that its receipt knows besides its own.
func Inherit(r *export.Record, receipt storage.Receipt) {
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
