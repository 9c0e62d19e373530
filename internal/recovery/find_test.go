package recovery_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/recovery"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

// one is an archive with one receipt, and with the manifest of task-d.
type one struct {
	receipts
	receipt storage.Receipt
	err     error
	refuses int // writes that somebody else's come before
}

func (o *one) Receipt(context.Context, string) (storage.Receipt, bool, error) {
	return o.receipt, o.receipt.ID != "", o.err
}

func (o *one) WriteReceipt(_ context.Context, r, was storage.Receipt) (bool, error) {
	if o.refuses > 0 || was.ID != o.receipt.ID {
		o.refuses--
		return false, o.err
	}
	o.receipt = r
	return true, o.err
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// What S3 says, against what the record says: the whole decision.
func TestWhatFollowsFromAReceipt(t *testing.T) {
	request, another := tasks.Export{ProjectID: "p"}, tasks.Export{ProjectID: "other"}
	none := func(*export.Record) error { return nil }
	settled := func(r *export.Record) error { r.Unsent("token", true); return nil }
	given := func(r *export.Record) error { r.Previous = []string{"task-a"}; return nil }
	sent := func(r *export.Record) error {
		return errors.Join(r.Intend(noon, "own"), r.PutBack(noon, "own", noon, export.Problem{}))
	}
	intent := storage.Receipt{Intent: "token", State: storage.ReceiptIntent}
	task := func(s storage.ReceiptState) storage.Receipt { return storage.Receipt{ExportTaskID: "task-a", State: s} }
	other := func(r storage.Receipt) storage.Receipt {
		r.Request = another.Body()
		return r
	}
	answered := storage.Receipt{Intent: "token", State: storage.ReceiptIntent, Answer: "{}"}
	foreign, broken := intent, task(storage.ReceiptOpen)
	foreign.ID = "A"
	broken.Request = json.RawMessage(`{"project_id":7}`)
	const hold, settle, adopt = recovery.Hold, recovery.Settle, recovery.Adopt
	const send, recall, refuse, yield = recovery.Send, recovery.Recall, recovery.Refuse, recovery.Yield
	for _, c := range []struct {
		name    string
		record  func(*export.Record) error
		receipt storage.Receipt
		says    recovery.Says
		// what follows for an export in the queue, by policy, and for one that was sent
		resubmit, hold, sent recovery.Action
	}{
		{"nothing", none, storage.Receipt{}, recovery.Nothing, send, send, settle},
		{"an intent that was not sent", settled, intent, recovery.Settled, send, send, settle},
		{"an intent that came to nothing", none, storage.Receipt{Intent: "x", State: storage.ReceiptFailed}, recovery.Settled, send, send, settle},
		{"an intent that was not taken", none, storage.Receipt{Intent: "x", State: storage.ReceiptUnsent}, recovery.Settled, send, send, settle},
		{"a task that was given up", given, task(storage.ReceiptFailed), recovery.Settled, send, send, settle},
		{"an intent", none, intent, recovery.InDoubt, recall, recall, settle},
		{"an intent that was accepted as nobody knows what", none, answered, recovery.Accepted, recall, recall, hold},
		{"a task", none, task(storage.ReceiptOpen), recovery.Paid, adopt, adopt, adopt},
		{"a task that ended", none, task(storage.ReceiptExpired), recovery.Paid, adopt, adopt, adopt},
		{"another's intent", none, other(intent), recovery.OtherInDoubt, send, yield, settle},
		{"another's intent that was accepted as nobody knows what", none, other(answered), recovery.OtherPaid, yield, yield, settle},
		{"another's acceptance, after it was sent itself", sent, other(answered), recovery.OtherPaid, refuse, refuse, settle},
		{"another's task", none, other(task(storage.ReceiptOpen)), recovery.OtherPaid, yield, yield, settle},
		{"another's task that ended", none, other(task(storage.ReceiptDone)), recovery.OtherOver, refuse, refuse, settle},
		{"another's intent, after it was sent itself", sent, other(intent), recovery.OtherInDoubt, send, refuse, settle},
		{"another's task, after it was sent itself", sent, other(task(storage.ReceiptOpen)), recovery.OtherPaid, refuse, refuse, settle},
		{"another's task, after one of its own was given up", given, other(storage.Receipt{ExportTaskID: "task-b", State: storage.ReceiptOpen}), recovery.OtherPaid, refuse, refuse, settle},
		{"of another id", none, foreign, recovery.Foreign, refuse, refuse, settle},
		{"unreadable", none, broken, recovery.Unreadable, refuse, refuse, hold},
	} {
		t.Run(c.name, func(t *testing.T) {
			for column, want := range []recovery.Action{c.resubmit, c.hold, c.sent} {
				r := export.New("a", request.Body(), request.Digest(), "p", noon)
				if err := c.record(r); err != nil {
					t.Fatal(err)
				}
				policy := export.Resubmit
				if column == 1 {
					policy = export.Hold
				}
				if column == 2 {
					if err := r.Intend(noon, "mine"); err != nil {
						t.Fatal(err)
					}
				}
				archive := &one{receipt: c.receipt}
				if archive.receipt.State != "" && archive.receipt.ID == "" {
					archive.receipt.ID = "a"
				}
				if archive.receipt.Request == nil {
					archive.receipt.Request = request.Body()
				}
				f, err := recovery.Find(t.Context(), archive, r, "", policy, noon)
				if err != nil || f.Says != c.says || f.Action != want {
					t.Errorf("column %d: %s, so %s; want %s, so %s (%v)", column, f.Says, f.Action, c.says, want, err)
				}
				if !f.Problem.None() != (want == refuse || c.says == recovery.OtherOver || c.says == recovery.Foreign || c.says == recovery.Unreadable || c.says == recovery.Accepted) {
					t.Errorf("column %d: problem %+v", column, f.Problem)
				}
			}
		})
	}
}

func TestWhatIsFoundIsApplied(t *testing.T) {
	request, another := tasks.Export{ProjectID: "p"}, tasks.Export{ProjectID: "other"}
	for _, c := range []struct {
		name    string
		receipt storage.Receipt
		request tasks.Export
		policy  export.Policy
		state   export.State
		task    string
	}{
		{"archived", storage.Receipt{ExportTaskID: "task-d", State: storage.ReceiptOpen}, request, export.Hold, export.Archived, "task-d"},
		{"running", storage.Receipt{ExportTaskID: "task-a", State: storage.ReceiptOpen}, request, export.Hold, export.Rendering, "task-a"},
		{"in doubt, held", storage.Receipt{Intent: "x", State: storage.ReceiptIntent}, request, export.Hold, export.Held, ""},
		{"in doubt, sent again", storage.Receipt{Intent: "x", State: storage.ReceiptIntent}, request, export.Resubmit, export.Queued, ""},
		{"another's, accepted as nobody knows what", storage.Receipt{Intent: "x", Answer: "{}", State: storage.ReceiptIntent}, another, export.Resubmit, export.Held, ""},
		{"another's, running", storage.Receipt{ExportTaskID: "task-a", State: storage.ReceiptOpen}, another, export.Hold, export.Rendering, "task-a"},
		{"another's, over", storage.Receipt{ExportTaskID: "task-a", State: storage.ReceiptFailed}, another, export.Hold, export.Failed, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := export.New("a", request.Body(), request.Digest(), "p", noon)
			c.receipt.ID, c.receipt.ProjectID, c.receipt.Request = "a", c.request.ProjectID, c.request.Body()
			f, err := recovery.Find(t.Context(), &one{receipt: c.receipt}, r, "", c.policy, noon)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Apply(r, noon, c.policy); err != nil {
				t.Fatal(err)
			}
			wanted := request.ProjectID
			if f.Action == recovery.Yield {
				wanted = another.ProjectID
			}
			if r.State != c.state || r.ExportTaskID != c.task || r.ProjectID != wanted {
				t.Errorf("%s as %q of project %s", r.State, r.ExportTaskID, r.ProjectID)
			}
			if c.state == export.Queued {
				if f, err := recovery.Find(t.Context(), &one{receipt: c.receipt}, r, "", c.policy, noon); err != nil || f.Action != recovery.Send {
					t.Errorf("after the doubt was settled: %s, %v", f.Action, err)
				}
			}
		})
	}
}

