package pace

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// wild draws numbers as hostile answers have them.
func wild(t *rapid.T, name string) float64 {
	return rapid.OneOf(
		rapid.Float64Range(0, 5000), rapid.Float64(),
		rapid.SampledFrom([]float64{0, -1, math.Inf(1), math.Inf(-1), math.NaN(), 1e308, 5e-324}),
	).Draw(t, name)
}

func wildOutcome(t *rapid.T) Outcome {
	return Outcome{
		Result:     Result(rapid.IntRange(0, 5).Draw(t, "result")),
		RetryAfter: time.Duration(rapid.Int64().Draw(t, "retry")),
		Accepted:   rapid.Bool().Draw(t, "accepted"),
		Ended:      rapid.IntRange(0, 4).Draw(t, "ended") == 0,
		Succeeded:  rapid.Bool().Draw(t, "succeeded"),
		Clips:      rapid.IntRange(-1, 30).Draw(t, "clips"), ClipsReady: rapid.IntRange(-1, 30).Draw(t, "ready"),
		Seconds: wild(t, "seconds"), SecondsReady: wild(t, "done"),
	}
}

// TestAnyHistory runs whatever the provider may say through the state: every
// estimate stays finite, every index is a number or overdue and grows with
// time, nothing that waits is left without a moment at which it is looked at,
// and the stored form says it all.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{
			PerMinute: rapid.SampledFrom([]int{0, 1, 15, 600}).Draw(t, "rate"),
			Slots:     rapid.SampledFrom([]int{0, 1, 5}).Draw(t, "slots"),
		}
		s, now := NewState(limits), Instant(1_700_000_000_000_000)
		s.Create(now)
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += Instant(rapid.Int64Range(0, 200_000_000).Draw(t, "pass"))
			s.Settle(now)
			export := fmt.Sprint("x", rapid.IntRange(0, 6).Draw(t, "export"))
			kind := Kind(rapid.IntRange(0, 2).Draw(t, "kind"))
			s.Alive("w", now)
			s.Join(fmt.Sprint(i), Waiter{
				Export: export, Kind: kind, Worker: "w", Clips: rapid.IntRange(0, 9).Draw(t, "asked"),
				Deadline: now + Instant(rapid.Int64Range(-10, 1e9).Draw(t, "deadline")),
			}, now)
			c := s.Next(now)
			if c.Waiter == "" && c.At <= now {
				t.Fatalf("nothing to do now, but at once: %v", c)
			}
			if c.Waiter == "" {
				continue
			}
			turn := s.Claim(c.Waiter, now)
			now += Instant(rapid.Int64Range(1, 50_000_000).Draw(t, "latency"))
			s.Finish(c.Waiter, turn, wildOutcome(t), now, rapid.Float64Range(0, 0.99).Draw(t, "dice"))
			check(t, s, now)
		}
	})
}

func check(t *rapid.T, s *State, now Instant) {
	if held := len(s.Renders); s.Limits.Slots > 0 && len(s.Waiters) == 0 && held > 7 {
		t.Fatalf("%d slots held", held)
	}
	for export, r := range s.Renders {
		l := s.modelOf(r)
		sum := 0.0
		for _, p := range l {
			sum += p.weight
			if p.weight > 0 && (math.IsNaN(p.mu) || math.IsInf(p.mu, 0) || !(p.sigma > 0) || math.IsInf(p.sigma, 0)) {
				t.Fatalf("%s: %+v from %+v", export, *l, r)
			}
		}
		if math.Abs(sum-1) > 1e-9 {
			t.Fatalf("%s: weights add up to %v", export, sum)
		}
		last := 0.0
		for at := r.quietSince(); at < r.quietSince().Add(3*time.Hour); at = at.Add(7 * time.Minute) {
			j := s.Index(export, at)
			// What is worth a read begins at about a tenth; below a millionth only the
			// rounding of a nearly certain tail is left.
			if math.IsNaN(j) || j < last-1e-6*math.Abs(last)-1e-6 {
				t.Fatalf("%s: index %v after %v, with %+v", export, j, last, *l)
			}
			last = j
		}
		if next := s.NextRead(export, now); next > now.Add(Gap) {
			t.Fatalf("%s: read only at %v", export, next.Sub(now))
		}
	}
	for _, d := range s.Starts(now, []int{0, 1, 50}) {
		if d < 0 {
			t.Fatalf("starts in %v", d)
		}
	}
	other := NewState(s.Limits)
	if err := other.Load(s.Fields()); err != nil {
		t.Fatal(err)
	}
	if a, b := s.Fields(), other.Fields(); !maps.Equal(a, b) {
		t.Fatalf("stored %v\nread %v", a, b)
	}
}

// TestAllReadyStillGoing is a render whose clips are all there and whose
// lengths add up to a hair more than the whole: it is read again soon.
func TestAllReadyStillGoing(t *testing.T) {
	s, now := NewState(Limits{PerMinute: 15, Slots: 5}), Instant(1_700_000_000_000_000)
	s.Create(now)
	s.Join("s", Waiter{Export: "x", Kind: Submit, Worker: "w"}, now)
	s.Finish("s", s.Claim("s", now), Outcome{Result: Answered, Accepted: true}, now, 0)
	now = now.Add(100 * time.Second)
	for range 5 {
		s.Join("r", Waiter{Export: "x", Kind: Read, Worker: "w"}, now)
		s.Finish("r", s.Claim("r", now), Outcome{
			Result: Answered, Clips: 3, ClipsReady: 3, Seconds: 0.1 + 0.2, SecondsReady: 0.30000000000000010,
		}, now, 0)
		next := s.NextRead("x", now)
		if wait := next.Sub(now); wait <= 0 || wait > 30*time.Second {
			t.Fatalf("read again after %v", wait)
		}
		now = next
	}
}

// TestUnreadableFields holds that foreign bytes in the store are named and
// survived.
func TestUnreadableFields(t *testing.T) {
	s := NewState(Limits{PerMinute: 15})
	err := s.Load(map[string]string{"gate": "{", "x:a": `{"s":1}`, "x:b": "[]", "later": "?", "": ""})
	if err == nil || s.Renders["a"] == nil || s.Renders["b"] != nil {
		t.Fatalf("%v, %v", err, s.Renders)
	}
}

func FuzzApply(f *testing.F) {
	for name, value := range NewState(Limits{PerMinute: 15}).Fields() {
		f.Add(name, value)
	}
	f.Add("x:a", `{"s":1,"u":9,"m":[{"a":1,"f":2,"m":3,"s":4}]}`)
	f.Add("w:a", `{"x":"a","k":7}`)
	f.Add("t:a", `null`)
	f.Fuzz(func(t *testing.T, name, value string) {
		s := NewState(Limits{PerMinute: 15, Slots: 5})
		_ = s.Apply(map[string]string{name: value}, nil)
		now := Instant(1_700_000_000_000_000)
		s.Settle(now)
		s.Next(now)
		for x := range s.Renders {
			s.NextRead(x, now)
		}
		if !json.Valid([]byte(fmt.Sprintf("%q", name))) {
			t.Skip()
		}
		s.Starts(now, []int{1})
	})
}
