package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

var archivedAt = time.Date(2026, 4, 7, 12, 0, 0, 0, time.UTC)

// receipts is an archive's receipts, or their faults.
type receipts []any

func (receipts) ManifestKey(project, task string) string { return project + "/" + task }

// ReadManifest knows the manifest of task-d.
func (receipts) ReadManifest(_ context.Context, key string) (storage.Manifest, bool, error) {
	m := storage.Manifest{Name: "Night trains", CostUsage: 48, ArchivedAt: archivedAt, Answer: json.RawMessage(`{"status":"SUCCEEDED"}`), Clips: []storage.ManifestClip{{Idx: 2, ManifestFile: storage.ManifestFile{Object: export.Object{Key: "k", Size: 5}}}}}
	return m, key == "p/task-d", nil
}

// Receipt finds an id whatever its case, as some S3 servers do.
func (rs receipts) Receipt(_ context.Context, id string) (storage.Receipt, bool, error) {
	for _, r := range rs {
		if err, ok := r.(error); ok {
			return storage.Receipt{}, false, err
		}
		if receipt := r.(storage.Receipt); strings.EqualFold(receipt.ID, id) {
			return receipt, true, nil
		}
	}
	return storage.Receipt{}, false, nil
}

// Who asks for an export that is paid for must not hear that there is none, and
// order it again, because Redis was lost.
func TestWhatRedisHasLostIsTold(t *testing.T) {
	d := newRig(t)
	receipt := func(id string, state storage.ReceiptState) storage.Receipt {
		return storage.Receipt{
			ID: id, ExportTaskID: "task-" + id, ProjectID: "p", State: state, Submitted: time.Now().Add(-time.Hour),
			Request: json.RawMessage(`{"project_id":"p"}`),
		}
	}
	doubt := receipt("doubt", storage.ReceiptIntent)
	doubt.ExportTaskID, doubt.Intent = "", "run"
	broken := receipt("broken", storage.ReceiptOpen)
	broken.Request = json.RawMessage(`{"project_id":7}`)
	log := &bytes.Buffer{}
	fallback := admin.ReceiptFallback{
		Service: d.Service, Logger: slog.New(slog.NewTextHandler(log, nil)),
		Receipts: receipts{
			receipt("open", storage.ReceiptOpen), receipt("d", storage.ReceiptDone), receipt("done", storage.ReceiptDone), doubt, broken,
			receipt("failed", storage.ReceiptFailed), receipt("expired", storage.ReceiptExpired),
			receipt("canceled", storage.ReceiptCanceled),
		},
	}
	for id, want := range map[string]export.State{"open": export.Rendering, "d": export.Archived, "doubt": export.Held} {
		r, err := fallback.Get(t.Context(), id)
		if err != nil || r.State != want || r.ProjectID != "p" {
			t.Errorf("%s: %+v, %v", id, r, err)
			continue
		}
		lost := want != export.Archived
		if !lost && (r.CostUsage != 48 || r.Name != "Night trains" || r.ProviderStatus != "SUCCEEDED" || !r.UpdatedAt.Equal(archivedAt)) {
			t.Errorf("%s: not as its manifest says: %+v", id, r)
		}
		if (r.Problem.Reason == export.ReasonRecordLost) != lost || strings.Contains(log.String(), "export="+id+" ") != lost {
			t.Errorf("%s: error %+v, log %s", id, r.Problem, log)
		}
		if _, err := d.Get(t.Context(), id); !errors.Is(err, admin.ErrUnknown) {
			t.Errorf("%s: asking has made a record: %v", id, err)
		}
	}
	for _, id := range []string{"OPEN", "done", "failed", "expired", "canceled", "void", "nobody", "no/such"} {
		if r, err := fallback.Get(t.Context(), id); !errors.Is(err, admin.ErrUnknown) {
			t.Errorf("%s: %+v, %v", id, r, err)
		}
	}
	if _, err := fallback.Get(t.Context(), "broken"); err == nil || errors.Is(err, admin.ErrUnknown) {
		t.Errorf("a receipt that can't be read: %v", err)
	}
	fallback.Receipts = receipts{errors.New("S3 is down")}
	if _, err := fallback.Get(t.Context(), "open"); err == nil || errors.Is(err, admin.ErrUnknown) {
		t.Errorf("nobody can say: %v", err)
	}
	d.enqueue(t, tasks.Export{JobID: "waits", ProjectID: "p"})
	if r, err := fallback.Get(t.Context(), "waits"); err != nil || r.State != export.Queued {
		t.Errorf("what Redis knows: %+v, %v", r, err)
	}
}

// brokenManifests is an archive whose manifests can't be read.
type brokenManifests struct {
	receipts
	err error
}

func (b brokenManifests) ReadManifest(context.Context, string) (storage.Manifest, bool, error) {
	return storage.Manifest{}, false, b.err
}

func TestWhole(t *testing.T) {
	short := &export.Record{ID: "d", State: export.Archived, Manifest: "p/task-d", Short: true, Clips: map[int]*export.Clip{2: {Idx: 2}}}
	for name, c := range map[string]struct {
		from  admin.Receipts
		r     *export.Record
		whole bool
		fails bool
	}{
		"from its manifest":  {receipts{}, short, true, false},
		"no manifest":        {brokenManifests{}, short, false, false},
		"another's manifest": {brokenManifests{err: fault.New(fault.Terminal, "no manifest of ours", nil)}, short, false, false},
		"S3 is down":         {brokenManifests{err: fault.New(fault.Retry, "S3 is down", nil)}, short, false, true},
		"one that is whole":  {brokenManifests{err: errors.New("nobody asks")}, &export.Record{ID: "d"}, false, false},
	} {
		got, err := admin.ReceiptFallback{Receipts: c.from}.Whole(t.Context(), c.r)
		if (err != nil) != c.fails {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.fails {
			continue
		}
		if !c.whole && got != c.r || c.whole && (got.Short || got.Clips[2].State != export.ClipArchived || got.Clips[2].Object.Size != 5) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
