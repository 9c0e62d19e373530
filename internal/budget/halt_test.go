package budget

import (
	"log/slog"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/pace"
	"github.com/clipferry/clipferry/internal/redistest"
)

// TestOutOfUnits has reads go on while orders wait for units, at every worker, and
// orders go on by themselves once one is accepted.
func TestOutOfUnits(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, _ *troubled, gate func(Options) *Gate) {
		o := Options{RequestsPerMinute: 600, MaxActive: 50}
		one, two := gate(o), gate(o)
		mustDone(t, mustWait(t, one, Request{Export: "a", Kind: Submit}), Outcome{Result: OutOfUnits})
		st, err := two.Status(t.Context())
		if err != nil || st.Halted != pace.HaltUnits || !st.HaltedOrders || st.Denied != 1 {
			t.Fatalf("%+v, %v", st, err)
		}
		start := time.Now()
		mustDone(t, mustWait(t, two, Request{Export: "r", Kind: Refresh}), Outcome{Result: Answered})
		if waited := time.Since(start); waited > time.Second {
			t.Errorf("a read waited %v", waited)
		}
		mustDone(t, mustWait(t, two, Request{Export: "a", Kind: Submit}), accepted)
		if waited := time.Since(start); waited < 10*time.Second || waited > 30*time.Second {
			t.Errorf("the probe went after %v", waited)
		}
		start = time.Now()
		for _, id := range []string{"b", "c"} {
			mustDone(t, mustWait(t, one, Request{Export: id, Kind: Submit}), accepted)
		}
		if waited := time.Since(start); waited > time.Second {
			t.Errorf("still halted for %v", waited)
		}
	})
}

// TestRefusedForNoReasonOfItsOwn has one export refused twice, and what comes of it
// depend on whether another was accepted between.
func TestRefusedForNoReasonOfItsOwn(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, f fleet) {
		o := Options{RequestsPerMinute: 6000, MaxActive: 5}
		one, two := f.gate(o), f.gate(o)
		alike := Outcome{Unspecific: Refusal{Project: "p", Words: "no"}}
		turn := mustWait(t, one, Request{Export: "a", Project: "p", Kind: Submit})
		mustDone(t, turn, alike)
		at, final := turn.Refused()
		if at.IsZero() || final {
			t.Fatalf("the first: %v, %v", at, final)
		}
		again := Request{Export: "a", Project: "p", Kind: Submit, Refused: at}
		noTurn(t, two, again, 50*time.Millisecond)
		mustDone(t, mustWait(t, one, Request{Export: "b", Project: "q", Kind: Submit}), accepted)
		turn = mustWait(t, two, again)
		mustDone(t, turn, alike)
		if _, final := turn.Refused(); !final {
			t.Error("another was accepted, and it is not the export's fault")
		}
	})
}

func TestHealth(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, f fleet) {
		one, two := f.gate(Options{MaxActive: 5}), f.gate(Options{MaxActive: 5})
		if h, err := two.Health(t.Context()); err != nil || h != (Health{}) {
			t.Fatalf("%+v, %v", h, err)
		}
		mustDone(t, mustWait(t, one, Request{Export: "a", Kind: Submit}), accepted)
		before := time.Now()
		mustDone(t, mustWait(t, one, Request{Export: "a", Kind: Refresh}), Outcome{Result: Answered})
		mustDone(t, mustWait(t, one, Request{Export: "a", Kind: Refresh}), Outcome{Result: NotUnderstood})
		h, err := two.Health(t.Context())
		if err != nil || h.Halted != "" || h.Accepted.IsZero() || h.Read.Before(before.Add(-time.Second)) || h.Read.After(time.Now().Add(time.Second)) {
			t.Fatalf("%+v, %v", h, err)
		}
	})
}

// TestAnOperatorsWordReachesEachProcess of an account without limits, which share nothing
// else; one from before the halt counts for nothing.
func TestAnOperatorsWordReachesEachProcess(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client()
	gate := func() *Gate {
		g, err := New(Options{Redis: rdb, Account: "a", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.Close)
		return g
	}
	worker, operator := gate(), gate()
	resume := func() {
		t.Helper()
		if err := operator.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	look := func() Health {
		t.Helper()
		h, err := worker.Health(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	resume()
	for _, id := range []string{"a", "b"} {
		mustDone(t, mustWait(t, worker, Request{Export: id, Kind: Submit}), Outcome{Result: NotUnderstood})
	}
	order := make(chan *Turn, 1)
	go func() {
		turn, _ := worker.Wait(t.Context(), Request{Export: "c", Kind: Submit})
		order <- turn
	}()
	for range 3 {
		if h := look(); h.Halted != pace.HaltAnswers {
			t.Fatalf("%+v", h)
		}
	}
	select {
	case <-order:
		t.Fatal("an order goes by a word from before the halt")
	case <-time.After(200 * time.Millisecond):
	}
	resume()
	look()
	mustDone(t, <-order, accepted)
	if h := look(); h.Halted != "" {
		t.Errorf("%+v", h)
	}
}
