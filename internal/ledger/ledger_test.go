package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// env is one Redis to hold the ledger to its word on.
type env struct {
	*Ledger
	rdb   redis.UniversalClient
	pass  func(time.Duration) // lets Redis's clock go on
	clear func(*testing.T)
}

// suite is what holds on every Redis: each entry begins with an empty one.
var suite = []struct {
	name string
	test func(*testing.T, *env)
}{
	{"create", testCreate},
	{"round trip", testRoundTrip},
	{"unknown", testUnknown},
	{"refused change", testRefusedChange},
	{"fifty writers", testFiftyWriters},
	{"fifty writers of their own clips", testClipWriters},
	{"load is of one moment", testLoadIsOfOneMoment},
	{"two thousand clips", testTwoThousandClips},
	{"clip given up", testClipGone},
	{"answer", testAnswer},
	{"time to live", testTimeToLive},
	{"indexes follow", testIndexesFollow},
	{"crash between record and index", testCrashBetween},
	{"late index writer", testLateIndexWriter},
	{"announced and not stored", testEnteredNotStored},
	{"tidy while born", testTidyWhileCreated},
	{"random crashes", testRandomCrashes},
	{"trim", testTrim},
	{"list", testList},
	{"list by labels", testListByLabels},
	{"list with broken records", testListWithBrokenRecords},
	{"list is lean", testListIsLean},
	{"pages", testPages},
	{"pages end", testPagesEnd},
	{"placed by its creation", testPlacedByItsCreation},
	{"counts", testCounts},
	{"lease", testLease},
	{"lease kept", testLeaseKept},
	{"lease lost", testLeaseLost},
	{"checkpoints", testCheckpoints},
	{"odd ids", testOddIDs},
}

func TestOnMiniredis(t *testing.T) { runSuite(t, onMiniredis(t)) }

func TestOnRedis(t *testing.T) {
	c := redistest.Start(t).Client()
	runSuite(t, &env{rdb: c, pass: time.Sleep, clear: func(t *testing.T) { clearRedis(t, c) }})
}

