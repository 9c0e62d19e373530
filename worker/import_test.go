package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/passthrough"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// importQuiet is for how long a task that was made elsewhere may bring nothing new.
const importQuiet = 3 * time.Second

// imports takes a task up and returns the id of its export.
func (r *rig) imports(kind export.TaskKind, task string) string {
	r.t.Helper()
	rec, known, err := r.admin.Import(r.t.Context(), admin.Import{Kind: kind, Task: task, AccountName: worker.DefaultAccount})
	must(r.t, err)
	if known {
		r.t.Fatalf("task %s is known as %s", task, rec.ID)
	}
	return rec.ID
}

func TestAnImportGoesAllTheWayAndIsNeverSubmitted(t *testing.T) {
	r := newRig(t)
	r.work()
	r.work()
	id := r.imports(export.TaskExport, "made-elsewhere")
	rec := r.awaitState(id, export.Archived)
	if n := r.provider.submits(); n != 0 {
		t.Errorf("submitted %d times", n)
	}
	for idx, c := range rec.Clips {
		r.archived(c, r.provider.file("made-elsewhere", idx))
	}
	m, found, err := r.archive.ReadManifest(t.Context(), rec.Manifest)
	must(t, err)
	if !found || m.Kind != export.TaskExport || len(m.Clips) != 2 || !sameJSON(m.Request, `{"project_id":"made-elsewhere"}`) {
		t.Errorf("manifest: %+v", m)
	}
	r.await(id, "closed", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptDone })
	if receipt := r.receipt(id); receipt.Kind != export.TaskExport || receipt.State != storage.ReceiptDone {
		t.Errorf("receipt: %+v", receipt)
	}
	again, known, err := r.admin.Import(t.Context(), admin.Import{Kind: export.TaskExport, Task: "made-elsewhere", AccountName: worker.DefaultAccount})
	if err != nil || !known || again.ID != id || again.State != export.Archived {
		t.Errorf("imported again: %+v, %v, %v", again, known, err)
	}
	if total, err := r.admin.List(t.Context(), ledger.Filter{}); err != nil || len(total) != 1 {
		t.Errorf("%d exports, %v", len(total), err)
	}
}

// A task with enable_export succeeds while its clips still appear, and nothing says
// how many will.
func TestClipsThatAppearAfterTheEndAreWaitedFor(t *testing.T) {
	r := newRig(t)
	r.provider.clips, r.provider.readsFor = 3, 1
	r.provider.read = func(n int, task *provider.Task) error {
		task.Clips = task.Clips[:min(n-1, 3)] // the first answer at SUCCEEDED has none
		if n == 2 {
			task.Clips[0].ExportLink = ""
		}
		return nil
	}
	r.work()
	id := r.imports(export.TaskClips, "inline")
	rec := r.awaitState(id, export.Archived)
	if len(rec.Clips) != 3 {
		t.Errorf("%d clips", len(rec.Clips))
	}
	if quiet := rec.ReadAt.Sub(rec.NewsAt); quiet < importQuiet {
		t.Errorf("sealed %s after the last news", quiet)
	}
	if rec.HoldsSlot() {
		t.Error("it holds a slot")
	}
}

func TestATaskThatTheProviderDoesNotKnowFailsWithASentence(t *testing.T) {
	r := newRig(t)
	r.waitsForNothing()
	found := false
	r.provider.read = func(int, *provider.Task) error {
		if found {
			return nil
		}
		return refusal(provider.NotFound, fault.Terminal, "404")
	}
	r.work()
	id := r.imports(export.TaskExport, "nope")
	rec := r.awaitState(id, export.Failed)
	text := view.Sentence(rec, view.CLI)
	if rec.Problem.Reason != export.ReasonTaskNotFound || !strings.Contains(text, "the provider knows no task nope of the kind export") {
		t.Errorf("%+v: %s", rec.Problem, text)
	}
	r.await(id, "closed", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptFailed })
	if n := r.provider.reads["nope"]; n != 2 {
		t.Errorf("read %d times", n)
	}

	r.provider.mu.Lock()
	found = true
	r.provider.mu.Unlock()
	again, _, err := r.admin.Import(t.Context(), admin.Import{Kind: export.TaskMoments, Task: "nope", AccountName: worker.DefaultAccount})
	if err != nil || again.ID != id || again.Kind != export.TaskMoments {
		t.Fatalf("imported again: %+v, %v", again, err)
	}
	r.await(id, "read as the other kind", func(rec *export.Record) bool { return rec.ArchivedCount == 2 })
}

