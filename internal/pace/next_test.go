package pace

import (
	"testing"
	"time"
)

// TestReadsLeadTheReserve holds that a read goes by as much before the second
// request is there as it will take, and never before the first is.
func TestReadsLeadTheReserve(t *testing.T) {
	s := NewState(Limits{PerMinute: 15, Slots: 1})
	now := Instant(1_700_000_000_000_000)
	s.Create(now)
	send := func(id string, kind Kind, took time.Duration, o Outcome) {
		s.Join(id, Waiter{Export: "x", Kind: kind}, now)
		turn := s.Claim(id, now)
		now = now.Add(took)
		s.Finish(id, turn, o, now, 0)
	}
	now = now.Add(time.Minute)
	send("s", Submit, 2*time.Second, Outcome{Result: Answered, Accepted: true})
	for range 200 {
		now = now.Add(10 * time.Second)
		send("r", Read, 2*time.Second, Outcome{Result: Answered})
	}
	s.Join("next", Waiter{Export: "y", Kind: Submit}, now) // there is a reserve to keep
	second := s.opens(2, now)
	if got := second.Sub(s.opensRead(now)); got < 1500*time.Millisecond || got > 1700*time.Millisecond {
		t.Errorf("reads of two seconds go %v before the second request may", got)
	}
	// A wrong idea of it never lends what isn't there.
	s.Gate.Took = longestTook
	for range 3 {
		now = s.opensRead(now)
		if first := s.opens(1, now); now < first {
			t.Fatalf("a read goes %v before any may", first.Sub(now))
		}
		send("r", Read, 50*time.Millisecond, Outcome{Result: Answered})
	}
	// Answers that never came say nothing of how long they take.
	took := s.Gate.Took
	send("r", Read, 25*time.Second, Outcome{Result: Failed})
	if s.Gate.Took != took {
		t.Errorf("it is taken to be %v s after a timeout, %v before", s.Gate.Took, took)
	}
}
