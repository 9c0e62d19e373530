package budget

import (
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/pace"
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
