package pace

import (
	"testing"
	"time"
)

// halted returns a state whose spending is halted, at the moment of its next probe.
func halted(t *testing.T, why Result) (*State, Instant) {
	t.Helper()
	s := NewState(Limits{PerMinute: 600, Slots: 50})
	now := Instant(1_700_000_000_000_000)
	s.Create(now)
	for range breakAfter {
		now = now.Add(time.Minute)
		s.Join("w", Waiter{Export: "x", Kind: Read, Since: now}, now)
		s.Finish("w", s.Claim("w", now), Outcome{Result: why}, now, 0.5)
	}
	if s.Gate.Halted().Why == "" {
		t.Fatal("spending is not halted")
	}
	return s, s.Gate.Halted().Probe
}

// probed fails every probe of an hour, whose waiters come back ten seconds later,
// and counts them by export.
func probed(t *testing.T, s *State, now Instant, why Result) map[string]int {
	t.Helper()
	probes := map[string]int{}
	type back struct {
		id string
		w  Waiter
		at Instant
	}
	var away []back
	for end := now.Add(time.Hour); now < end; now = now.Add(time.Second) {
		for len(away) > 0 && away[0].at <= now {
			s.Join(away[0].id, away[0].w, now)
			away = away[1:]
		}
		c := s.Next(now)
		if c.Waiter == "" {
			continue
		}
		w := *s.Waiters[c.Waiter]
		w.Joined = 0
		probes[w.Export]++
		s.Finish(c.Waiter, s.Claim(c.Waiter, now), Outcome{Result: why}, now, 0.5)
		away = append(away, back{c.Waiter, w, now.Add(10 * time.Second)})
	}
	return probes
}

// Exports that alone can't be read are read less recently than all others, for
// ever; still each of the others is soon the probe, which ends the halt.
func TestProbesGoRound(t *testing.T) {
	for _, why := range []Result{Failed, Forbidden} {
		s, now := halted(t, why)
		for _, id := range []string{"poison 1", "poison 2", "sound"} {
			s.Join(id, Waiter{Export: id, Kind: Read, Since: now}, now)
		}
		s.Renders["sound"].Last = now
		n := probed(t, s, now, why)
		for id, of := range n {
			if of < 8 {
				t.Errorf("%d: %s was probed %d times in an hour: %v", why, id, of, n)
			}
		}
		if len(n) != 3 {
			t.Errorf("%d: not all were probed: %v", why, n)
		}
	}
}

// A submit that is lost is a doubt, and its export may be paid for in vain, so it is
// never the probe of a provider that doesn't answer.
func TestASubmitIsNoProbeOfAnOutage(t *testing.T) {
	for _, reads := range [][]string{nil, {"poison 1", "poison 2"}} {
		s, now := halted(t, Failed)
		for _, id := range reads {
			s.Join(id, Waiter{Export: id, Kind: Read, Since: now}, now)
		}
		s.Join("new", Waiter{Export: "new", Kind: Submit, Since: now}, now)
		if n := probed(t, s, now, Failed); n["new"] != 0 || len(n) != len(reads) {
			t.Errorf("probes in an hour: %v", n)
		}
	}
}

// An answer that says nothing of the account is no probe, and lets no second go at once.
func TestANeutralAnswerIsNoProbe(t *testing.T) {
	for _, why := range []Result{Failed, Forbidden} {
		s, now := halted(t, why)
		ask := func(export string) bool {
			s.Join(export, Waiter{Export: export, Kind: Other, Since: now}, now)
			return s.Next(now).Waiter == export
		}
		if !ask(PassedPrefix + "q") {
			t.Fatalf("%v: %+v", why, s.Gate.Halted())
		}
		s.Finish(PassedPrefix+"q", s.Claim(PassedPrefix+"q", now), Outcome{Neutral: true}, now, 0.5)
		if ask(PassedPrefix + "r") {
			t.Errorf("%v: a second goes at once", why)
		}
		if now = now.Add(turnLease); s.Next(now).Waiter == "" {
			t.Errorf("%v: none goes", why)
		}
	}
}

// A refused key costs no doubt: who waits for longest finds out whether it works again.
func TestASubmitTriesAKeyThatIsRefused(t *testing.T) {
	s, now := halted(t, Forbidden)
	s.Join("foreign", Waiter{Export: "foreign", Kind: Read, Since: now}, now)
	s.Join("new", Waiter{Export: "new", Kind: Submit, Since: now}, now)
	if n := probed(t, s, now, Forbidden); n["new"] < 10 {
		t.Errorf("the submit was the probe %d times in an hour: %v", n["new"], n)
	}
}
