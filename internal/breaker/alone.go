package breaker

import (
	"sync"
	"time"
)

// alone is how the server stands with this process while others reach it: what
// is wrong is here, a name, a route, a key, and stops nobody else.
type alone struct {
	mu       sync.Mutex
	failures int // in a row
	last     time.Time
	halted   bool
	wait     time.Duration
	due      time.Time // the next probe
}

// ask returns how long to wait, zero for not at all, and whether to probe.
func (a *alone) ask(now time.Time) (wait time.Duration, probe bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !a.halted:
		return 0, false
	case now.Before(a.due):
		return a.due.Sub(now), false
	}
	a.due = now.Add(probeFor)
	return 0, true
}

// probed tells what came of a probe. After one that succeeded, one failure more
// halts again.
func (a *alone) probed(now time.Time, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ok {
		a.halted, a.failures = false, threshold-1
		return
	}
	a.wait = min(2*a.wait, maxWait)
	a.due = now.Add(a.wait)
}

// failed counts a failure.
func (a *alone) failed(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.last) >= keep {
		a.failures = 0
	}
	a.failures, a.last = a.failures+1, now
}

// open halts this process if it has failed often enough, and reports whether
// that is news.
func (a *alone) open(now time.Time, asked time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failures < threshold || a.halted {
		return false
	}
	a.halted = true
	a.wait = max(firstWait, min(2*a.wait, maxWait))
	a.due = now.Add(max(a.wait, asked))
	return true
}

// succeeded forgets all, and reports whether there was anything.
func (a *alone) succeeded() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.failures > 0
	a.failures, a.halted, a.wait = 0, false, 0
	return was
}

func (a *alone) isHalted() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.halted
}

func (a *alone) inARow() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failures
}
