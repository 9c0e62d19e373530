package storage

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/s3test"
)

func mustSync(t *testing.T, a *Archive, r Receipt) {
	t.Helper()
	r.ID, r.ProjectID = "exp_1", "p"
	if r.State == "" {
		r.State = ReceiptOpen
	}
	if err := a.SyncReceipt(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t *testing.T, a *Archive) Receipt {
	t.Helper()
	r, ok, err := a.Receipt(t.Context(), "exp_1")
	if err != nil || !ok {
		t.Fatalf("%v, %v", ok, err)
	}
	return r
}

func TestAReceiptIsClosedAndOpenedForItsOwnTaskAlone(t *testing.T) {
	servers(t, func(t *testing.T, srv *s3test.Server) {
		a := newArchive(t, srv)
		mustSync(t, a, Receipt{ExportTaskID: "task-1"})
		for _, step := range []struct {
			name     string
			say      Receipt
			state    ReceiptState
			manifest string
		}{
			{"canceled", Receipt{ExportTaskID: "task-1", State: ReceiptCanceled}, ReceiptCanceled, ""},
			{"taken up again", Receipt{ExportTaskID: "task-1"}, ReceiptOpen, ""},
			{"not taken", Receipt{State: ReceiptUnsent, Settled: []string{"a"}}, ReceiptOpen, ""},
			{"closed for no task", Receipt{State: ReceiptFailed, Settled: []string{"a"}}, ReceiptOpen, ""},
			{"done", Receipt{ExportTaskID: "task-1", State: ReceiptDone, Manifest: "m1"}, ReceiptDone, "m1"},
			{"expired after it was done", Receipt{ExportTaskID: "task-1", State: ReceiptExpired}, ReceiptDone, "m1"},
			{"done once more, and the manifest not known", Receipt{ExportTaskID: "task-1", State: ReceiptDone}, ReceiptDone, "m1"},
			{"opened after it was done", Receipt{ExportTaskID: "task-1"}, ReceiptDone, "m1"},
		} {
			mustSync(t, a, step.say)
			r := mustRead(t, a)
			if r.State != step.state || (r.Closed == nil) != (step.state == ReceiptOpen) || r.Manifest != step.manifest {
				t.Errorf("%s: %s, closed %v, manifest %q", step.name, r.State, r.Closed, r.Manifest)
			}
		}
	})
}

func TestAReceiptKnowsTheTasksBeforeIt(t *testing.T) {
	a := newArchive(t, s3test.Start(t))
	for _, step := range []struct {
		name                string
		say                 Receipt
		task                string
		earlier, duplicates []string
	}{
		{"the first", Receipt{ExportTaskID: "task-1"}, "task-1", nil, nil},
		{"given up for a second", Receipt{ExportTaskID: "task-2", Earlier: []string{"task-1"}}, "task-2", []string{"task-1"}, nil},
		{"the first again, late", Receipt{ExportTaskID: "task-1"}, "task-2", []string{"task-1"}, nil},
		{"the first closed, late", Receipt{ExportTaskID: "task-1", State: ReceiptFailed}, "task-2", []string{"task-1"}, nil},
		{"a lost answer that came late", Receipt{ExportTaskID: "task-3"}, "task-3", []string{"task-1", "task-2"}, nil},
		{
			"the record's own after it",
			Receipt{ExportTaskID: "task-2", Earlier: []string{"task-1"}, Duplicates: []string{"task-3"}},
			"task-2",
			[]string{"task-1"},
			[]string{"task-3"},
		},
	} {
		mustSync(t, a, step.say)
		r := mustRead(t, a)
		if r.ExportTaskID != step.task || r.State != ReceiptOpen || !slices.Equal(r.Earlier, step.earlier) || !slices.Equal(r.Duplicates, step.duplicates) {
			t.Errorf("%s: %s, %s, earlier %v, duplicates %v", step.name, r.ExportTaskID, r.State, r.Earlier, r.Duplicates)
		}
	}
}

// Two writers of one receipt each see what the other has written.
func TestReceiptsAreChangedOneAfterTheOther(t *testing.T) {
	a := newArchive(t, s3test.Start(t))
	mustSync(t, a, Receipt{ExportTaskID: "task-0"})
	var g sync.WaitGroup
	const writers = 5
	for n := range writers {
		g.Go(func() {
			for {
				err := a.SyncReceipt(t.Context(), Receipt{ID: "exp_1", ExportTaskID: fmt.Sprint("task-", n+1), State: ReceiptOpen})
				if err == nil {
					return
				}
				if fault.ClassOf(err) != fault.Retry {
					t.Error(err)
					return
				}
			}
		})
	}
	g.Wait()
	if r := mustRead(t, a); len(r.Earlier) != writers {
		t.Errorf("of %d tasks %v and %s are known", writers+1, r.Earlier, r.ExportTaskID)
	}
}

// intent tries to write an intent over what it believes to stand.
func intent(t *testing.T, a *Archive, token string, was Receipt) bool {
	t.Helper()
	written, err := a.WriteReceipt(t.Context(), Receipt{ID: "exp_1", ProjectID: "p", Intent: token, State: ReceiptIntent}, was)
	if err != nil {
		t.Fatalf("%s: %v", token, err)
	}
	return written
}

func TestOneIntentIsWritten(t *testing.T) {
	servers(t, func(t *testing.T, srv *s3test.Server) {
		a := newArchive(t, srv)
		var g sync.WaitGroup
		var written atomic.Int64
		for n := range 5 {
			g.Go(func() {
				if intent(t, a, fmt.Sprint("token-", n), Receipt{}) {
					written.Add(1)
				}
			})
		}
		g.Wait()
		if n := written.Load(); n != 1 {
			t.Fatalf("%d of 5 intents were written", n)
		}
		first := mustRead(t, a)
		if intent(t, a, "late", Receipt{}) || mustRead(t, a).Intent != first.Intent {
			t.Error("another intent took its place")
		}
		if !intent(t, a, "next", first) || intent(t, a, "stale", first) || mustRead(t, a).Intent != "next" {
			t.Errorf("it was changed to %s", mustRead(t, a).Intent)
		}
		mustSync(t, a, Receipt{Settled: []string{"first", "late"}, State: ReceiptFailed})
		if r := mustRead(t, a); r.State != ReceiptIntent {
			t.Errorf("others came to nothing, and it says %+v", r)
		}
		mustSync(t, a, Receipt{Settled: []string{"next"}, State: ReceiptUnsent})
		if r := mustRead(t, a); r.State != ReceiptUnsent || r.Closed != nil || r.Intent != "next" {
			t.Errorf("it was not taken, and says %+v", r)
		}
		mustSync(t, a, Receipt{Settled: []string{"next", "later"}, State: ReceiptFailed})
		if r := mustRead(t, a); r.State != ReceiptFailed || r.Closed == nil || r.ExportTaskID != "" {
			t.Errorf("it came to nothing, and says %+v", r)
		}
	})
}

// Servers whose conditions can't be relied upon; each still lets a receipt change,
// and not by hundreds of tries.
func TestReceiptsOnServersWithOddConditions(t *testing.T) {
	for name, q := range map[string]quirks{
		"has none": {noConditions: true}, "creates nothing": {neverCreates: true}, "ignores them": {ignoreMatch: "put"},
		"compares ETags with quotes and all": {bareMatch: true}, "weakens ETags": {weakTags: true}, "drops ETags": {noTags: true},
	} {
		t.Run(name, func(t *testing.T) {
			a, srv := quirky(t, q)
			if !intent(t, a, "first", Receipt{}) || intent(t, a, "second", Receipt{}) {
				t.Fatal("not one intent was written")
			}
			stale := mustRead(t, a)
			mustSync(t, a, Receipt{ExportTaskID: "task-1"})
			if !q.noTags && intent(t, a, "late", stale) { // nothing tells one version from the next there
				t.Error("an intent was written over what it does not know")
			}
			before := srv.requests["put"]
			for range 5 {
				mustSync(t, a, Receipt{ExportTaskID: "task-1", State: ReceiptFailed})
				mustSync(t, a, Receipt{ExportTaskID: "task-1", State: ReceiptOpen})
			}
			if r := mustRead(t, a); r.State != ReceiptOpen || r.ExportTaskID != "task-1" {
				t.Errorf("%+v", r)
			}
			if n := srv.requests["put"] - before; n > 10 {
				t.Errorf("%d writes for 10 changes", n)
			}
		})
	}
}

// A store that takes Exp_1 and exp_1 for one must not have one export take the
// other's receipt for its own.
func TestAReceiptOfAnotherIDIsNotChanged(t *testing.T) {
	srv := s3test.Start(t)
	a := newArchive(t, srv)
	text, err := json.Marshal(Receipt{ID: "Exp_1", ExportTaskID: "task-1", State: ReceiptOpen})
	if err != nil {
		t.Fatal(err)
	}
	key := a.receiptKey("exp_1")
	if _, err := srv.Client().PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(s3test.Bucket), Key: &key, Body: strings.NewReader(string(text)),
	}); err != nil {
		t.Fatal(err)
	}
	for task, state := range map[string]ReceiptState{"task-2": ReceiptOpen, "task-1": ReceiptDone} {
		err := a.SyncReceipt(t.Context(), Receipt{ID: "exp_1", ExportTaskID: task, State: state})
		if fault.ClassOf(err) != fault.Terminal || !strings.Contains(fault.SentenceOf(err), "Exp_1") {
			t.Errorf("%s: %v", task, err)
		}
	}
	if r := mustRead(t, a); r.ID != "Exp_1" || r.State != ReceiptOpen {
		t.Errorf("%+v", r)
	}
}
