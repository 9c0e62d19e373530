package storage

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/s3test"
)

func mustPut(t *testing.T, a *Archive, r Receipt) {
	t.Helper()
	r.ID, r.ProjectID = "exp_1", "p"
	if err := a.PutReceipt(t.Context(), r); err != nil {
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
		closes := func(task string, outcome ReceiptState, manifest string) func() error {
			return func() error { return a.CloseReceipt(t.Context(), "exp_1", task, outcome, manifest) }
		}
		reopens := func(task string) func() error {
			return func() error { return a.ReopenReceipt(t.Context(), "exp_1", task) }
		}
		mustPut(t, a, Receipt{ExportTaskID: "task-1"})
		for _, step := range []struct {
			name  string
			do    func() error
			state ReceiptState
		}{
			{"canceled", closes("task-1", ReceiptCanceled, ""), ReceiptCanceled},
			{"opened for another task", reopens("task-2"), ReceiptCanceled},
			{"taken up again", reopens("task-1"), ReceiptOpen},
			{"closed for another task", closes("task-2", ReceiptDone, "m2"), ReceiptOpen},
			{"closed for no task", closes("", ReceiptFailed, ""), ReceiptOpen},
			{"done", closes("task-1", ReceiptDone, "m1"), ReceiptDone},
			{"expired after it was done", closes("task-1", ReceiptExpired, ""), ReceiptDone},
			{"done once more, and the manifest not known", closes("task-1", ReceiptDone, ""), ReceiptDone},
			{"opened after it was done", reopens("task-1"), ReceiptDone},
		} {
			if err := step.do(); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
			r := mustRead(t, a)
			if r.State != step.state || (r.Closed == nil) != (step.state == ReceiptOpen) {
				t.Errorf("%s: %s, closed %v", step.name, r.State, r.Closed)
			}
		}
		if r := mustRead(t, a); r.Manifest != "m1" {
			t.Errorf("manifest %q", r.Manifest)
		}
	})
}

func TestAReceiptKnowsTheTasksBeforeIt(t *testing.T) {
	a := newArchive(t, s3test.Start(t))
	for _, step := range []struct {
		name                string
		put                 Receipt
		task                string
		earlier, duplicates []string
	}{
		{"the first", Receipt{ExportTaskID: "task-1"}, "task-1", nil, nil},
		{"given up for a second", Receipt{ExportTaskID: "task-2", Earlier: []string{"task-1"}}, "task-2", []string{"task-1"}, nil},
		{"the first again, late", Receipt{ExportTaskID: "task-1"}, "task-2", []string{"task-1"}, nil},
		{"a lost answer that came late", Receipt{ExportTaskID: "task-3"}, "task-3", []string{"task-1", "task-2"}, nil},
		{
			"the record's own after it",
			Receipt{ExportTaskID: "task-2", Earlier: []string{"task-1"}, Duplicates: []string{"task-3"}},
			"task-2",
			[]string{"task-1"},
			[]string{"task-3"},
		},
	} {
		mustPut(t, a, step.put)
		r := mustRead(t, a)
		if r.ExportTaskID != step.task || !slices.Equal(r.Earlier, step.earlier) || !slices.Equal(r.Duplicates, step.duplicates) {
			t.Errorf("%s: %s, earlier %v, duplicates %v", step.name, r.ExportTaskID, r.Earlier, r.Duplicates)
		}
	}
}

