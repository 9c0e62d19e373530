package worker_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

func TestAnExportGoesAllTheWay(t *testing.T) {
	r := newRig(t)
	r.provider.clips, r.provider.readsFor = 3, 3
	r.work()
	r.work() // a fleet of two
	id := r.enqueue(tasks.Export{
		JobID: "order-1", ProjectID: "proj", Resolution: "HD_720", Extra: tasks.Fields{"reframe_layout": json.RawMessage(`"Auto"`)},
		Labels: tasks.Labels{"show": "42"},
	})
	rec := r.awaitState(id, export.Archived)

	if n := r.provider.submits(); n != 1 {
		t.Errorf("submitted %d times", n)
	}
	const body = `{"project_id":"proj","resolution":"HD_720","reframe_layout":"Auto"}`
	if got := string(r.provider.accepted[0]); got != body {
		t.Errorf("sent %s", got)
	}
	if len(rec.Clips) != 3 || rec.ExportTaskID != "task-1" || rec.CostUsage != 48 || rec.Polls != 3 {
		t.Errorf("record: %+v", rec)
	}
	for idx, c := range rec.Clips {
		r.archived(c, r.provider.file("task-1", idx))
	}
	m, found, err := r.archive.ReadManifest(t.Context(), rec.Manifest)
	must(t, err)
	if !found || len(m.Clips) != 3 || string(m.Answer) == "" || m.ID != id || !sameJSON(m.Request, body) || m.Labels["show"] != "42" {
		t.Errorf("manifest: %+v", m)
	}
	r.await(id, "closed", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptDone })
	receipt, _, err := r.archive.Receipt(t.Context(), id)
	must(t, err)
	if receipt.State != storage.ReceiptDone || receipt.Manifest != rec.Manifest || !sameJSON(receipt.Request, body) || receipt.Labels["show"] != "42" {
		t.Errorf("receipt: %+v", receipt)
	}
	open, err := r.ledger.Open(t.Context())
	must(t, err)
	if len(open) != 0 {
		t.Errorf("still in care: %v", open)
	}
	kept, err := r.rdb.HGetAll(t.Context(), ledger.Key(id)).Result()
	must(t, err)
	if text := fmt.Sprint(kept); kept["answer"] != "" || strings.Contains(text, "secret-") {
		t.Errorf("an archived export still keeps its links: %s", text)
	}
}

func sameJSON(got json.RawMessage, want string) bool {
	var compact bytes.Buffer
	return json.Compact(&compact, got) == nil && compact.String() == want
}

// Whoever takes a manifest for the whole is told what of the provider's answer
// could not be used.
func TestTheManifestTellsOfWhatCouldNotBeUsed(t *testing.T) {
	r := newRig(t)
	r.provider.read = func(_ int, task *provider.Task) error {
		task.Raw = json.RawMessage(`{"status":"SUCCEEDED","clips":[{"idx":0},{"idx":1,"score":"high"}]}`)
		for i := range task.Clips {
			task.Clips[i].Tags = nil
		}
		return nil
	}
	r.work()
	rec := r.awaitState(r.enqueue(tasks.Export{ProjectID: "proj", TargetLang: "klingon"}), export.Archived)
	m, _, err := r.archive.ReadManifest(t.Context(), rec.Manifest)
	must(t, err)
	if len(m.Warnings) != 2 || !strings.Contains(m.Warnings[0], "target_lang") || !strings.Contains(m.Warnings[1], "clip 1: score") {
		t.Errorf("warnings: %q", m.Warnings)
	}
	for _, c := range m.Clips {
		if c.Tags == nil {
			t.Error("tags are null where the provider gave none; who reads them counts on a list")
		}
	}
}

func TestPartialResultsAreMirroredAtOnce(t *testing.T) {
	r := newRig(t)
	r.provider.clips, r.provider.readsFor = 2, 1000 // never done: at read 500 the first clip is there
	r.provider.read = func(n int, task *provider.Task) error {
		task.Clips = task.Clips[:0]
		path := "/task-1/0.mp4"
		r.provider.files[path] = film("task-1", 0, 9000)
		task.Clips = append(task.Clips, provider.Clip{Idx: 0, Title: "first", ExportLink: r.provider.cdn.URL + path})
		return nil
	}
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	rec := r.await(id, "one clip archived", func(rec *export.Record) bool { return rec.ArchivedCount == 1 })
	if rec.State != export.Rendering {
		t.Errorf("state %s", rec.State)
	}
}

func TestASubmitThatIsRefusedForATimeIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"not sent":    refusal(provider.NotSent, fault.Retry, "no connection"),
		"rate":        refusal(provider.RateLimited, fault.Retry, "429"),
		"unavailable": refusal(provider.Unavailable, fault.Retry, "503"),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			failed := false
			r.provider.submit = func(int, json.RawMessage) error {
				if !failed {
					failed = true
					return err
				}
				return nil
			}
			r.waitsForNothing()
			r.work()
			id := r.enqueue(tasks.Export{ProjectID: "proj"})
			rec := r.awaitState(id, export.Archived)
			if rec.Attempts != 2 || r.provider.submits() != 1 || rec.Doubts != 0 {
				t.Errorf("attempts %d, accepted %d, doubts %d", rec.Attempts, r.provider.submits(), rec.Doubts)
			}
		})
	}
}

func TestASubmitThatIsRejectedFailsAndSaysWhy(t *testing.T) {
	r := newRig(t)
	r.provider.submit = func(int, json.RawMessage) error {
		const why = "the provider rejects the request: project unknown"
		return fault.New(fault.Terminal, why, &provider.Error{Kind: provider.Rejected, Op: "test", Message: why, Specific: true, TraceID: "trace-1"})
	}
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "nope"})
	rec := r.awaitState(id, export.Failed)
	if v := view.Of(rec, view.CLI); v.TraceID != "trace-1" {
		t.Errorf("the provider's trace_id: %q", v.TraceID)
	}
	if !strings.Contains(view.Sentence(rec, view.CLI), "project unknown") {
		t.Errorf("error: %s", view.Sentence(rec, view.CLI))
	}
	r.await(id, "without a slot", func(*export.Record) bool { // freed once the failure is recorded
		slots, err := r.options.Accounts["default"].Gate.Slots(t.Context())
		must(t, err)
		return len(slots) == 0
	})
}

func TestAnAnswerLostIsSettledByPolicy(t *testing.T) {
	t.Parallel()
	lost := refusal(provider.InDoubt, fault.Terminal, "the answer was lost")
	for policy, c := range map[export.Policy]struct {
		state   export.State
		submits int
	}{export.Resubmit: {export.Archived, 2}, export.Hold: {export.Held, 1}} {
		t.Run(string(policy), func(t *testing.T) {
			r := newRig(t)
			r.options.InDoubt = policy
			r.provider.submit = func(n int, _ json.RawMessage) error {
				if n == 1 {
					return lost
				}
				return nil
			}
			r.work()
			id := r.enqueue(tasks.Export{ProjectID: "proj"})
			rec := r.awaitState(id, c.state)
			if r.provider.submits() != c.submits || rec.Doubts != 1 {
				t.Errorf("sent %d times, %d doubts", r.provider.submits(), rec.Doubts)
			}
			if policy != export.Hold {
				return
			}
			if !strings.Contains(view.Sentence(rec, view.CLI), "--submitted-as") {
				t.Errorf("error does not say how to go on: %s", view.Sentence(rec, view.CLI))
			}
			_, err := r.admin.Retry(t.Context(), id, export.RetryOptions{SubmittedAs: "task-1"})
			must(t, err)
			if rec = r.awaitState(id, export.Archived); rec.ExportTaskID != "task-1" || r.provider.submits() != 1 {
				t.Errorf("task %s after %d submits", rec.ExportTaskID, r.provider.submits())
			}
		})
	}
}

// An acceptance that nobody can read is paid for; whatever the policy, it is left
// to a person.
func TestAnAcceptanceWithoutAnIDIsNeverSentAgain(t *testing.T) {
	r := newRig(t)
	r.provider.submit = func(int, json.RawMessage) error {
		return fault.New(fault.Terminal, "accepted", &provider.Error{Kind: provider.AcceptedUnknown, Op: "submit", Status: 200, Answer: `{"result":"x1"}`})
	}
	r.work()
	rec := r.awaitState(r.enqueue(tasks.Export{ProjectID: "proj"}), export.Held)
	if rec.Attempts != 1 || !strings.Contains(view.Sentence(rec, view.CLI), `{"result":"x1"}`) {
		t.Errorf("%d attempts: %s", rec.Attempts, view.Sentence(rec, view.CLI))
	}
}

func TestALinkThatDiedIsReplaced(t *testing.T) {
	r := newRig(t)
	r.provider.clips, r.provider.readsFor = 3, 1
	r.provider.dead = map[string]bool{
		"/task-1/0.mp4?signature=secret-0": true, "/task-1/2.mp4?signature=secret-0": true,
	}
	r.provider.read = func(n int, task *provider.Task) error {
		r.provider.generation = n // fresh links from the next read on
		return nil
	}
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	rec := r.awaitState(id, export.Archived)
	if rec.Polls > 3 { // one, and one refresh for both clips; a second where they died apart
		t.Errorf("%d reads", rec.Polls)
	}
	for idx, c := range rec.Clips {
		r.archived(c, r.provider.file("task-1", idx))
	}
}

