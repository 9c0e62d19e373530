package budget

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/pace"
	"github.com/clipferry/clipferry/internal/redistest"
)

var notUnderstood = Outcome{Result: NotUnderstood}

// withoutLimits makes gates of one account without limits, each of a process of its own.
func withoutLimits(t *testing.T) (*redis.Client, func() *Gate) {
	rdb := redistest.Start(t).Client()
	make := gates(t, func(o *Options) { o.Redis = rdb })
	return rdb, func() *Gate { return make(Options{}) }
}

func order(export string) Request { return Request{Export: export, Kind: Submit} }

// mustHalt says that no order goes from the gate, nor from one of a process that starts.
func mustHalt(t *testing.T, gates ...*Gate) {
	t.Helper()
	for _, g := range gates {
		noTurn(t, g, order("late"), 200*time.Millisecond)
		if h, err := g.Health(t.Context()); err != nil || h.Halted != pace.HaltAnswers || !h.Orders {
			t.Errorf("%+v, %v", h, err)
		}
		if st, err := g.Status(t.Context()); err != nil || st.Halted != pace.HaltAnswers || !st.HaltedOrders || st.HaltedSince.IsZero() {
			t.Errorf("%+v, %v", st, err)
		}
	}
}

// TestAFleetWithoutLimitsPaysForTwoOrdersThatNobodyUnderstands, whichever processes sent
// them, whether these live on or not, and whether Redis forgets.
func TestAFleetWithoutLimitsPaysForTwoOrdersThatNobodyUnderstands(t *testing.T) {
	t.Parallel()
	rdb, gate := withoutLimits(t)
	one, two := gate(), gate()
	mustDone(t, mustWait(t, one, order("a")), notUnderstood)
	mustDone(t, mustWait(t, two, order("b")), accepted) // ends the row
	mustDone(t, mustWait(t, two, order("c")), notUnderstood)
	mustDone(t, mustWait(t, one, order("d")), accepted)
	mustDone(t, mustWait(t, one, order("e")), notUnderstood)
	mustDone(t, mustWait(t, two, order(PassedPrefix+"q")), accepted) // says nothing of exports
	mustDone(t, mustWait(t, two, order("f")), notUnderstood)
	mustHalt(t, one, two, gate())
	mustDone(t, mustWait(t, one, order(PassedPrefix+"r")), accepted) // nor is it halted with them
	mustHalt(t, one, two)
	two.Close()
	mustDone(t, mustWait(t, one, Request{Export: "e", Kind: Refresh}), Outcome{Result: Answered}) // reads go on
	mustHalt(t, gate())

	third := gate()
	for _, id := range []string{"g", "h"} { // in flight when the halt came
		mustDone(t, &Turn{gate: third, turn: pace.Turn{Export: id, Kind: Submit}, sent: time.Now().UnixMicro()}, notUnderstood)
	}
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	mustHalt(t, third, gate())
}

// TestAnOperatorsWordIsForOneOrderOfTheFleet without limits; one from before the halt counts for
// nothing, and one for an order that cost nothing is for the next.
func TestAnOperatorsWordIsForOneOrderOfTheFleet(t *testing.T) {
	t.Parallel()
	_, gate := withoutLimits(t)
	operator := gate()
	resume := func() {
		t.Helper()
		if err := operator.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	resume()
	fleet := []*Gate{gate(), gate()}
	for _, g := range fleet {
		mustDone(t, mustWait(t, g, order("of "+g.id)), notUnderstood)
	}
	mustHalt(t, fleet...)
	turns := make(chan *Turn, len(fleet))
	for _, g := range fleet {
		go func() {
			turn, err := g.Wait(t.Context(), order("next of "+g.id))
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			turns <- turn
		}()
	}
	look := func() {
		t.Helper()
		for _, g := range fleet {
			if _, err := g.Health(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	first := func() *Turn {
		t.Helper()
		for range 100 {
			look()
			select {
			case turn := <-turns:
				return turn
			case <-time.After(100 * time.Millisecond):
			}
		}
		t.Fatal("no order goes")
		return nil
	}
	none := func() {
		t.Helper()
		for range 3 {
			look()
			select {
			case <-turns:
				t.Fatal("an order goes")
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	none()
	resume()
	turn := first()
	none()
	mustDone(t, turn, Outcome{Result: NotSent})
	mustDone(t, first(), notUnderstood)
	mustHalt(t, fleet...)
	resume()
	mustDone(t, mustWait(t, gate(), order("x")), accepted)
	for _, g := range append(fleet, gate()) {
		look()
		mustDone(t, mustWait(t, g, order("y")), accepted)
		if h, err := g.Health(t.Context()); err != nil || h.Halted != "" {
			t.Errorf("%+v, %v", h, err)
		}
	}
}

// TestReceiptsBringBackTheHaltWithoutLimits by what they keep of orders that nobody
// understood; of those from before one was understood they do not.
func TestReceiptsBringBackTheHaltWithoutLimits(t *testing.T) {
	t.Parallel()
	_, gate := withoutLimits(t)
	recall := func(export string, sent time.Time) {
		t.Helper()
		for range 2 {
			if err := gate().RecallOdd(t.Context(), export, sent); err != nil {
				t.Fatal(err)
			}
		}
	}
	sent := time.Now()
	recall("a", sent)
	worker := gate()
	mustDone(t, mustWait(t, worker, order("b")), accepted)
	recall("c", sent)
	recall("d", sent)
	mustDone(t, mustWait(t, worker, order("e")), notUnderstood)
	recall("e", time.Now())
	mustDone(t, mustWait(t, worker, order("f")), Outcome{Result: NotSent})
	recall("g", time.Now())
	mustHalt(t, worker)
}
