// Package retry has what everything that tries again needs, once: a wait that a
// context ends, a backoff, and a reader of Retry-After.
//
// It decides nothing: what is worth another try, and how often, is said where the
// failure is understood.
package retry

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Wait returns nil once d has passed, or the context's error if that ends first.
func Wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Backoff returns the wait before try n (from 0) of something that failed:
// doubling from first to longest, less a random part of up to a half, so that
// what failed together does not return together.
func Backoff(n int, first, longest time.Duration) time.Duration {
	d := longest
	if n < 30 && first<<n < longest {
		d = first << n
	}
	return d/2 + rand.N(d/2+1)
}

// After returns the wait that an answer's Retry-After asks for, in seconds or as
// a date, at most longest: a slip of the other side, or a date in another century,
// must not stop anything for the day. Zero when it says nothing usable. A date is
// measured against the answer's own Date where it has one, so that our clock, now,
// doesn't matter.
func After(h http.Header, now time.Time, longest time.Duration) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		// As floats: a huge number overflows a duration, and NaN compares false.
		switch {
		case seconds >= longest.Seconds():
			return longest
		case seconds > 0:
			return time.Duration(seconds * float64(time.Second))
		}
		return 0
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(until.Sub(now), 0), longest)
}
