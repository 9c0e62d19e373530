package budget

import (
	"slices"
	"sync"
	"testing"
	"time"
)

var accepted = Outcome{Result: Answered, Accepted: true}

func TestSlotBelongsToTheExport(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, f fleet) {
		o := Options{MaxActive: 2}
		one, two := f.gate(o), f.gate(o)
		for _, id := range []string{"a", "b"} {
			mustDone(t, mustWait(t, one, Request{Export: id, Kind: Submit}), accepted)
		}
		noTurn(t, two, Request{Export: "c", Kind: Submit}, 300*time.Millisecond)
		// The same export again, from another worker: its slot is its own.
		mustDone(t, mustWait(t, two, Request{Export: "a", Kind: Submit}), Outcome{Result: NotSent})
		held, err := two.Slots(t.Context())
		slices.Sort(held)
		if err != nil || !slices.Equal(held, []string{"a", "b"}) {
			t.Fatalf("held %v, %v", held, err)
		}
		// The read that sees the end frees the slot, at once and for all.
		got := make(chan *Turn)
		go func() { got <- mustWait(t, two, Request{Export: "c", Kind: Submit}) }()
		mustDone(t, mustWait(t, one, Request{Export: "a", Kind: Read}), Outcome{Result: Answered, Ended: true, Succeeded: true})
		mustDone(t, <-got, accepted)
		if err := one.Release(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		mustDone(t, mustWait(t, one, Request{Export: "d", Kind: Submit}), Outcome{Result: Refused})
		held, err = one.Slots(t.Context())
		if err != nil || !slices.Equal(held, []string{"c"}) {
			t.Fatalf("held %v, %v", held, err)
		}
	})
}

func TestFirstComeFirstServed(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, f fleet) {
		o := Options{RequestsPerMinute: 6000, MaxActive: 1}
		one, two := f.gate(o), f.gate(o)
		mustDone(t, mustWait(t, one, Request{Export: "first", Kind: Submit}), accepted)
		base := time.Now()
		order := make(chan string, 5)
		waits := []struct {
			g *Gate
			r Request
		}{
			{one, Request{Export: "c", Since: base}},
			{two, Request{Export: "b", Since: base.Add(-time.Minute)}},
			{one, Request{Export: "low but long", Since: base.Add(-5 * time.Hour), Priority: Low}},
			{two, Request{Export: "low", Since: base.Add(-time.Hour), Priority: Low}},
			{two, Request{Export: "high", Since: base, Priority: High}},
		}
		var done sync.WaitGroup
		defer done.Wait()
		for _, w := range waits {
			done.Go(func() {
				w.r.Kind = Submit
				turn := mustWait(t, w.g, w.r)
				order <- w.r.Export
				mustDone(t, turn, accepted)
			})
		}
		for {
			st, err := one.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if st.Waiting[Submit] == len(waits) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		var got []string
		last := "first"
		for range waits {
			if err := one.Release(t.Context(), last); err != nil {
				t.Fatal(err)
			}
			last = <-order
			got = append(got, last)
			for deadline := time.Now().Add(time.Minute); ; { // until it is recorded
				st, err := one.Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if len(st.Held) == 1 && !st.Held[0].Pending {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("after %q: %+v", got, st)
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		want := []string{"low but long", "high", "b", "c", "low"}
		if !slices.Equal(got, want) {
			t.Fatalf("order %q, want %q", got, want)
		}
	})
}

func TestNoRequestTooMany(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, f fleet) {
		// Sixty a minute, so two at once and then one a second, whatever the
		// number of those who ask.
		o := Options{RequestsPerMinute: 60, MaxActive: 100}
		one, two := f.gate(o), f.gate(o)
		start := time.Now()
		got := make(chan time.Duration, 8)
		var done sync.WaitGroup
		defer done.Wait()
		for i := range 8 {
			done.Go(func() {
				turn := mustWait(t, []*Gate{one, two}[i%2], Request{Export: string(rune('a' + i)), Kind: Submit})
				got <- time.Since(start)
				mustDone(t, turn, accepted)
			})
		}
		var at []time.Duration
		for range 8 {
			at = append(at, <-got)
		}
		slices.Sort(at)
		if at[7] < 5900*time.Millisecond || at[7]-at[0] > 30*time.Second {
			t.Fatalf("eight submits went out at %v", at)
		}
		for i := 2; i < 8; i++ {
			if at[i]-at[i-2] < 900*time.Millisecond {
				t.Fatalf("three within a second: %v", at)
			}
		}
	})
}