// A task that renders counts as one of the key's exports; one that is done does not.
func TestAnImportTakesASlotOnlyWhileItRenders(t *testing.T) {
	r := newRig(t)
	r.provider.rendersIn(1000)
	r.work()
	gate := r.options.Accounts[worker.DefaultAccount].Gate
	holds := func(id string) bool {
		slots, err := gate.Slots(t.Context())
		must(t, err)
		return slices.Contains(slots, id)
	}
	id := r.imports(export.TaskExport, "renders")
	r.await(id, "a slot", func(*export.Record) bool { return holds(id) })
	r.provider.rendersIn(1)
	r.awaitState(id, export.Archived)
	r.await(id, "no slot", func(*export.Record) bool { return !holds(id) })

	other := r.imports(export.TaskExport, "done")
	held := false
	r.await(other, "archived", func(rec *export.Record) bool {
		held = held || holds(other)
		return rec.State == export.Archived
	})
	if held {
		t.Error("a task that was done held a slot")
	}
}

func TestATaskThatWasOrderedStaysWithItsExport(t *testing.T) {
	r := newRig(t)
	r.provider.rendersIn(1000)
	r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	rec := r.await(id, "accepted", func(rec *export.Record) bool { return rec.ExportTaskID != "" })
	owner, known, err := r.admin.Import(t.Context(), admin.Import{Kind: export.TaskExport, Task: rec.ExportTaskID, AccountName: worker.DefaultAccount})
	if err != nil || !known || owner.ID != id {
		t.Errorf("imported as %+v, %v", owner, err)
	}
}

func TestAnImportComesBackAfterALossOfRedis(t *testing.T) {
	r := newRig(t)
	r.provider.rendersIn(1000)
	stop := r.work()
	id := r.imports(export.TaskClips, "lost")
	r.await(id, "read", func(rec *export.Record) bool { return rec.Polls > 0 })
	if receipt := r.receipt(id); receipt.State != storage.ReceiptOpen || receipt.Kind != export.TaskClips {
		t.Fatalf("receipt: %+v", receipt)
	}
	stop()
	must(t, r.rdb.FlushAll(t.Context()).Err())
	done, err := r.recovery.Recover(t.Context(), r.archive, nil)
	if err != nil || done.Rebuilt != 1 {
		t.Fatalf("recovered %+v, %v", done, err)
	}
	r.provider.rendersIn(1)
	r.work()
	rec := r.awaitState(id, export.Archived)
	if rec.Kind != export.TaskClips || rec.Attempts != 0 || r.provider.submits() != 0 {
		t.Errorf("came back as %+v", rec)
	}

	// What was archived before Redis forgot it is found by its manifest.
	must(t, r.rdb.FlushAll(t.Context()).Err())
	reads := r.provider.reads["lost"]
	again := r.awaitState(r.imports(export.TaskClips, "lost"), export.Archived)
	if again.Manifest != rec.Manifest || r.provider.reads["lost"] != reads {
		t.Errorf("archived again as %+v after %d more reads", again, r.provider.reads["lost"]-reads)
	}
}

// TestAnImportSurvivesAKilledWorker: against the emulator, whose task succeeds while
// its clips still appear.
func TestAnImportSurvivesAKilledWorker(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{afterReceipt, afterRead, midMirror, afterMirror, beforeSeal, afterManifest} {
		t.Run(moment, func(t *testing.T) {
			r := newRig(t)
			server, err := emulator.New(emulator.Options{Render: emulator.Render{Fixed: time.Second}})
			must(t, err)
			api := httptest.NewServer(server)
			t.Cleanup(api.Close)
			task := makeClips(t, api.URL)
			id := r.imports(export.TaskClips, task)
			first := startWorkerProcess(t, r, api.URL, export.Resubmit, moment)
			err = first.Wait()
			if status, ok := err.(*exec.ExitError); !ok || status.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL { //nolint:errorlint // nothing wraps it
				t.Fatalf("the worker was to be killed %s, but: %v", moment, err)
			}
			r.lapse()
			startWorkerProcess(t, r, api.URL, export.Resubmit, neverKilled)
			rec := r.awaitState(id, export.Archived)
			state := server.State()
			if n := len(state.Submits); n != 1 {
				t.Errorf("%d tasks at the provider", n)
			}
			if len(rec.Clips) != len(state.Submits[0].Clips) {
				t.Errorf("%d clips archived of %d", len(rec.Clips), len(state.Submits[0].Clips))
			}
		})
	}
}

