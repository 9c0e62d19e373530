package emulator

import (
	"errors"
	"time"
)

// Shape is how a rate limit counts. The provider doesn't say which it uses.
type Shape string

const (
	// FixedWindow allows so many requests in each minute of the clock.
	FixedWindow Shape = "fixed"
	// SlidingWindow allows so many in any 60 seconds.
	SlidingWindow Shape = "sliding"
	// TokenBucket holds Burst tokens, one a request, and is refilled evenly.
	TokenBucket Shape = "bucket"
)

// Limits are what one key may do.
type Limits struct {
	// Shape is FixedWindow if empty.
	Shape Shape `json:"shape"`
	// RequestsPerMinute counts submits and reads together; 0 is no limit.
	RequestsPerMinute int `json:"requests_per_minute"`
	// Burst is the capacity of a TokenBucket; RequestsPerMinute if 0.
	Burst int `json:"burst,omitempty"`
	// MaxActive is how many exports may be unfinished at once; 0 is no limit.
	MaxActive int `json:"max_active"`
}

// DocumentedLimits are those of the provider's own pages: 15 requests a minute and
// 5 exports at once.
func DocumentedLimits() Limits {
	return Limits{Shape: FixedWindow, RequestsPerMinute: 15, MaxActive: 5}
}

func (l Limits) validate() error {
	switch l.Shape {
	case "", FixedWindow, SlidingWindow, TokenBucket:
	default:
		return errors.New("limits: shape: must be fixed, sliding or bucket")
	}
	if l.RequestsPerMinute < 0 || l.RequestsPerMinute > 1_000_000 || l.Burst < 0 || l.Burst > 1_000_000 || l.MaxActive < 0 {
		return errors.New("limits: must not be negative, and at most 1,000,000")
	}
	return nil
}

// limiter counts the requests of one key. Its zero value has seen none.
type limiter struct {
	// window and used are those of FixedWindow.
	window time.Time
	used   int
	// recent are the moments of the last requests, oldest first, for SlidingWindow.
	recent []time.Time
	// level is what a TokenBucket held at the time of filled, which is zero before
	// the first request.
	level  int64
	filled time.Time
}

// token is one token: what flows in during a minute at one request a minute, so
// that nothing has to be rounded.
const token = int64(time.Minute)

// allow counts a request at now, unless the limits refuse it.
func (l *limiter) allow(now time.Time, limits Limits) bool {
	n := limits.RequestsPerMinute
	if n == 0 {
		return true
	}
	switch limits.Shape {
	case SlidingWindow:
		for len(l.recent) > 0 && now.Sub(l.recent[0]) >= time.Minute {
			l.recent = l.recent[1:]
		}
		if len(l.recent) >= n {
			return false
		}
		l.recent = append(l.recent, now)
		return true
	case TokenBucket:
		return l.take(now, n, limits.Burst)
	default:
		if w := now.Truncate(time.Minute); !w.Equal(l.window) {
			l.window, l.used = w, 0
		}
		if l.used >= n {
			return false
		}
		l.used++
		return true
	}
}

func (l *limiter) take(now time.Time, perMinute, burst int) bool {
	if burst == 0 {
		burst = perMinute
	}
	full := int64(burst) * token
	if l.filled.IsZero() {
		l.filled, l.level = now, full
	}
	if d := now.Sub(l.filled); d > 0 {
		// More time than it takes to fill it would overflow.
		d = min(d, time.Duration(full/int64(perMinute)+1))
		l.level += int64(d) * int64(perMinute)
		l.filled = now
	}
	l.level = min(l.level, full)
	if l.level < token {
		return false
	}
	l.level -= token
	return true
}
