package notify

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/worker"
)

var (
	_ worker.Deliverer = (*Notifier)(nil)
	_ Ledger           = (*ledger.Ledger)(nil)
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestTheEventIsAsDocumented: receivers rely on its form.
func TestTheEventIsAsDocumented(t *testing.T) {
	f := newFixture(t)
	if err := f.Ended(t.Context(), f.archived("order-17", `{"task_type":"video:exported"}`)); err != nil {
		t.Fatal(err)
	}
	infos := f.in("default")
	if len(infos) != 1 {
		t.Fatalf("%d tasks", len(infos))
	}
	var pretty strings.Builder
	enc := json.NewEncoder(&pretty)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(json.RawMessage(infos[0].Payload)); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/export.archived.json"
	if *update {
		if err := os.WriteFile(golden, []byte(pretty.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if pretty.String() != string(want) {
		t.Errorf("the event has changed; if that is meant, run with -update:\n%s", pretty.String())
	}
	page, err := os.ReadFile("../../docs/notifications.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), strings.TrimSpace(string(want))) {
		t.Error("docs/notifications.md shows another event than the golden file")
	}
	if strings.Contains(pretty.String(), "hush") || strings.Contains(pretty.String(), "cdn.example.com") {
		t.Error("a link of the provider's is in it")
	}
}

func TestAProducersOwnTask(t *testing.T) {
	f := newFixture(t)
	r := f.archived("order-17", `{"task_type":"video:exported","queue":"videos"}`)
	for range 3 { // at least once, and no flood
		if err := f.Ended(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	infos := f.in("videos")
	if len(infos) != 1 || infos[0].Type != "video:exported" || infos[0].ID != eventID(r) || infos[0].Headers["traceparent"] != "00-abc" {
		t.Fatalf("%+v", infos)
	}
	// Done and gone from its queue: still not told again.
	if err := f.inspect.DeleteTask("videos", infos[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := f.Ended(t.Context(), r); err != nil || len(f.in("videos")) != 0 {
		t.Errorf("told again (%v)", err)
	}
	if len(f.outcomes) != 1 || f.outcomes[0] != Enqueued {
		t.Errorf("outcomes %v", f.outcomes)
	}
}

func TestWhatIsToldAndWhatNot(t *testing.T) {
	for state, want := range map[export.State]string{
		export.Archived: "export.archived", export.Failed: "export.failed", export.Expired: "export.expired", export.Held: "export.held",
		export.Canceled: "", export.Queued: "", export.Submitting: "", export.Rendering: "", export.Mirroring: "",
	} {
		f := newFixture(t)
		r := export.New("a", nil, "d", "p", t0)
		r.State, r.Notify = state, []byte(`{"task_type":"t"}`)
		f.store(r)
		if err := f.Ended(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, info := range f.in("default") {
			var e event
			if err := json.Unmarshal(info.Payload, &e); err != nil {
				t.Fatal(err)
			}
			got += e.Type
		}
		if got != want {
			t.Errorf("%s is told as %q, want %q", state, got, want)
		}
	}
}

// TestEachEndIsAnEvent: taken up again and ended again is told again, while late
// news of a final export is not.
func TestEachEndIsAnEvent(t *testing.T) {
	f := newFixture(t)
	r := export.New("a", nil, "d", "p", t0)
	r.Notify = []byte(`{"task_type":"t"}`)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.Accept(t0, "task", "", "CREATED"))
	must(r.Answer(t0, r.ExportTaskID, r.Step, export.Reading{Status: "ONGOING", Clips: []export.Clip{{Idx: 0, Link: "l"}}}, t0))
	must(r.Fail(t0, export.Problem{Reason: export.ReasonStepGivenUp, Detail: "first"}))
	first := eventID(r)
	must(r.ClipDone(t0.Add(time.Minute), r.ExportTaskID, 0, 1, export.Object{Key: "k"}, nil, ""))
	must(r.Accept(t0.Add(2*time.Minute), "duplicate", "", ""))
	r.ReceiptWritten(export.ReceiptOpen)
	if eventID(r) != first {
		t.Error("late news made another event")
	}
	must(r.Retry(t0, export.RetryOptions{}))
	must(r.Fail(t0, export.Problem{Reason: export.ReasonStepGivenUp, Detail: "second"}))
	if eventID(r) == first {
		t.Error("the second end has the first one's id")
	}
	f.store(r)
	must(f.Ended(t.Context(), r))
	must(f.Ended(t.Context(), r))
	if n := len(f.in("default")); n != 1 {
		t.Errorf("%d tasks", n)
	}
}

// TestAStepThatKnowsOneClipTellsOfAll: mirror steps load just their clip.
func TestAStepThatKnowsOneClipTellsOfAll(t *testing.T) {
	f := newFixture(t)
	f.archived("a", `{"task_type":"t"}`)
	r, err := f.ledger.LoadClip(t.Context(), "a", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Ended(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	var e event
	if err := json.Unmarshal(f.in("default")[0].Payload, &e); err != nil || len(e.Data.Clips) != 2 {
		t.Errorf("%d clips (%v)", len(e.Data.Clips), err)
	}
}

func TestTakenUpAgainMeanwhile(t *testing.T) {
	f := newFixture(t)
	r := export.New("a", nil, "d", "p", t0)
	r.Notify, r.State, r.ClipCount = []byte(`{"task_type":"t"}`), export.Queued, 1
	f.store(r)
	late := *r
	late.State = export.Failed
	if err := f.Ended(t.Context(), &late); err != nil || len(f.in("default")) != 0 {
		t.Errorf("told (%v)", err)
	}
}

func TestNobodyAsked(t *testing.T) {
	f := newFixture(t)
	_ = f.rdb.Close() // it is not even asked
	if err := f.Ended(t.Context(), &export.Record{ID: "a", State: export.Archived}); err != nil {
		t.Error(err)
	}
	r := &export.Record{ID: "a", State: export.Archived, Notify: []byte(`{"task_type":"t"}`)}
	if err := f.Ended(t.Context(), r); err == nil {
		t.Error("a Redis that fails is not told")
	}
}

func TestAWebhookWithoutASecret(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Secrets = nil })
	r := f.archived("a", `{"webhook":"https://hooks.example.com/T0/hush"}`)
	for range 3 {
		if err := f.Ended(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.in(queue.Notify)) != 0 || len(f.outcomes) != 1 || f.outcomes[0] != Unsigned {
		t.Errorf("outcomes %v", f.outcomes)
	}
	if log := f.log.String(); strings.Count(log, "CLIPFERRY_WEBHOOK_SECRETS") != 1 || strings.Contains(log, "hush") {
		t.Errorf("log %s", log)
	}
}

func TestWrongOptions(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("empty options are accepted")
	}
	f := newFixture(t)
	for s, want := range map[string]string{
		"hunter2": "must start with whsec_", "whsec_hunter2": "must be base64", "whsec_aHVudGVyMg==": "must be 24 to 64 bytes in base64 after whsec_, not 7",
		"whsec_" + strings.Repeat("AAAA", 22): "not 66",
	} {
		_, err := New(Options{Redis: f.rdb, Ledger: f.ledger, Logger: f.Notifier.log, Secrets: []string{testSecret, s}})
		if err == nil || !strings.Contains(err.Error(), "webhook secret 2 "+want) && !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", s, err)
		}
		if CheckSecret(s) == nil {
			t.Errorf("%s passes the check", s)
		}
	}
	if err := CheckSecret(testSecret); err != nil {
		t.Error(err)
	}
}

// failingLedger is a ledger whose Redis fails.
type failingLedger struct{ Ledger }

func (failingLedger) LoadHead(context.Context, string) (*export.Record, error) {
	return nil, errors.New("redis: connection refused")
}

// Redis was lost, the producer enqueued its job id again, and the export is found
// to be archived: the receiver must know that it has heard of it.
func TestAnEndHasTheSameIDAfterALossOfRedis(t *testing.T) {
	first := export.New("a", []byte(`{"project_id":"p"}`), "d", "p", t0)
	for _, err := range []error{
		first.Intend(t0, "x"), first.Accept(t0, "task-1", "", ""),
		first.Answer(t0, "task-1", first.Step, export.Reading{Status: "SUCCEEDED", Succeeded: true, Clips: []export.Clip{{Idx: 0, Link: "l"}}}, t0),
		first.ClipDone(t0, "task-1", 0, 1, export.Object{Key: "k", Size: 1}, nil, ""), first.Seal(t0, "m"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	again := export.New("a", []byte(`{"project_id":"p"}`), "d", "p", t0)
	if err := again.Restore(t0, "task-1", "m", []export.Clip{{Idx: 0}}); err != nil {
		t.Fatal(err)
	}
	if eventID(first) != eventID(again) {
		t.Errorf("the same end is told as %s and as %s", eventID(first), eventID(again))
	}
	if err := again.Accept(t0, "task-2", "", ""); err != nil { // a duplicate says nothing new
		t.Fatal(err)
	}
	if eventID(first) != eventID(again) {
		t.Error("a duplicate has changed the id")
	}
}