// What a client makes through the HTTP API with enable_export is archived by itself. It
// takes the one slot that it takes at the provider, and is read once for all.
func TestInlineClipsThatWerePassedThroughAreArchived(t *testing.T) {
	r := newRig(t)
	server, err := emulator.New(emulator.Options{Render: emulator.Render{Fixed: 4 * time.Second}})
	must(t, err)
	api := httptest.NewServer(server)
	t.Cleanup(api.Close)
	client, err := provider.New(provider.Options{BaseURL: api.URL, Key: providerAPIKey})
	must(t, err)
	t.Cleanup(client.Close)
	gate := r.options.Accounts[worker.DefaultAccount].Gate.(soonGate).Gate
	passed, err := passthrough.New(passthrough.Options{
		Redis: r.rdb, Ledger: r.ledger, Receipts: r.archive, Logger: quiet(), Account: worker.DefaultAccount, Provider: client, Gate: soonGate{gate},
		TakeUp: func(ctx context.Context, a passthrough.Accepted) (string, error) {
			rec, _, err := r.admin.For(a.Tenant).Import(ctx, admin.Import{
				Kind: export.TaskClips, Task: a.TaskID, AccountName: a.Account, Passed: true, Body: a.Request,
			})
			return rec.ID, err
		},
	})
	must(t, err)
	r.options.Accounts = map[string]worker.Account{worker.DefaultAccount: {Provider: client, Gate: soonGate{gate}}}
	r.options.Passed = passed
	r.work()
	body := `{"video_url":"https://example.com/a.mp4","project_name":"proj~clips=2","enable_export":true}`
	answer, err := passed.Do(t.Context(), passthrough.Request{
		Tenant: "news", Method: http.MethodPost, Path: "/api/v2/clips", Body: strings.NewReader(body), Length: int64(len(body)),
		Header: http.Header{"X-Wayinvideo-Api-Version": {"v2"}},
	})
	must(t, err)
	var made struct{ Data struct{ ID string } }
	must(t, json.Unmarshal(answer.Body, &made))
	id := "news.import-" + made.Data.ID
	most := 0
	rec := r.await(id, "archived", func(rec *export.Record) bool {
		slots, err := gate.Slots(t.Context())
		must(t, err)
		most = max(most, len(slots))
		return rec.State == export.Archived
	})
	if len(rec.Clips) != 2 || rec.Tenant != "news" || most > 1 {
		t.Errorf("%d clips of tenant %q, %d slots", len(rec.Clips), rec.Tenant, most)
	}
	m, _, err := r.archive.ReadManifest(t.Context(), rec.Manifest)
	if err != nil || m.Kind != export.TaskClips || !strings.Contains(string(m.Request), "a.mp4") {
		t.Errorf("manifest %+v, %v", m, err)
	}
	if n := len(server.State().Submits); n != 1 {
		t.Errorf("%d tasks", n)
	}
	if n := server.State().Submits[0].Reads; n != rec.Polls {
		t.Errorf("%d reads at the provider, %d of them by the export", n, rec.Polls)
	}
}

