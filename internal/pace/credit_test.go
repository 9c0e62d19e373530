package pace

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// adversary runs a gate under drawn latencies, outcomes and crashes, each
// request going out as soon as the gate lets it, and returns when each reached
// the provider, drawn too.
func adversary(t *rapid.T, limit int) []Instant {
	s := NewState(Limits{PerMinute: limit})
	now := Instant(1_700_000_000_000_000)
	s.Create(now)
	type flying struct {
		id   string
		turn Turn
		back Instant
	}
	var air []flying
	var reached []Instant
	n := 0
	for len(reached) < limit+min(5*limit, 300)+20 {
		// Answers come back.
		for i := 0; i < len(air); {
			f := air[i]
			if f.back > now {
				i++
				continue
			}
			if rapid.IntRange(0, 99).Draw(t, "fate") < 96 {
				s.Finish(f.id, f.turn, Outcome{Result: Answered}, f.back, 0)
			} // else its holder died
			air = append(air[:i], air[i+1:]...)
		}
		s.Settle(now)
		if at := s.opens(1, now); at <= now {
			n++
			id := string(rune('a'+n%26)) + time.Duration(n).String()
			s.Join(id, Waiter{Export: "x", Kind: Refresh}, now)
			turn := s.Claim(id, now)
			latency := Instant(rapid.IntRange(1_000, 4_000_000).Draw(t, "latency"))
			if rapid.IntRange(0, 9).Draw(t, "slow") > 0 {
				latency /= 20
			}
			reached = append(reached, now+latency*Instant(rapid.IntRange(0, 100).Draw(t, "way"))/100)
			air = append(air, flying{id, turn, now + latency})
		}
		// On to whatever comes next, or a rest.
		next := s.opens(1, now+1)
		for _, f := range air {
			next = min(next, f.back)
		}
		next = min(next, s.Ends())
		if rapid.IntRange(0, 49).Draw(t, "rest") == 0 {
			next = max(next, now.Add(time.Duration(rapid.IntRange(1, 100).Draw(t, "rested"))*time.Second))
		}
		now = max(now+1, next)
	}
	return reached
}

func TestNeverTooMany(t *testing.T) {
	for _, limit := range []int{1, 2, 15, 84, 600} {
		rapid.Check(t, func(t *rapid.T) {
			reached := adversary(t, limit)
			sortInstants(reached)
			// A sliding minute; every fixed minute is one of them.
			for i := range reached {
				if j := i + limit; j < len(reached) && reached[j]-reached[i] < 60_000_000 {
					t.Fatalf("%d requests within %v", limit+1, reached[j].Sub(reached[i]))
				}
			}
			// A bucket of two (one for a limit of one), or of a second's worth.
			size := 2.0
			if limit > smallLimit {
				size = float64(limit) / 60
			}
			level, last := size, reached[0]
			for _, at := range reached {
				level = min(size, level+float64(at-last)*float64(limit)/60e6)
				if last = at; level < 1-1e-6 {
					t.Fatalf("bucket at %.4f", level)
				}
				level--
			}
			if limit == 84 { // the emulator six times faster: fifteen in ten seconds
				for i := range reached {
					if j := i + 15; j < len(reached) && reached[j]-reached[i] < 10_000_000 {
						t.Fatalf("16 requests within %v", reached[j].Sub(reached[i]))
					}
				}
			}
		})
	}
}

func sortInstants(x []Instant) {
	for i := 1; i < len(x); i++ {
		for j := i; j > 0 && x[j] < x[j-1]; j-- {
			x[j], x[j-1] = x[j-1], x[j]
		}
	}
}

func TestSteadyRate(t *testing.T) {
	// With instant answers nothing of the limit is given away but the first
	// minute's burst and the hair of the window.
	s := NewState(Limits{PerMinute: 15})
	now := Instant(1_700_000_000_000_000)
	s.Create(now)
	start, n := now, 0
	for now < start.Add(time.Hour) {
		s.Join("w", Waiter{Export: "x", Kind: Refresh}, now)
		turn := s.Claim("w", now)
		s.Finish("w", turn, Outcome{Result: Answered}, now, 0)
		n++
		now = s.opens(1, now)
	}
	if n < 899 || n > 901 {
		t.Fatalf("%d requests in an hour, want 900", n)
	}
}

func TestClockThatJumpsBack(t *testing.T) {
	s := NewState(Limits{PerMinute: 15, Slots: 1})
	now := Instant(1_700_000_000_000_000)
	s.Create(now)
	for range 10 {
		now = s.opens(1, now)
		s.Join("w", Waiter{Export: "x", Kind: Submit}, now)
		s.Finish("w", s.Claim("w", now), Outcome{Result: Answered}, now, 0)
	}
	back := now.Add(-24 * time.Hour)
	s.Settle(back)
	if wait := s.opens(1, back).Sub(back); wait > 61*time.Second {
		t.Fatalf("the gate stays shut for %v", wait)
	}
	if len(s.Renders) > 0 && s.Renders["x"].Until.Sub(back) > time.Hour {
		t.Fatalf("the slot is kept until %v", s.Renders["x"].Until.Time())
	}
}

func TestRefusals(t *testing.T) {
	now := Instant(1_700_000_000_000_000)
	s := NewState(Limits{PerMinute: 15, Slots: 5})
	s.Create(now)
	s.Hold("x", now, "", 0, now.Add(2*time.Minute))
	now = now.Add(2 * time.Minute)
	refuse := func(after time.Duration) {
		s.Join("r", Waiter{Export: "x", Kind: Read}, now)
		s.Finish("r", s.Claim("r", now), Outcome{Result: Refused, RetryAfter: after}, now, 0)
	}
	refuse(0)
	if wait := s.opens(1, now).Sub(now); wait != refusalPause {
		t.Errorf("pause of %v", wait)
	}
	if r := s.rate(now); math.Abs(r-15*shareCut) > 0.01 {
		t.Errorf("rate %v", r)
	}
	if s.burst(now) != 1 {
		t.Error("two in a row are still allowed")
	}
	if r := s.rate(now.Add(5 * time.Minute)); r != 15 {
		t.Errorf("rate after five minutes %v", r)
	}
	now = now.Add(time.Minute)
	refuse(90 * time.Second)
	if wait := s.opens(1, now).Sub(now); wait != 90*time.Second {
		t.Errorf("pause of %v, asked for 90 s", wait)
	}
}

func TestRefusedSlot(t *testing.T) {
	now := Instant(1_700_000_000_000_000)
	s := NewState(Limits{PerMinute: 15, Slots: 5})
	s.Create(now)
	submit := func(id string, o Outcome) {
		now = now.Add(20 * time.Second)
		s.Join(id, Waiter{Export: id, Kind: Submit}, now)
		s.Finish(id, s.Claim(id, now), o, now, 0)
	}
	for _, id := range []string{"a", "b", "c"} {
		submit(id, Outcome{Result: Answered, Accepted: true})
	}
	submit("d", Outcome{Result: Refused})
	if got := s.SlotLimit(now); got != 3 {
		t.Fatalf("believes in %d slots, want the 3 that are held", got)
	}
	if s.Renders["d"] != nil {
		t.Fatal("the refused export holds a slot")
	}
	if got := s.SlotLimit(now.Add(slotDoubt)); got != 4 {
		t.Errorf("after a while %d are tried, want 4", got)
	}
	if got := s.SlotLimit(now.Add(time.Hour)); got != 5 {
		t.Errorf("after an hour %d, want all 5", got)
	}
}