// Two writers of one receipt each see what the other has written.
func TestReceiptsAreChangedOneAfterTheOther(t *testing.T) {
	a := newArchive(t, s3test.Start(t))
	mustPut(t, a, Receipt{ExportTaskID: "task-0"})
	var g sync.WaitGroup
	const writers = 5
	for n := range writers {
		g.Go(func() {
			for {
				err := a.PutReceipt(t.Context(), Receipt{ID: "exp_1", ExportTaskID: fmt.Sprint("task-", n+1)})
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

func TestReceiptsOnAServerWithoutConditionalWrites(t *testing.T) {
	srv := s3test.Start(t)
	refused := 0
	proxied := newS3Proxy(t, srv, func(_ string, _ int, w http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) bool {
		if r.Header.Get("If-Match") == "" && r.Header.Get("If-None-Match") == "" {
			return false
		}
		refused++
		w.WriteHeader(http.StatusNotImplemented)
		_, _ = fmt.Fprint(w, `<Error><Code>NotImplemented</Code></Error>`)
		return true
	})
	a := untested(newArchive(t, srv, func(o *Options) { o.Client = srv.ClientAt(proxied) }))
	mustPut(t, a, Receipt{ExportTaskID: "task-1"})
	if err := a.CloseReceipt(t.Context(), "exp_1", "task-1", ReceiptFailed, ""); err != nil {
		t.Fatal(err)
	}
	if r := mustRead(t, a); r.State != ReceiptFailed || refused == 0 {
		t.Errorf("%s after %d refusals", r.State, refused)
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
	for name, err := range map[string]error{
		"put":   a.PutReceipt(t.Context(), Receipt{ID: "exp_1", ExportTaskID: "task-2"}),
		"close": a.CloseReceipt(t.Context(), "exp_1", "task-1", ReceiptDone, "m"),
	} {
		if fault.ClassOf(err) != fault.Terminal || !strings.Contains(fault.SentenceOf(err), "Exp_1") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r := mustRead(t, a); r.ID != "Exp_1" || r.State != ReceiptOpen {
		t.Errorf("%+v", r)
	}
}

func TestADoubtStandsUntilItsRequestIsKnownAbout(t *testing.T) {
	a := newArchive(t, s3test.Start(t))
	doubt := func(intent, settled string, knows ...string) error {
		return a.PutDoubt(t.Context(), Receipt{ID: "exp_1", ProjectID: "p", Intent: intent, Earlier: knows}, settled)
	}
	for _, step := range []struct {
		name  string
		do    func() error
		state ReceiptState
		task  string
		fails bool
	}{
		{"sent", func() error { return doubt("a", "") }, ReceiptDoubt, "", false},
		{"another was not taken", func() error { return a.ClearDoubt(t.Context(), "exp_1", "b") }, ReceiptDoubt, "", false},
		{"not taken", func() error { return a.ClearDoubt(t.Context(), "exp_1", "a") }, ReceiptVoid, "", false},
		{"sent again", func() error { return doubt("b", "") }, ReceiptDoubt, "", false},
		{"by another at the same time", func() error { return doubt("c", "a") }, ReceiptDoubt, "", true},
		{"after its end was known", func() error { return doubt("c", "b") }, ReceiptDoubt, "", false},
		{"closed for no task", func() error { return a.CloseReceipt(t.Context(), "exp_1", "", ReceiptFailed, "") }, ReceiptDoubt, "", false},
		{"taken", func() error { return a.PutReceipt(t.Context(), Receipt{ID: "exp_1", ExportTaskID: "task-1"}) }, ReceiptOpen, "task-1", false},
		{"not taken, it is said late", func() error { return a.ClearDoubt(t.Context(), "exp_1", "c") }, ReceiptOpen, "task-1", false},
		{"sent by somebody who knows nothing of it", func() error { return doubt("d", "c") }, ReceiptOpen, "task-1", true},
		{"sent after it was given up", func() error { return doubt("e", "", "task-1") }, ReceiptDoubt, "", false},
	} {
		if err := step.do(); (err != nil) != step.fails {
			t.Fatalf("%s: %v", step.name, err)
		}
		if r := mustRead(t, a); r.State != step.state || r.ExportTaskID != step.task {
			t.Errorf("%s: %s of task %q", step.name, r.State, r.ExportTaskID)
		}
	}
	if r := mustRead(t, a); !slices.Equal(r.Earlier, []string{"task-1"}) {
		t.Errorf("earlier %v", r.Earlier)
	}
}
