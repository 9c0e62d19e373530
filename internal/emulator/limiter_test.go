package emulator

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestLimitsAreExact(t *testing.T) {
	minute := time.Date(2026, 4, 7, 14, 38, 0, 0, time.UTC)
	type ask struct {
		at      time.Duration
		n       int // how many in a row
		allowed int // how many of them
	}
	for name, tc := range map[string]struct {
		limits Limits
		asks   []ask
	}{
		"none": {Limits{}, []ask{{0, 1000, 1000}}},
		"fixed": {Limits{Shape: FixedWindow, RequestsPerMinute: 15}, []ask{
			{59 * time.Second, 20, 15}, {time.Minute - 1, 1, 0}, {time.Minute, 20, 15}, {2*time.Minute - 1, 1, 0}, {2 * time.Minute, 1, 1},
		}},
		"fixed is what an empty shape means": {Limits{RequestsPerMinute: 2}, []ask{{59 * time.Second, 3, 2}, {time.Minute, 3, 2}}},
		"sliding": {Limits{Shape: SlidingWindow, RequestsPerMinute: 15}, []ask{
			{0, 10, 10}, {30 * time.Second, 10, 5}, {time.Minute - 1, 1, 0}, {time.Minute, 15, 10}, {90*time.Second - 1, 1, 0}, {90 * time.Second, 9, 5},
		}},
		"bucket": {Limits{Shape: TokenBucket, RequestsPerMinute: 15, Burst: 2}, []ask{
			{0, 5, 2}, {4*time.Second - 1, 1, 0}, {4 * time.Second, 2, 1}, {time.Hour, 9, 2},
		}},
		"bucket, full size": {Limits{Shape: TokenBucket, RequestsPerMinute: 15}, []ask{{0, 20, 15}, {8 * time.Second, 9, 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			var l limiter
			for _, a := range tc.asks {
				allowed := 0
				for range a.n {
					if l.allow(minute.Add(a.at), tc.limits) {
						allowed++
					}
				}
				if allowed != a.allowed {
					t.Errorf("at %v: %d of %d allowed, want %d", a.at, allowed, a.n, a.allowed)
				}
			}
		})
	}
}

// Whatever comes, no shape allows more than it says; and each allows a request
// whenever that wouldn't be too many.
func TestLimitsHold(t *testing.T) {
	begin := time.Date(2026, 4, 7, 14, 38, 0, 0, time.UTC)
	for _, shape := range []Shape{FixedWindow, SlidingWindow, TokenBucket} {
		t.Run(string(shape), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				limits := Limits{Shape: shape, RequestsPerMinute: rapid.IntRange(1, 20).Draw(t, "limit")}
				limits.Burst = rapid.IntRange(1, limits.RequestsPerMinute).Draw(t, "burst")
				var l limiter
				var allowed []time.Time
				now := begin
				for _, gap := range rapid.SliceOfN(rapid.IntRange(0, 20_000), 1, 200).Draw(t, "gaps") {
					now = now.Add(time.Duration(gap) * time.Millisecond)
					fits := couldAllow(allowed, now, limits)
					if l.allow(now, limits) != fits {
						t.Fatalf("at %v after %d: want %v", now.Sub(begin), len(allowed), fits)
					}
					if fits {
						allowed = append(allowed, now)
					}
				}
			})
		})
	}
}

// couldAllow says the same from the whole history, by the shape's definition.
func couldAllow(allowed []time.Time, now time.Time, limits Limits) bool {
	n := 0
	switch limits.Shape {
	case TokenBucket:
		// What any span to now has used is at most the burst and what came in.
		for i := len(allowed) - 1; i >= 0; i-- {
			used := int64(len(allowed)-i+1) * token
			in := int64(now.Sub(allowed[i])) * int64(limits.RequestsPerMinute)
			if used > int64(limits.Burst)*token+in {
				return false
			}
		}
		return limits.Burst >= 1
	case SlidingWindow:
		for _, at := range allowed {
			if now.Sub(at) < time.Minute {
				n++
			}
		}
	default:
		for _, at := range allowed {
			if at.Truncate(time.Minute).Equal(now.Truncate(time.Minute)) {
				n++
			}
		}
	}
	return n < limits.RequestsPerMinute
}

func TestBothLimitsAnswerTheSame(t *testing.T) {
	p := start(t, Options{Limits: DocumentedLimits()})
	for range 5 {
		p.submitted(`{"project_id":"p"}`)
	}
	const path = "/api/v2/clips/export"
	sixth := p.post(`{"project_id":"p"}`)
	wantRefusal(t, sixth, 429, "", path)
	for range 9 {
		p.get("x")
	}
	wantRefusal(t, p.post(`{"project_id":"p"}`), 429, "", path)
	wantRefusal(t, p.get("x"), 429, "", path+"/x")
	if h := sixth.header.Get("Retry-After"); h != "" {
		t.Errorf("Retry-After: %s is promised nowhere", h)
	}
	st := p.State()
	if st.Refused["active"] != 1 || st.Refused["rate"] != 2 || len(st.Submits) != 5 {
		t.Errorf("refused %v, %d submits", st.Refused, len(st.Submits))
	}
	if other := p.must("GET", path+"/x", "", "Authorization", "Bearer other", "x-wayinvideo-api-version", "v2"); other.status != 404 {
		t.Errorf("another key has no limit of its own: %d", other.status)
	}
	p.clock.advance(100 * time.Second) // all five end, and a new minute begins
	if a := p.post(`{"project_id":"p"}`); a.status != 200 {
		t.Errorf("a free slot is refused: %d", a.status)
	}
}