func TestSucceededWithoutALinkIsReadAgain(t *testing.T) {
	r := newRig(t)
	r.waitsForNothing()
	r.provider.readsFor = 1
	r.provider.read = func(n int, task *provider.Task) error {
		if n <= 2 {
			task.Clips[1].ExportLink = ""
		}
		return nil
	}
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	if rec := r.awaitState(id, export.Archived); rec.Polls != 3 {
		t.Errorf("%d reads", rec.Polls)
	}
}

func TestAFailedRenderFails(t *testing.T) {
	r := newRig(t)
	r.provider.read = func(_ int, task *provider.Task) error {
		task.Status, task.ErrorMessage, task.CostUsage = provider.StatusFailed, "source video is gone", 0
		task.Free = task.ExportTaskID == "task-1" // of the other it is not said what it cost
		return nil
	}
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	rec := r.awaitState(id, export.Failed)
	if !strings.Contains(view.Sentence(rec, view.CLI), "source video is gone") {
		t.Errorf("error: %s", view.Sentence(rec, view.CLI))
	}
	other := r.enqueue(tasks.Export{ProjectID: "proj"})
	r.awaitState(other, export.Failed)
	if _, err := r.admin.Retry(t.Context(), other, export.RetryOptions{}); !errors.Is(err, export.ErrPaid) {
		t.Errorf("an accepted export that nobody calls free: %v", err)
	}
	r.provider.mu.Lock()
	r.provider.read = nil
	r.provider.mu.Unlock()
	_, err := r.admin.Retry(t.Context(), id, export.RetryOptions{})
	must(t, err)
	r.awaitState(id, export.Archived)
}

// The clips that the provider finished before it gave up were paid for: they are archived
// before the export ends, and named; its folder is not complete and gets no manifest.
func TestAFailedRenderLeavesTheClipsThatWereFinished(t *testing.T) {
	r := newRig(t)
	r.provider.readsFor, r.provider.clips = 1, 3
	r.provider.read = func(_ int, task *provider.Task) error {
		task.Status, task.ErrorMessage = provider.StatusFailed, "the third one is broken"
		task.Clips[2].ExportLink = ""
		return nil
	}
	r.work()
	rec := r.awaitState(r.enqueue(tasks.Export{ProjectID: "proj"}), export.Failed)
	for idx, want := range []export.ClipState{export.ClipArchived, export.ClipArchived, export.ClipFailed} {
		if c := rec.Clips[idx]; c.State != want || (c.Object.Key != "") != (want == export.ClipArchived) {
			t.Errorf("clip %d is %s at %q", idx, c.State, c.Object.Key)
		}
	}
	says := view.Sentence(rec, view.CLI)
	if rec.Manifest != "" || !strings.Contains(says, "the third one is broken") || !strings.Contains(says, "2 of 3 clips are archived") {
		t.Errorf("manifest %q: %s", rec.Manifest, says)
	}
}

func TestWhatIsNotTheClipIsNeverArchived(t *testing.T) {
	t.Parallel()
	for says, serve := range map[string]func(w http.ResponseWriter, file []byte){
		"<html": func(w http.ResponseWriter, _ []byte) { _, _ = w.Write([]byte("<html>sorry</html>")) },
		"as WebM and Matroska do": func(w http.ResponseWriter, _ []byte) {
			_, _ = w.Write([]byte("\x1a\x45\xdf\xa3 this is the beginning of a WebM file"))
		},
		"bytes short of its last box": func(w http.ResponseWriter, file []byte) { // without a length
			w.Header().Set("Transfer-Encoding", "chunked")
			_, _ = w.Write(file[:len(file)/2])
		},
	} {
		t.Run(says, func(t *testing.T) {
			r := newRig(t)
			r.provider.clips, r.provider.readsFor = 1, 1
			bad := true
			r.provider.serve = func(w http.ResponseWriter, _ *http.Request, file []byte) bool {
				r.provider.mu.Lock()
				defer r.provider.mu.Unlock()
				if bad {
					serve(w, file)
				}
				return bad
			}
			r.work()
			id := r.enqueue(tasks.Export{ProjectID: "proj"})
			rec := r.await(id, "refused once", func(rec *export.Record) bool {
				return rec.Clips[0] != nil && rec.Clips[0].BadBodies > 0
			})
			if rec.ArchivedCount != 0 || rec.Clips[0].Problem.None() {
				t.Errorf("clip: %+v", rec.Clips[0])
			}
			if text := view.Sentence(rec, view.CLI); !strings.Contains(text, says) { // what is wrong with the file
				t.Errorf("error: %s", text)
			}
			r.provider.mu.Lock()
			bad = false
			r.provider.mu.Unlock()
			rec = r.awaitState(id, export.Archived)
			r.archived(rec.Clips[0], r.provider.file("task-1", 0))
		})
	}
}

