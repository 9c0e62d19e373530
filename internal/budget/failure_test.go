package budget

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clipferry/clipferry/internal/pace"
)

// inMemory runs a test in virtual time, over a store in memory.
func inMemory(t *testing.T, test func(t *testing.T, m *troubled, gate func(Options) *Gate)) {
	synctest.Test(t, func(t *testing.T) {
		m := newTroubled()
		test(t, m, gates(t, func(o *Options) { o.store = m }))
	})
}

func TestLeavesTheLine(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, f fleet) {
		g := f.gate(Options{RequestsPerMinute: 600, MaxActive: 1})
		mustDone(t, mustWait(t, g, Request{Export: "a", Kind: Submit}), accepted)
		noTurn(t, g, Request{Export: "b", Kind: Submit}, 50*time.Millisecond)
		// It is stored a moment after Wait has returned.
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			st, err := g.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if st.Waiting[Submit]+st.InFlight[Submit] == 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%+v", st)
			}
		}
	})
}

func TestCloseSendsEveryoneAway(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, f fleet) {
		one, two := f.gate(Options{MaxActive: 1}), f.gate(Options{MaxActive: 1})
		turn := mustWait(t, one, Request{Export: "a", Kind: Submit})
		failed := make(chan error)
		go func() {
			_, err := one.Wait(context.Background(), Request{Export: "b", Kind: Submit})
			failed <- err
		}()
		for {
			if st, err := two.Status(t.Context()); err == nil && st.Waiting[Submit] == 1 {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		one.Close()
		if err := <-failed; !errors.Is(err, ErrClosed) {
			t.Fatalf("got %v", err)
		}
		mustDone(t, turn, accepted) // what was in flight still counts
		st, err := two.Status(t.Context())
		if err != nil || st.Waiting[Submit] != 0 || len(st.Held) != 1 || st.Held[0].Pending {
			t.Fatalf("%+v, %v", st, err)
		}
		if _, err := one.Wait(t.Context(), Request{Export: "c", Kind: Submit}); !errors.Is(err, ErrClosed) {
			t.Fatalf("got %v", err)
		}
	})
}

// TestDeadWaiter has a worker that died while it was first in line.
func TestDeadWaiter(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, f fleet) {
		s := f.store()
		snap, err := s.Load(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		dead := pace.NewState(pace.Limits{Slots: 1})
		now := pace.Instant(snap.Time)
		dead.Create(now)
		dead.Alive("dead", now)
		dead.Join("dead-1", pace.Waiter{Export: "x", Kind: Submit, Worker: "dead", Since: 1}, now)
		set, _ := dead.Changes()
		if r, err := s.Swap(t.Context(), change{By: "dead", Seq: 1, Set: set}); err != nil || !r.Done {
			t.Fatalf("%+v, %v", r, err)
		}
		g := f.gate(Options{MaxActive: 1})
		start := time.Now()
		mustDone(t, mustWait(t, g, Request{Export: "b", Kind: Submit}), accepted)
		if waited := time.Since(start); waited < grace || waited > 3*grace {
			t.Fatalf("went on after %v", waited)
		}
	})
}

// TestLostUnderARunningFleet flushes the store while slots are held.
func TestLostUnderARunningFleet(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, f fleet) {
		o := Options{RequestsPerMinute: 6000, MaxActive: 2}
		one, two := f.gate(o), f.gate(o)
		mustDone(t, mustWait(t, one, Request{Export: "a", Kind: Submit}), accepted)
		mustDone(t, mustWait(t, two, Request{Export: "b", Kind: Submit}), accepted)
		f.lose()
		// Both slots are remembered, by whichever worker asks first.
		noTurn(t, two, Request{Export: "c", Kind: Submit}, 300*time.Millisecond)
		held, err := one.Slots(t.Context())
		if err != nil || len(held) != 2 {
			t.Fatalf("held %v, %v", held, err)
		}
		if err := one.Release(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		mustDone(t, mustWait(t, two, Request{Export: "c", Kind: Submit}), accepted)
	})
}

func TestFirstStartIsNotIdle(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, _ *troubled, gate func(Options) *Gate) {
		g := gate(Options{RequestsPerMinute: 15, MaxActive: 5})
		start := time.Now()
		mustDone(t, mustWait(t, g, Request{Export: "a", Kind: Submit}), accepted)
		// The sweeper speaks of an export that began after the state did.
		if err := g.Hold(t.Context(), "a", start, "", 0); err != nil {
			t.Fatal(err)
		}
		mustDone(t, mustWait(t, g, Request{Export: "b", Kind: Submit}), accepted)
		if waited := time.Since(start); waited > 10*time.Second {
			t.Fatalf("two submits took %v", waited)
		}
	})
}

func TestLossSpokenForBySomeRender(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, _ *troubled, gate func(Options) *Gate) {
		g := gate(Options{RequestsPerMinute: 15, MaxActive: 5})
		start := time.Now()
		if err := g.Hold(t.Context(), "a", start.Add(-time.Minute), "", 0); err != nil {
			t.Fatal(err)
		}
		mustDone(t, mustWait(t, g, Request{Export: "a", Kind: Read}), Outcome{Result: Answered})
		if waited := time.Since(start); waited < 60*time.Second || waited > 70*time.Second {
			t.Fatalf("the first request after a loss went out after %v", waited)
		}
	})
}

