package recovery_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

// Redis has gone back to before what the receipts say.
func TestRecoverLetsRecordsCatchUpWithTheirReceipts(t *testing.T) {
	now := time.Now()
	request := tasks.Export{ProjectID: "p"}
	rendering := func(r *export.Record) error { return r.Accept(now, "task-a", "", "") }
	failed := func(r *export.Record) error {
		if err := rendering(r); err != nil {
			return err
		}
		return r.Fail(now, export.Problem{Reason: export.ReasonStepGivenUp, Detail: "given up"})
	}
	held := func(r *export.Record) error {
		return r.Lose(now, "token", now, export.Hold, export.Problem{Reason: export.ReasonAnswerLost, Detail: "lost"})
	}
	queued := func(*export.Record) error { return nil }
	canceled := func(r *export.Record) error { return r.Cancel(now) }
	for _, c := range []struct {
		name     string
		record   func(*export.Record) error
		receipt  storage.Receipt
		state    export.State
		task     string
		repaired int
		fault    string
	}{
		{"its own task", rendering, storage.Receipt{ExportTaskID: "task-a"}, export.Rendering, "task-a", 0, ""},
		{"archived since", rendering, storage.Receipt{ExportTaskID: "task-d", Earlier: []string{"task-a"}, State: storage.ReceiptDone}, export.Archived, "task-d", 1, ""},
		{"archived since it failed", failed, storage.Receipt{ExportTaskID: "task-d", State: storage.ReceiptDone}, export.Archived, "task-d", 1, ""},
		{"archived since it was held", held, storage.Receipt{ExportTaskID: "task-d", State: storage.ReceiptDone}, export.Archived, "task-d", 1, ""},
		{"done without a manifest", failed, storage.Receipt{ExportTaskID: "task-b", State: storage.ReceiptDone}, export.Failed, "task-a", 0, ""},
		{"paid for again since it failed", failed, storage.Receipt{ExportTaskID: "task-b"}, export.Rendering, "task-b", 1, ""},
		{"paid for again since it ran", rendering, storage.Receipt{ExportTaskID: "task-b", Earlier: []string{"task-a"}}, export.Rendering, "task-b", 1, ""},
		{"paid for twice", rendering, storage.Receipt{ExportTaskID: "task-b"}, export.Rendering, "task-a", 1, ""},
		{"found since it was held", held, storage.Receipt{ExportTaskID: "task-b"}, export.Rendering, "task-b", 1, ""},
		{"enqueued again", queued, storage.Receipt{ExportTaskID: "task-b", Account: "eu"}, export.Rendering, "task-b", 1, ""},
		{"enqueued again, and archived before", queued, storage.Receipt{ExportTaskID: "task-d", State: storage.ReceiptDone}, export.Archived, "task-d", 1, ""},
		{"enqueued again, and its task was given up", queued, storage.Receipt{ExportTaskID: "task-b", State: storage.ReceiptExpired}, export.Queued, "", 0, ""},
		{"enqueued again, and its order is in doubt", queued, storage.Receipt{Intent: "token", State: storage.ReceiptIntent}, export.Queued, "", 0, ""},
		{
			"another request waits under its id", queued,
			storage.Receipt{ExportTaskID: "task-b", Request: json.RawMessage(`{"project_id":"other"}`)},
			export.Rendering, "task-b", 1, "",
		},
		{"canceled", canceled, storage.Receipt{ExportTaskID: "task-b"}, export.Canceled, "", 0, ""},
		{
			"another request", failed,
			storage.Receipt{ExportTaskID: "task-b", Request: json.RawMessage(`{"project_id":"other"}`)},
			export.Failed, "task-a", 0, "different request",
		},
		{
			"another request, which is over", failed,
			storage.Receipt{ExportTaskID: "task-d", State: storage.ReceiptDone, Request: json.RawMessage(`{"project_id":"other"}`)},
			export.Failed, "task-a", 0, "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newRig(t)
			r := export.New("a", request.Body(), request.Digest(), "p", now)
			if err := c.record(r); err != nil {
				t.Fatal(err)
			}
			if _, err := d.ledger.Create(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			receipt := c.receipt
			receipt.ID, receipt.ProjectID, receipt.Submitted = "a", "p", now.Add(-time.Hour)
			if receipt.Request == nil {
				receipt.Request = request.Body()
			}
			if receipt.State == "" {
				receipt.State = storage.ReceiptOpen
			}
			for try := range 2 { // the second time changes nothing
				done, err := d.Recover(t.Context(), receipts{receipt}, nil)
				if (err != nil) != (c.fault != "") || err != nil && !strings.Contains(err.Error(), c.fault) {
					t.Fatal(err)
				}
				if want := c.repaired * (1 - try); done.Repaired != want {
					t.Errorf("run %d: repaired %d, want %d", try+1, done.Repaired, want)
				}
			}
			got, err := d.ledger.Load(t.Context(), "a")
			if err == nil && got.Account != receipt.Account {
				t.Errorf("account %q", got.Account)
			}
			if err != nil || got.State != c.state || got.ExportTaskID != c.task {
				t.Errorf("%s as %q, want %s as %q (%v)", got.State, got.ExportTaskID, c.state, c.task, err)
			}
		})
	}
}
