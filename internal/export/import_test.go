package export_test

import (
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
)

func imported(kind export.TaskKind, now time.Time) *export.Record {
	return export.NewImport("import-t", kind, "t", []byte(`{"project_id":"t"}`), "digest", "t", now)
}

// TestAnImportIsNeverOrdered: whatever is said at a retry.
func TestAnImportIsNeverOrdered(t *testing.T) {
	now := time.Date(2026, 4, 7, 12, 0, 0, 0, time.UTC)
	pay := export.RetryOptions{PayAgain: true}
	for name, end := range map[string]func(*export.Record) error{
		"render failed": func(r *export.Record) error {
			return r.Answer(now, "t", r.Step, export.Reading{Status: "FAILED", Failed: true, Free: true}, now)
		},
		"expired":  func(r *export.Record) error { return r.Expire(now.Add(100*time.Hour), "t", export.Problem{}) },
		"canceled": func(r *export.Record) error { return r.Cancel(now) },
		"given up": func(r *export.Record) error { return r.Fail(now, export.Problem{Reason: export.ReasonStepGivenUp}) },
	} {
		r := imported(export.TaskClips, now)
		if err := end(r); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = r.Retry(now.Add(101*time.Hour), pay)
		if r.State == export.Queued || r.State == export.Submitting {
			t.Errorf("%s: %s after a retry", name, r.State)
		}
	}
}

// TestFurtherClipsAreWaitedForUntilTheDeadline: a manifest that is written too late
// for a link is worth less than one without a clip that may come.
func TestFurtherClipsAreWaitedForUntilTheDeadline(t *testing.T) {
	now := time.Date(2026, 4, 7, 12, 0, 0, 0, time.UTC)
	reading := export.Reading{
		Status: "SUCCEEDED", Succeeded: true, Quiet: time.Hour,
		ExpireAt: now.Add(40 * time.Minute), Clips: []export.Clip{{Idx: 0, Link: "https://x/0"}},
	}
	r := imported(export.TaskMoments, now)
	if err := r.Answer(now, "t", r.Step, reading, now.Add(50*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if latest := now.Add(25 * time.Minute); r.Read != export.ReadSettle || !r.PollAt.Equal(latest) {
		t.Fatalf("reads for %q at %s, not at %s", r.Read, r.PollAt, latest)
	}
	if err := r.Answer(now.Add(25*time.Minute), "t", r.Step, reading, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if r.Read != export.ReadNone {
		t.Errorf("still reads for %q", r.Read)
	}

	// An export of the Clips Export API is complete at SUCCEEDED.
	r = imported(export.TaskExport, now)
	if err := r.Answer(now, "t", r.Step, reading, now); err != nil || r.Read != export.ReadNone {
		t.Errorf("reads for %q, %v", r.Read, err)
	}
}
