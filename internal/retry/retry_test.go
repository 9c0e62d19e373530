package retry

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := Wait(t.Context(), 3*time.Second); err != nil || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := Wait(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 4*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestBackoff(t *testing.T) {
	for _, tc := range []struct {
		n     int
		whole time.Duration
	}{
		{0, time.Second}, {1, 2 * time.Second}, {5, 32 * time.Second}, {6, time.Minute}, {63, time.Minute}, {1000, time.Minute},
	} {
		for range 100 {
			if d := Backoff(tc.n, time.Second, time.Minute); d < tc.whole/2 || d > tc.whole {
				t.Errorf("try %d waits %v, want %v to %v", tc.n, d, tc.whole/2, tc.whole)
			}
		}
	}
}

const longest = 10 * time.Minute

func TestAfter(t *testing.T) {
	now := time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		value, date string
		want        time.Duration
	}{
		{"", "", 0},
		{"7", "", 7 * time.Second},
		{" 1.5 ", "", 1500 * time.Millisecond},
		{"-3", "", 0},
		{"soon", "", 0},
		{"NaN", "", 0},
		{"1e300", "", longest},
		{"Inf", "", longest},
		{"99999999999999999999", "", longest},
		{"Wed, 01 Apr 2026 12:00:09 GMT", "", 9 * time.Second},
		{"Wed, 01 Apr 2026 11:00:00 GMT", "", 0},
		{"Wed, 01 Apr 2026 11:00:30 GMT", "Wed, 01 Apr 2026 11:00:10 GMT", 20 * time.Second},
		{"Fri, 31 Dec 9999 23:59:59 GMT", "", longest},
	} {
		h := http.Header{"Retry-After": {tc.value}, "Date": {tc.date}}
		if got := After(h, now, longest); got != tc.want {
			t.Errorf("Retry-After %q (Date %q) is %v, want %v", tc.value, tc.date, got, tc.want)
		}
	}
}

func FuzzAfter(f *testing.F) {
	for _, seed := range []string{"", "7", "-1", "1e308", "NaN", "0x1p4", "Wed, 01 Apr 2026 12:00:09 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(seed, "")
	}
	f.Fuzz(func(t *testing.T, value, date string) {
		got := After(http.Header{"Retry-After": {value}, "Date": {date}}, time.Unix(1775831883, 0), longest)
		if got < 0 || got > longest {
			t.Errorf("%q is %v", value, got)
		}
	})
}
