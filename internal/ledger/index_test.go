package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/index"
)

// open reports whether the export is among those that need care.
func (e *env) open(t *testing.T, id string) bool {
	t.Helper()
	ids, err := e.Open(t.Context())
	must(t, err)
	return slices.Contains(ids, id)
}

// states lists the state indexes that the export is in.
func (e *env) states(t *testing.T, id string) []export.State {
	t.Helper()
	var in []export.State
	for _, s := range export.States() {
		err := e.rdb.ZScore(t.Context(), index.State(string(s)), id).Err()
		if err == nil {
			in = append(in, s)
		} else if !errors.Is(err, redis.Nil) {
			t.Fatal(err)
		}
	}
	return in
}

// rightlyPlaced fails the test unless the indexes say what the record says.
func (e *env) rightlyPlaced(t *testing.T, id string) {
	t.Helper()
	r := e.load(t, id)
	if got := e.states(t, id); !slices.Equal(got, []export.State{r.State}) {
		t.Errorf("%s is %s and indexed under %v", id, r.State, got)
	}
	if got := e.open(t, id); got != r.NeedsCare() {
		t.Errorf("%s is %s: open %v, needs care %v", id, r.State, got, r.NeedsCare())
	}
	if got := e.rdb.ZScore(t.Context(), index.Rest, id).Err() == nil; got != (r.State != export.Archived) {
		t.Errorf("%s is %s: %v among those that are not archived", id, r.State, got)
	}
}

func intend(r *export.Record) error { return r.Intend(noon, "w") }
func fail(r *export.Record) error {
	return r.Fail(noon, export.Problem{Reason: export.ReasonStepGivenUp})
}

func retryExport(r *export.Record) error {
	return r.Retry(noon, export.RetryOptions{PayAgain: true})
}

func closeReceipt(r *export.Record) error {
	says, _ := r.ReceiptDue()
	r.ReceiptWritten(says)
	return nil
}

func reject(r *export.Record) error {
	return r.Reject(noon, "w", export.Problem{Reason: export.ReasonRequestRejected, Detail: "no"})
}
func cancel(r *export.Record) error { return r.Cancel(noon) }
func seal(r *export.Record) error   { return r.Seal(noon, "m") }

func testIndexesFollow(t *testing.T, e *env) {
	e.create(t, "a")
	e.rightlyPlaced(t, "a")
	for _, change := range []func(*export.Record) error{
		accept, cancel, closeReceipt, rendered(1), closeReceipt, retryExport, rendered(2), clipDone(0), clipDone(1),
		seal, closeReceipt,
	} {
		e.update(t, "a", change)
		e.rightlyPlaced(t, "a")
	}
	if e.open(t, "a") {
		t.Error("an archived export with a closed receipt needs care")
	}
	e.create(t, "b")
	for _, change := range []func(*export.Record) error{intend, reject, retryExport, intend, fail, retryExport} {
		e.update(t, "b", change)
		e.rightlyPlaced(t, "b")
	}
	if _, err := e.Create(t.Context(), export.NewFailed("c", export.Problem{Reason: export.ReasonTaskMalformed, Detail: "malformed"}, noon)); err != nil {
		t.Fatal(err)
	}
	e.rightlyPlaced(t, "c")
}

// swapOnly changes the record as a worker does that dies before it has written
// the indexes.
func (e *env) swapOnly(t *testing.T, id string, change func(*export.Record) error) (*export.Record, int64) {
	t.Helper()
	r, before, err := e.Ledger.load(t.Context(), id)
	must(t, err)
	cared := r.NeedsCare()
	must(t, change(r))
	if !cared && r.NeedsCare() {
		must(t, e.enterOpen(t.Context(), r, before.version+1))
	}
	version, err := e.store(t.Context(), r, before)
	must(t, err)
	return r, version
}

func testCrashBetween(t *testing.T, e *env) {
	ctx := t.Context()
	// Born, and not in the index of its state.
	r := newRecord("written")
	must(t, e.enterOpen(ctx, r, 1))
	_, err := e.store(ctx, r, snapshot{})
	must(t, err)
	// Entered, and never written.
	must(t, e.enterOpen(ctx, newRecord("unwritten"), 1))
	// Ended, and still among the open ones.
	e.create(t, "ended")
	e.update(t, "ended", intend)
	e.swapOnly(t, "ended", reject)
	// Taken up again, and not moved.
	e.create(t, "retried")
	e.update(t, "retried", intend)
	e.update(t, "retried", reject)
	e.swapOnly(t, "retried", retryExport)

	for _, id := range []string{"written", "unwritten", "ended", "retried"} {
		if !e.open(t, id) {
			t.Errorf("%s is not among those to look after", id)
		}
		must(t, e.Tidy(ctx, id))
		if id != "unwritten" {
			e.rightlyPlaced(t, id)
		}
	}
	if e.open(t, "unwritten") || e.rdb.ZScore(ctx, index.Rest, "unwritten").Err() == nil {
		t.Error("the entry of an export that was never written stays")
	}
	if got, err := e.List(ctx, Filter{}, nil); err != nil || len(got) != 3 {
		t.Errorf("List: %d, %v", len(got), err)
	}
}

