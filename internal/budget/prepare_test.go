package budget

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/pace"
)

// preparing starts to wait for a submit that prepares until it is let go, and
// returns once it does so.
func preparing(t *testing.T, g *Gate, export string) (letGo chan error, got chan *Turn, failed chan error) {
	t.Helper()
	began := make(chan struct{})
	letGo, got, failed = make(chan error, 1), make(chan *Turn, 1), make(chan error, 1)
	go func() {
		turn, err := g.Wait(context.Background(), Request{Export: export, Kind: Submit, Prepare: func(ctx context.Context) error {
			close(began)
			select {
			case err := <-letGo:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}})
		if err != nil {
			failed <- err
			return
		}
		got <- turn
	}()
	select {
	case <-began:
	case <-time.After(20 * time.Second):
		t.Fatal("it never prepares")
	}
	return letGo, got, failed
}

// TestPreparingHoldsTheSlotAlone has reads go on while a submit prepares, and no
// other submit.
func TestPreparingHoldsTheSlotAlone(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, f fleet) {
		o := Options{RequestsPerMinute: 6000, MaxActive: 1}
		one, two := f.gate(o), f.gate(o)
		letGo, got, _ := preparing(t, one, "a")
		mustDone(t, mustWait(t, two, Request{Export: "x", Kind: Refresh}), Outcome{Result: Answered})
		noTurn(t, two, Request{Export: "b", Kind: Submit}, 100*time.Millisecond)
		letGo <- nil
		turn := <-got
		mustDone(t, turn, accepted)
		noTurn(t, two, Request{Export: "b", Kind: Submit, Prepare: func(context.Context) error {
			t.Error("it prepares without a slot")
			return nil
		}}, 100*time.Millisecond)
		// The slot goes to the next one, at another worker, when the render has ended.
		waits := make(chan *Turn, 1)
		go func() {
			waits <- mustWait(t, two, Request{Export: "c", Kind: Submit, Prepare: func(context.Context) error { return nil }})
		}()
		mustDone(t, mustWait(t, one, Request{Export: "a", Kind: Refresh}), Outcome{Result: Answered, Ended: true})
		mustDone(t, <-waits, accepted)
	})
}

// TestWhatWasPreparedGoesFirst has a submit keep its place before all that came meanwhile.
func TestWhatWasPreparedGoesFirst(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, _ *troubled, gate func(Options) *Gate) {
		o := Options{RequestsPerMinute: 15, MaxActive: 5}
		one, two := gate(o), gate(o)
		mustDone(t, mustWait(t, two, Request{Export: "x", Kind: Submit}), accepted)
		letGo, got, _ := preparing(t, one, "a")
		for _, id := range []string{"x", "x"} { // nothing is left of the burst
			mustDone(t, mustWait(t, two, Request{Export: id, Kind: Refresh}), Outcome{Result: Answered})
		}
		later := make(chan *Turn, 2)
		go func() { later <- mustWait(t, two, Request{Export: "x", Kind: Refresh}) }()
		go func() { later <- mustWait(t, two, Request{Export: "b", Kind: Submit}) }()
		time.Sleep(100 * time.Millisecond)
		letGo <- nil
		select {
		case turn := <-got:
			mustDone(t, turn, accepted)
		case <-later:
			t.Fatal("another went first")
		}
		for range 2 {
			mustDone(t, <-later, Outcome{Result: Answered})
		}
	})
}

// TestPrepareFails gives the slot back, and says why.
func TestPrepareFails(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, f fleet) {
		o := Options{MaxActive: 1}
		one, two := f.gate(o), f.gate(o)
		letGo, _, failed := preparing(t, one, "a")
		next := make(chan *Turn, 1)
		go func() { next <- mustWait(t, two, Request{Export: "b", Kind: Submit}) }()
		boom := errors.New("no receipt")
		letGo <- boom
		if err := <-failed; !errors.Is(err, boom) {
			t.Fatalf("got %v", err)
		}
		mustDone(t, <-next, accepted)
		if held, err := one.Slots(t.Context()); err != nil || len(held) != 1 || held[0] != "b" {
			t.Fatalf("held %v, %v", held, err)
		}
	})
}