func TestAnIntentIsWrittenAhead(t *testing.T) {
	request := tasks.Export{ProjectID: "p"}
	down := fault.New(fault.Retry, "S3 is down", nil)
	mine := storage.Receipt{ID: "a", ProjectID: "p", Request: request.Body(), Intent: "mine"}
	standing := func(r storage.Receipt) storage.Receipt {
		r.ID, r.Request = "a", request.Body()
		return r
	}
	for _, c := range []struct {
		name    string
		archive one
		settled string
		action  recovery.Action
		stands  string // the intent
	}{
		{"nothing stands", one{}, "", recovery.Send, "mine"},
		{"its own, written before its answer was lost", one{receipt: standing(mine)}, "", recovery.Send, "mine"},
		{"an earlier one of its own", one{receipt: standing(storage.Receipt{Intent: "before", State: storage.ReceiptIntent})}, "before", recovery.Send, "mine"},
		{
			"an earlier one, and somebody writes at the same time",
			one{receipt: standing(storage.Receipt{Intent: "before", State: storage.ReceiptIntent}), refuses: 2},
			"before", recovery.Send, "mine",
		},
		{"another's", one{receipt: standing(storage.Receipt{Intent: "lost", State: storage.ReceiptIntent})}, "", recovery.Recall, "lost"},
		{"S3 is down", one{err: down}, "", "", ""},
		{"somebody writes all the time", one{receipt: standing(storage.Receipt{Intent: "before", State: storage.ReceiptIntent}), refuses: 99}, "before", "", "before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := export.New("a", request.Body(), request.Digest(), "p", noon)
			r.Unsent(c.settled, true)
			f, err := recovery.WriteAhead(t.Context(), &c.archive, r, mine, export.Hold, noon)
			if (err != nil) != (c.action == "") || err == nil && f.Action != c.action {
				t.Errorf("%s, %v", f.Action, err)
			}
			if c.archive.err != nil {
				if !errors.Is(err, down) {
					t.Errorf("%v", err)
				}
				return
			}
			if got := c.archive.receipt.Intent; got != c.stands {
				t.Errorf("%q stands", got)
			}
		})
	}
}