func TestOnCluster(t *testing.T) {
	c := redistest.StartCluster(t, 3).Client()
	runSuite(t, &env{rdb: c, pass: time.Sleep, clear: func(t *testing.T) {
		err := c.ForEachMaster(context.Background(), func(_ context.Context, c *redis.Client) error {
			clearRedis(t, c)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}})
}

func clearRedis(t *testing.T, c *redis.Client) {
	t.Helper()
	if err := c.FlushAll(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
}

func onMiniredis(t *testing.T) *env {
	s := miniredis.RunT(t)
	c := redis.NewClient(&redis.Options{Addr: s.Addr()})
	t.Cleanup(func() { _ = c.Close() })
	return &env{rdb: c, pass: s.FastForward, clear: func(*testing.T) { s.FlushAll() }}
}

func runSuite(t *testing.T, e *env) {
	for _, s := range suite {
		t.Run(s.name, func(t *testing.T) {
			e.clear(t)
			e.Ledger = New(Options{Redis: e.rdb})
			s.test(t, e)
		})
	}
}

var noon = time.Date(2026, 4, 7, 12, 0, 0, 0, time.UTC)

func newRecord(id string) *export.Record {
	return export.New(id, json.RawMessage(`{"project_id":"p1"}`), "digest-"+id, "p1", noon)
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (e *env) create(t *testing.T, id string) {
	t.Helper()
	created, err := e.Create(t.Context(), newRecord(id))
	if err != nil || !created {
		t.Fatalf("Create(%s) = %v, %v", id, created, err)
	}
}

func (e *env) update(t *testing.T, id string, change func(*export.Record) error) *export.Record {
	t.Helper()
	r, err := e.Update(t.Context(), id, change)
	must(t, err)
	return r
}

func (e *env) load(t *testing.T, id string) *export.Record {
	t.Helper()
	r, err := e.Load(t.Context(), id)
	must(t, err)
	return r
}

func (e *env) version(t *testing.T, id string) int64 {
	t.Helper()
	n, err := e.rdb.HGet(t.Context(), Key(id), "ver").Int64()
	must(t, err)
	return n
}

// accept brings a queued export to rendering.
func accept(r *export.Record) error {
	return errors.Join(r.Intend(noon, "w"), r.Accept(noon, "task-"+r.ID, "", "CREATED"))
}

// rendered answers that the render is over, with n clips.
func rendered(n int) func(*export.Record) error {
	return func(r *export.Record) error {
		a := export.Reading{Status: "SUCCEEDED", Succeeded: true, Raw: json.RawMessage(`{"status":"SUCCEEDED"}`)}
		for i := range n {
			a.Clips = append(a.Clips, export.Clip{Idx: i, Title: fmt.Sprint("clip ", i), Link: fmt.Sprint("https://x/", i)})
		}
		return r.Answer(noon, r.ExportTaskID, r.Step, a, noon)
	}
}

func clipDone(idx int) func(*export.Record) error {
	return func(r *export.Record) error {
		return r.ClipDone(noon, r.ExportTaskID, idx, r.Clips[idx].Round, export.Object{Key: fmt.Sprint("k", idx), Size: 10}, nil, "")
	}
}

func testCreate(t *testing.T, e *env) {
	e.create(t, "a")
	other := newRecord("a")
	other.ProjectID = "another"
	created, err := e.Create(t.Context(), other)
	if err != nil || created {
		t.Fatalf("a second Create = %v, %v; want false", created, err)
	}
	r := e.load(t, "a")
	if r.ProjectID != "p1" || r.State != export.Queued {
		t.Fatalf("the second Create changed the record: %+v", r)
	}
	if got := e.rdb.HGet(t.Context(), Key("a"), "digest").Val(); got != "digest-a" {
		t.Errorf("digest = %q", got)
	}
}

func testRoundTrip(t *testing.T, e *env) {
	e.create(t, "a")
	e.update(t, "a", accept)
	want := e.update(t, "a", rendered(3))
	got := e.load(t, "a")
	want.LastAnswer = nil // stored beside
	if g, w := asJSON(t, got), asJSON(t, want); g != w {
		t.Errorf("loaded\n%s\nstored\n%s", g, w)
	}
	head, err := e.LoadHead(t.Context(), "a")
	must(t, err)
	if len(head.Clips) != 0 || head.ClipCount != 3 {
		t.Errorf("LoadHead: %d clips, count %d; want none of 3", len(head.Clips), head.ClipCount)
	}
	one, err := e.LoadClip(t.Context(), "a", 1)
	must(t, err)
	if len(one.Clips) != 1 || one.Clips[1].Title != "clip 1" {
		t.Errorf("LoadClip: %+v", one.Clips)
	}
	none, err := e.LoadClip(t.Context(), "a", 9)
	must(t, err)
	if len(none.Clips) != 0 {
		t.Errorf("LoadClip of an unknown clip: %+v", none.Clips)
	}
}

func asJSON(t *testing.T, r *export.Record) string {
	t.Helper()
	doc, err := json.Marshal(r)
	must(t, err)
	clips, err := json.Marshal(r.Clips)
	must(t, err)
	return string(doc) + string(clips)
}

func testUnknown(t *testing.T, e *env) {
	ctx := t.Context()
	_, err1 := e.Load(ctx, "no")
	_, err2 := e.LoadHead(ctx, "no")
	_, err3 := e.LoadClip(ctx, "no", 0)
	_, err4 := e.Update(ctx, "no", func(*export.Record) error { t.Error("change was called"); return nil })
	_, err5 := e.UpdateClip(ctx, "no", 0, func(*export.Record) error { t.Error("change was called"); return nil })
	for i, err := range []error{err1, err2, err3, err4, err5} {
		if !errors.Is(err, ErrUnknown) {
			t.Errorf("%d: %v, want ErrUnknown", i+1, err)
		}
	}
	if n := e.rdb.Exists(ctx, Key("no")).Val(); n != 0 {
		t.Error("asking for an unknown export made a record")
	}
}

func testRefusedChange(t *testing.T, e *env) {
	e.create(t, "a")
	before := e.version(t, "a")
	boom := errors.New("boom")
	r, err := e.Update(t.Context(), "a", func(r *export.Record) error { r.State = export.Failed; return boom })
	if !errors.Is(err, boom) || r == nil {
		t.Fatalf("Update = %v, %v; want the record and the change's own error", r, err)
	}
	if e.version(t, "a") != before || e.load(t, "a").State != export.Queued {
		t.Error("a refused change was stored")
	}
}

func testClipGone(t *testing.T, e *env) {
	e.create(t, "a")
	e.update(t, "a", accept)
	e.update(t, "a", rendered(3))
	e.update(t, "a", func(r *export.Record) error { delete(r.Clips, 1); return nil })
	if r := e.load(t, "a"); len(r.Clips) != 2 || r.Clips[1] != nil {
		t.Errorf("a clip that was given up is still there: %d clips", len(r.Clips))
	}
}

func testAnswer(t *testing.T, e *env) {
	answered := func() *export.Record {
		t.Helper()
		r, err := e.LoadAnswered(t.Context(), "a")
		must(t, err)
		return r
	}
	if _, err := e.LoadAnswered(t.Context(), "a"); !errors.Is(err, ErrUnknown) {
		t.Fatalf("without a record: %v", err)
	}
	e.create(t, "a")
	if r := answered(); r.LastAnswer != nil || r.ID != "a" {
		t.Fatalf("before any answer: %q of export %q", r.LastAnswer, r.ID)
	}
	e.update(t, "a", accept)
	e.update(t, "a", rendered(2))
	if r := answered(); string(r.LastAnswer) != `{"status":"SUCCEEDED"}` || len(r.Clips) != 2 {
		t.Fatalf("answer %q, %d clips", r.LastAnswer, len(r.Clips))
	}
	e.update(t, "a", clipDone(0)) // knows nothing of the answer, and keeps it
	if r := answered(); len(r.LastAnswer) == 0 {
		t.Error("a later change lost the answer")
	}
}

func testTimeToLive(t *testing.T, e *env) {
	ctx := t.Context()
	ttl := func() time.Duration { return e.rdb.PTTL(ctx, Key("a")).Val() }
	e.create(t, "a")
	e.update(t, "a", accept)
	if ttl() > 0 {
		t.Fatalf("an open export ends in %s", ttl())
	}
	e.update(t, "a", func(r *export.Record) error {
		return r.Fail(noon, export.Problem{Reason: export.ReasonStepGivenUp, Detail: "x"})
	})
	if ttl() > 0 {
		t.Fatalf("a failed export whose receipt is due ends in %s", ttl())
	}
	e.update(t, "a", func(r *export.Record) error { r.ReceiptWritten(export.ReceiptOpen); return nil })
	if got := ttl(); got < DefaultRetention-time.Minute || got > DefaultRetention {
		t.Fatalf("a final export ends in %s, want %s", got, DefaultRetention)
	}
	e.update(t, "a", func(r *export.Record) error { return r.Retry(noon, export.RetryOptions{}) })
	if ttl() > 0 {
		t.Fatalf("an export taken up again ends in %s", ttl())
	}
	e.create(t, "held")
	e.update(t, "held", func(r *export.Record) error {
		return errors.Join(r.Intend(noon, "w"), r.Lose(noon, "w", noon, export.Hold, export.Problem{Reason: export.ReasonAnswerLost, Detail: "lost"}))
	})
	if got := e.rdb.PTTL(ctx, Key("held")).Val(); got > 0 {
		t.Errorf("a held export ends in %s: it waits for a person as long as that takes", got)
	}
}

func testCheckpoints(t *testing.T, e *env) {
	ctx := t.Context()
	c := e.Checkpoints()
	if b, err := c.Load(ctx, "exports/p/t/clip"); b != nil || err != nil {
		t.Fatalf("Load of none = %q, %v", b, err)
	}
	must(t, c.Save(ctx, "exports/p/t/clip", []byte("state")))
	if b, err := c.Load(ctx, "exports/p/t/clip"); string(b) != "state" || err != nil {
		t.Fatalf("Load = %q, %v", b, err)
	}
	if b, _ := c.Load(ctx, "exports/p/t/clip2"); b != nil {
		t.Error("two objects share a checkpoint")
	}
	if ttl := e.rdb.PTTL(ctx, checkpointKey("exports/p/t/clip")).Val(); ttl <= 3*24*time.Hour {
		t.Errorf("a checkpoint ends after %s", ttl)
	}
	must(t, c.Delete(ctx, "exports/p/t/clip"))
	if b, _ := c.Load(ctx, "exports/p/t/clip"); b != nil {
		t.Error("a deleted checkpoint is still there")
	}
}

// Ids are the callers': none of them reaches another key of ours.
func testOddIDs(t *testing.T, e *env) {
	ctx := t.Context()
	object := "exports/p/t/clip"
	must(t, e.Checkpoints().Save(ctx, object, []byte("state")))
	ids := []string{
		"index", "index:all", "index:open", "fleet", "a:lease:submit", "a", "1", "-", "..",
		strings.TrimSuffix(strings.TrimPrefix(checkpointKey(object), "clipferry:{"), "}:checkpoint"), strings.Repeat("x", 128),
	}
	if _, err := e.Lease(ctx, "a", "submit", time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		e.create(t, id)
	}
	for _, id := range ids {
		if r := e.load(t, id); r.ID != id {
			t.Errorf("%s was stored as %s", id, r.ID)
		}
	}
	if found, err := e.List(ctx, Filter{}, nil); err != nil || len(found) != len(ids) {
		t.Errorf("List: %d of %d, %v", len(found), len(ids), err)
	}
	if b, err := e.Checkpoints().Load(ctx, object); string(b) != "state" || err != nil {
		t.Errorf("the checkpoint: %q, %v", b, err)
	}
}