func TestCrashedHolder(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, _ *troubled, gate func(Options) *Gate) {
		o := Options{RequestsPerMinute: 15, MaxActive: 1}
		one, two := gate(o), gate(o)
		mustWait(t, one, Request{Export: "a", Kind: Submit}) // and dies
		one.Close()
		start := time.Now()
		turn, err := two.Wait(t.Context(), Request{Export: "b", Kind: Submit})
		if err != nil {
			t.Fatal(err)
		}
		// It may have been submitted: the slot is kept for the turn's lease
		// and then for its own.
		if waited := time.Since(start); waited < 15*time.Minute || waited > 17*time.Minute {
			t.Fatalf("the slot of a submit in doubt was given away after %v", waited)
		}
		mustDone(t, turn, accepted)
		st, err := two.Status(t.Context())
		if err != nil || st.Crashed != 1 || st.InFlight[Submit] != 0 {
			t.Fatalf("%+v, %v", st, err)
		}
	})
}

func TestForbiddenHaltsTheFleet(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, _ *troubled, gate func(Options) *Gate) {
		o := Options{RequestsPerMinute: 600, MaxActive: 50}
		one, two := gate(o), gate(o)
		mustDone(t, mustWait(t, one, Request{Export: "a", Kind: Submit}), Outcome{Result: Forbidden})
		st, err := two.Status(t.Context())
		if err != nil || st.Halted != pace.HaltForbidden || st.Denied != 1 {
			t.Fatalf("%+v, %v", st, err)
		}
		start := time.Now()
		var probes []time.Duration
		for time.Since(start) < 20*time.Minute {
			turn, err := two.Wait(t.Context(), Request{Export: "b", Kind: Submit})
			if err != nil {
				t.Fatal(err)
			}
			probes = append(probes, time.Since(start))
			mustDone(t, turn, Outcome{Result: Forbidden})
		}
		if n := len(probes); n < 8 || n > 16 {
			t.Fatalf("%d probes in twenty minutes: %v", n, probes)
		}
		// The key works again: the next probe finds out, and all goes on.
		turn, err := one.Wait(t.Context(), Request{Export: "b", Kind: Submit})
		if err != nil {
			t.Fatal(err)
		}
		mustDone(t, turn, accepted)
		start = time.Now()
		for _, id := range []string{"c", "d", "e"} {
			mustDone(t, mustWait(t, two, Request{Export: id, Kind: Submit}), accepted)
		}
		if waited := time.Since(start); waited > 2*time.Second {
			t.Fatalf("still slow after the halt: %v", waited)
		}
	})
}

func TestBreaker(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, _ *troubled, gate func(Options) *Gate) {
		g := gate(Options{RequestsPerMinute: 600, MaxActive: 50})
		start, sent := time.Now(), 0
		for time.Since(start) < 10*time.Minute {
			turn, err := g.Wait(t.Context(), Request{Export: "a", Kind: Refresh})
			if err != nil {
				t.Fatal(err)
			}
			mustDone(t, turn, Outcome{Result: Failed})
			sent++
		}
		if sent > 25 {
			t.Fatalf("%d requests in ten minutes to a provider that is down", sent)
		}
		noTurn(t, g, Request{Export: "b", Kind: Submit}, time.Hour) // it might be paid for in vain
		mustDone(t, mustWait(t, g, Request{Export: "a", Kind: Refresh}), Outcome{Result: Answered})
		mustDone(t, mustWait(t, g, Request{Export: "b", Kind: Submit}), accepted)
		if st, err := g.Status(t.Context()); err != nil || st.Halted != "" {
			t.Fatalf("%+v, %v", st, err)
		}
	})
}

// TestStoreFailsForAWhile has the store unreachable while somebody waits.
func TestStoreFailsForAWhile(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, m *troubled, gate func(Options) *Gate) {
		g := gate(Options{RequestsPerMinute: 15, MaxActive: 5})
		turn := mustWait(t, g, Request{Export: "a", Kind: Submit})
		m.fail(errors.New("connection refused"))
		if err := turn.Done(t.Context(), accepted); err == nil {
			t.Fatal("nothing was stored, and nobody says so")
		}
		time.AfterFunc(20*time.Second, func() { m.fail(nil) })
		mustDone(t, mustWait(t, g, Request{Export: "b", Kind: Submit}), accepted)
		mustDone(t, turn, accepted) // again
		mustDone(t, turn, accepted)
		st, err := g.Status(t.Context())
		if err != nil || len(st.Held) != 2 || st.InFlight[Submit] != 0 || st.Sent[Submit] != 2 {
			t.Fatalf("%+v, %v", st, err)
		}
	})
}

// TestReleaseOnAnOldCopy has a worker that missed what another did.
func TestReleaseOnAnOldCopy(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, m *troubled, gate func(Options) *Gate) {
		one, two := gate(Options{MaxActive: 1}), gate(Options{MaxActive: 1})
		if err := one.Release(t.Context(), "nothing"); err != nil {
			t.Fatal(err)
		}
		m.mute()
		mustDone(t, mustWait(t, two, Request{Export: "a", Kind: Submit}), accepted)
		if err := one.Release(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if held, err := one.Slots(t.Context()); err != nil || len(held) != 0 {
			t.Fatalf("held %v, %v", held, err)
		}
	})
}