// Clips that appear after the manifest was written are taken up as an export of their
// own when their task is imported again; else that changes nothing.
func TestClipsThatAppearLateAreTakenUpByThemselves(t *testing.T) {
	r := newRig(t)
	r.provider.clips, r.provider.readsFor = 3, 1
	appeared := 2
	r.provider.read = func(_ int, task *provider.Task) error {
		task.Clips = task.Clips[:appeared]
		return nil
	}
	r.work()
	id := r.imports(export.TaskClips, "inline")
	first := r.awaitState(id, export.Archived)
	again := func() *export.Record {
		rec, known, err := r.admin.Import(t.Context(), admin.Import{Kind: export.TaskClips, Task: "inline", AccountName: worker.DefaultAccount})
		if err != nil || !known {
			t.Fatalf("imported again: %v, %v", known, err)
		}
		return rec
	}
	if rec := again(); rec.ID != id || rec.State != export.Archived {
		t.Errorf("imported again as %s, %s", rec.ID, rec.State)
	}
	r.await(id, "read again", func(rec *export.Record) bool { return rec.Read == export.ReadNone })
	if all, err := r.admin.List(t.Context(), ledger.Filter{}); err != nil || len(all) != 1 {
		t.Fatalf("%d exports, %v", len(all), err)
	}

	r.provider.mu.Lock()
	appeared = 3
	r.provider.mu.Unlock()
	again()
	second := r.awaitState(id+".late-1", export.Archived)
	if len(second.Clips) != 1 || second.Clips[2] == nil || second.Manifest == first.Manifest {
		t.Errorf("%d clips under %s", len(second.Clips), second.Manifest)
	}
	r.archived(second.Clips[2], r.provider.file("inline", 2))
	if m, _, err := r.archive.ReadManifest(t.Context(), first.Manifest); err != nil || len(m.Clips) != 2 {
		t.Errorf("the first manifest has %d clips, %v", len(m.Clips), err)
	}
	rec, err := r.admin.Get(t.Context(), id)
	must(t, err)
	if w := view.Of(rec, view.CLI).Warnings; len(w) != 1 || !strings.Contains(w[0], "clips [2] appeared") {
		t.Errorf("warnings %q", w)
	}
	if rec := again(); rec.ID != second.ID {
		t.Errorf("imported for a third time as %s", rec.ID)
	}
	r.await(second.ID, "read again", func(rec *export.Record) bool { return rec.Read == export.ReadNone })
	if all, err := r.admin.List(t.Context(), ledger.Filter{}); err != nil || len(all) != 2 {
		t.Errorf("%d exports, %v", len(all), err)
	}
	if receipt := r.receipt(second.ID); receipt.ReadAs != "inline" || len(receipt.Skip) != 2 {
		t.Errorf("receipt %+v", receipt)
	}
}

// makeClips has the provider make a clipping task whose clips it renders by itself.
func makeClips(t *testing.T, api string) string {
	t.Helper()
	body := []byte(`{"video_url":"https://example.com/a.mp4","project_name":"proj~clips=2~size=24MB","enable_export":true}`)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, api+"/api/v2/clips", bytes.NewReader(body))
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+providerAPIKey)
	req.Header.Set("x-wayinvideo-api-version", "v2")
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	var answer struct{ Data struct{ ID string } }
	must(t, json.NewDecoder(resp.Body).Decode(&answer))
	if answer.Data.ID == "" {
		t.Fatal(fmt.Sprint("no task: ", resp.Status))
	}
	return answer.Data.ID
}

// What was made elsewhere may be in a status that no order of ours leads to, such as one
// for tasks that a person has stopped, and there may be any number of them.
func TestImportsOfAnUnknownFormHaltNoOrders(t *testing.T) {
	r := newRig(t)
	r.provider.read = func(_ int, task *provider.Task) error {
		if strings.HasPrefix(task.ExportTaskID, "elsewhere") {
			task.Status, task.Odd = "PAUSED", `its status is "PAUSED", which is none that is known`
		}
		return nil
	}
	r.work()
	for _, task := range []string{"elsewhere-1", "elsewhere-2"} {
		rec := r.await(r.imports(export.TaskExport, task), "read", func(rec *export.Record) bool { return rec.Polls > 1 })
		if rec.Problem.Reason != export.ReasonNotUnderstood {
			t.Errorf("%s: %+v", rec.State, rec.Problem)
		}
	}
	if why := r.halted(); why != "" {
		t.Errorf("halted: %q", why)
	}
	r.awaitState(r.enqueue(tasks.Export{ProjectID: "c"}), export.Archived)
}