// A worker that stood still between its record and its indexes must not undo
// what others have done meanwhile: an open export that is in no index would be
// looked after by nobody.
func testLateIndexWriter(t *testing.T, e *env) {
	ctx := t.Context()
	e.create(t, "a")
	e.update(t, "a", intend)
	late, version := e.swapOnly(t, "a", reject)
	e.update(t, "a", retryExport)
	must(t, e.place(ctx, late, version))
	e.rightlyPlaced(t, "a")

	// The same between the entry and the record of the retry.
	e.update(t, "a", intend)
	late, version = e.swapOnly(t, "a", reject)
	r, before, err := e.Ledger.load(ctx, "a")
	must(t, err)
	must(t, retryExport(r))
	must(t, e.enterOpen(ctx, r, before.version+1))
	must(t, e.place(ctx, late, version))
	_, err = e.store(ctx, r, before) // and its worker dies
	must(t, err)
	if !e.open(t, "a") {
		t.Fatal("an export that was taken up again is not among those to look after")
	}
	must(t, e.Tidy(ctx, "a"))
	e.rightlyPlaced(t, "a")
}

// An entry whose writer died goes away; one whose writer lives on, and
// stores after all, has its entry.
func testEnteredNotStored(t *testing.T, e *env) {
	ctx := t.Context()
	e.create(t, "a")
	e.update(t, "a", intend)
	e.update(t, "a", reject)
	e.update(t, "a", closeReceipt)
	r, before, err := e.Ledger.load(ctx, "a")
	must(t, err)
	must(t, retryExport(r))
	must(t, e.enterOpen(ctx, r, before.version+1))
	must(t, e.Tidy(ctx, "a"))
	e.rightlyPlaced(t, "a")
	if e.open(t, "a") {
		t.Error("an entry that nobody followed up stays")
	}
	if _, err := e.store(ctx, r, before); !errors.Is(err, errConflict) {
		t.Errorf("the entered change is stored without an entry: %v", err)
	}
	// Redis lost its last moments: the entry is ahead of the record by far.
	must(t, e.rdb.ZAdd(ctx, index.Open, redis.Z{Score: float64(before.version + 20), Member: "a"}).Err())
	must(t, e.Tidy(ctx, "a"))
	e.rightlyPlaced(t, "a")
}

func testTidyWhileCreated(t *testing.T, e *env) {
	for i := range 40 {
		id := fmt.Sprint("written", i)
		done := make(chan error)
		go func() { done <- e.Tidy(t.Context(), id) }()
		e.create(t, id)
		must(t, <-done)
		e.rightlyPlaced(t, id)
	}
}

// Whatever is done to an export by several workers, of which some die between
// record and index: it is never missing among the open ones while it needs
// care, and one Tidy puts everything right.
func testRandomCrashes(t *testing.T, e *env) {
	ctx := t.Context()
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := range 12 {
		id := fmt.Sprint("r", n)
		e.create(t, id)
		type write struct {
			r       *export.Record
			version int64
		}
		var late []write
		for range 25 {
			r := e.load(t, id)
			change := pick(rnd, r)
			if rnd.IntN(2) == 0 {
				e.update(t, id, change)
			} else {
				r, version := e.swapOnly(t, id, change)
				late = append(late, write{r, version})
			}
			if len(late) > 0 && rnd.IntN(2) == 0 {
				i := rnd.IntN(len(late))
				must(t, e.place(ctx, late[i].r, late[i].version))
				late = slices.Delete(late, i, i+1)
			}
			if r := e.load(t, id); r.NeedsCare() && !e.open(t, id) {
				t.Fatalf("%s is %s and not among those to look after", id, r.State)
			}
		}
		must(t, e.Tidy(ctx, id))
		e.rightlyPlaced(t, id)
	}
}

func pick(rnd *rand.Rand, r *export.Record) func(*export.Record) error {
	may := map[export.State][]func(*export.Record) error{
		export.Queued:     {intend, intend, cancel, fail},
		export.Submitting: {reject, reject, cancel, fail},
		export.Failed:     {retryExport}, export.Canceled: {retryExport}, export.Held: {retryExport},
	}[r.State]
	return may[rnd.IntN(len(may))]
}

// without is a Redis that fails every script of the hash.
type without string

func (w without) DialHook(next redis.DialHook) redis.DialHook { return next }

func (w without) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (w without) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); len(args) > 1 && args[1] == string(w) {
			err := errors.New("no answer")
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

// A change that stands is not called failed because its index could not be
// written, and what needs care since is found all the same.
func TestIndexFailureLeavesTheChange(t *testing.T) {
	e := onMiniredis(t)
	e.Ledger = New(Options{Redis: e.rdb})
	e.create(t, "a")
	e.update(t, "a", intend)
	e.update(t, "a", reject)
	e.update(t, "a", closeReceipt)
	if e.open(t, "a") {
		t.Fatal("a rejected export needs care")
	}
	c := redis.NewClient(&redis.Options{Addr: e.rdb.(*redis.Client).Options().Addr})
	t.Cleanup(func() { _ = c.Close() })
	c.AddHook(without(placeScript.Hash()))
	halved := &env{rdb: c, Ledger: New(Options{Redis: c})}
	halved.update(t, "a", retryExport)
	halved.create(t, "b")
	for _, id := range []string{"a", "b"} {
		if r := e.load(t, id); r.State != export.Queued || !e.open(t, id) {
			t.Errorf("%s: %s, open %v", id, r.State, e.open(t, id))
		}
		must(t, e.Tidy(t.Context(), id))
		e.rightlyPlaced(t, id)
	}
}