func TestCancelStopsBeforeTheMoneyIsSpent(t *testing.T) {
	r := newRig(t)
	id := r.enqueue(tasks.Export{JobID: "c", ProjectID: "proj"})
	if rec, err := r.admin.Get(t.Context(), id); err != nil || rec.State != export.Queued {
		t.Fatalf("before any worker: %v, %v", rec, err)
	}
	_, err := r.admin.Cancel(t.Context(), id)
	must(t, err)
	r.work()
	other := r.enqueue(tasks.Export{ProjectID: "proj2"})
	r.awaitState(other, export.Archived)
	if rec := r.awaitState(id, export.Canceled); rec.Attempts != 0 || r.provider.submits() != 1 {
		t.Errorf("attempts %d, submits %d", rec.Attempts, r.provider.submits())
	}
	_, err = r.admin.Retry(t.Context(), id, export.RetryOptions{})
	must(t, err)
	r.awaitState(id, export.Archived)
}

func TestARepeatedJobIDPaysOnce(t *testing.T) {
	r := newRig(t)
	r.work()
	e := tasks.Export{JobID: "again", ProjectID: "proj"}
	id := r.enqueue(e)
	r.awaitState(id, export.Archived)
	if again := r.enqueue(e); again != id {
		t.Errorf("another id: %s", again)
	}
	e.ProjectID = "other"
	if _, err := r.client.Enqueue(t.Context(), e); !errors.Is(err, tasks.ErrDifferentBody) {
		t.Errorf("a different body: %v", err)
	}
	if r.provider.submits() != 1 {
		t.Errorf("paid %d times", r.provider.submits())
	}
}

func TestABareProducerNeedsOnlyAsynq(t *testing.T) {
	r := newRig(t)
	r.work()
	bare := asynq.NewClientFromRedisClient(r.rdb)
	info, err := bare.Enqueue(asynq.NewTask("export:submit", []byte(`{"project_id":"proj"}`)), asynq.Queue("clipferry-submit"))
	must(t, err)
	r.awaitState(info.ID, export.Archived)
	_, err = bare.Enqueue(asynq.NewTask("export:submit", []byte(`{"project_id":"proj","job_id":"named"}`)), asynq.Queue("clipferry-submit"))
	must(t, err)
	r.awaitState("named", export.Archived)
	if r.provider.submits() != 2 {
		t.Errorf("paid %d times", r.provider.submits())
	}
}

func TestMalformedTasksEndFailedAndBlockNobody(t *testing.T) {
	r := newRig(t)
	bare := asynq.NewClientFromRedisClient(r.rdb)
	for i, payload := range []string{"", "null", "{", `{"project_id":5}`, strings.Repeat("[", 100_000), "\x00\xff"} {
		_, err := bare.Enqueue(asynq.NewTask("export:submit", []byte(payload)), asynq.Queue("clipferry-submit"),
			asynq.TaskID("submit:bad-"+string(rune('a'+i))))
		must(t, err)
	}
	for _, task := range []*asynq.Task{
		asynq.NewTask("export:poll", []byte("{}"), asynq.Queue("clipferry-poll")),
		asynq.NewTask("export:mirror", []byte("garbage"), asynq.Queue("clipferry-mirror")),
		asynq.NewTask("export:seal", nil, asynq.Queue("clipferry-seal")),
		asynq.NewTask("no:such", nil, asynq.Queue("clipferry-seal"), asynq.MaxRetry(1)),
	} {
		_, err := bare.Enqueue(task)
		must(t, err)
	}
	r.work()
	good := r.enqueue(tasks.Export{ProjectID: "proj"})
	r.awaitState(good, export.Archived)
	for i := range 6 {
		rec := r.awaitState("bad-"+string(rune('a'+i)), export.Failed)
		if view.Sentence(rec, view.CLI) == "" {
			t.Errorf("no reason for %s", rec.ID)
		}
	}
	failed, err := r.admin.List(t.Context(), ledger.Filter{State: export.Failed})
	must(t, err)
	if len(failed) < 6 {
		t.Errorf("%d failed exports listed", len(failed))
	}
}
