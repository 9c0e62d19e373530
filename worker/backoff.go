package worker

import (
	"math/rand/v2"
	"time"
)

// backoff returns the wait before try n (from 0) of something that failed:
// doubling from base to limit, of which a random half is taken off so that what
// failed together does not return together.
func backoff(n int, base, limit time.Duration) time.Duration {
	d := limit
	if n < 30 && base<<n < limit {
		d = base << n
	}
	return d/2 + rand.N(d/2+1)
}

// beforeDeadline shortens a wait so that at least eight more tries fit before
// the deadline, if there is one.
func beforeDeadline(d time.Duration, now, deadline time.Time) time.Duration {
	if deadline.IsZero() || deadline.Before(now) {
		return d
	}
	return min(d, max(deadline.Sub(now)/8, time.Second))
}
