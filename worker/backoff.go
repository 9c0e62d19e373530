package worker

import (
	"time"
)

// beforeDeadline shortens a wait so that at least eight more tries fit before
// the deadline, if there is one.
func beforeDeadline(d time.Duration, now, deadline time.Time) time.Duration {
	if deadline.IsZero() || deadline.Before(now) {
		return d
	}
	return min(d, max(deadline.Sub(now)/8, time.Second))
}