// TestPrepareTakesTooLong ends it before its slot is given away.
func TestPrepareTakesTooLong(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, _ *troubled, gate func(Options) *Gate) {
		g := gate(Options{RequestsPerMinute: 600, MaxActive: 1})
		start := time.Now()
		_, _, failed := preparing(t, g, "a")
		next := make(chan *Turn, 1)
		go func() { next <- mustWait(t, g, Request{Export: "b", Kind: Submit}) }()
		if err := <-failed; !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > pace.PrepareTime+time.Second {
			t.Fatalf("after %v: %v", time.Since(start), err)
		}
		mustDone(t, <-next, accepted)
	})
}

func TestCloseEndsPreparing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, f fleet) {
		one, two := f.gate(Options{MaxActive: 1}), f.gate(Options{MaxActive: 1})
		_, _, failed := preparing(t, one, "a")
		one.Close()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		mustDone(t, mustWait(t, two, Request{Export: "b", Kind: Submit}), accepted)
	})
}

// TestLostWhilePreparing flushes the store while a slot is reserved.
func TestLostWhilePreparing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, f fleet) {
		o := Options{MaxActive: 1}
		one, two := f.gate(o), f.gate(o)
		letGo, got, _ := preparing(t, one, "a")
		noTurn(t, two, Request{Export: "b", Kind: Submit}, 100*time.Millisecond)
		f.lose()
		if err := one.Release(t.Context(), "none"); err != nil { // so that it has seen the loss
			t.Fatal(err)
		}
		if st, err := two.Status(t.Context()); err != nil || len(st.Preparing) != 1 {
			t.Errorf("%+v, %v", st, err)
		}
		noTurn(t, two, Request{Export: "b", Kind: Submit}, 300*time.Millisecond)
		letGo <- nil
		mustDone(t, <-got, accepted)
	})
}

// TestDeadWhilePreparing has a worker that died with a slot reserved for it.
func TestDeadWhilePreparing(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, m *troubled, gate func(Options) *Gate) {
		snap, err := m.Load(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		dead := pace.NewState(pace.Limits{Slots: 1})
		now := pace.Instant(snap.Time)
		dead.Create(now)
		dead.Alive("dead", now)
		dead.Join("dead-1", pace.Waiter{Export: "x", Kind: Submit, Worker: "dead", Since: 1, Stage: pace.Unslotted}, now)
		dead.Reserve("dead-1", now)
		set, _ := dead.Changes()
		if r, err := m.Swap(t.Context(), change{By: "dead", Seq: 1, Set: set}); err != nil || !r.Done {
			t.Fatalf("%+v, %v", r, err)
		}
		g := gate(Options{MaxActive: 1})
		start := time.Now()
		mustDone(t, mustWait(t, g, Request{Export: "b", Kind: Submit}), accepted)
		if waited := time.Since(start); waited < pace.PrepareTime || waited > pace.PrepareTime+10*time.Second {
			t.Fatalf("went on after %v", waited)
		}
	})
}

// TestStatusNamesThoseThatPrepare and since when.
func TestStatusNamesThoseThatPrepare(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, _ *troubled, gate func(Options) *Gate) {
		g := gate(Options{MaxActive: 1})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = g.Wait(ctx, Request{Export: "a", Kind: Submit, Prepare: func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			}})
		}()
		time.Sleep(20 * time.Second) // of virtual time
		st, err := gate(Options{MaxActive: 1}).Status(t.Context())
		if took := st.At.Sub(st.Preparing["a"]).Round(time.Second); err != nil || len(st.Preparing) != 1 || took != 20*time.Second {
			t.Errorf("%v, %s, %v", st.Preparing, took, err)
		}
		cancel()
		<-ended
	})
}
