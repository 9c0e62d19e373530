package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/clipferry/clipferry/internal/fault"
)

// Check is one condition of being ready, such as that Redis answers.
type Check struct {
	Name string
	// Timeout bounds one run; 2 s when zero.
	Timeout time.Duration
	// Run returns what is wrong, nil when nothing is. It ends with ctx. Its text
	// is shown to whoever asks: it must not hold a secret.
	Run func(ctx context.Context) error
}

const (
	checkTimeout = 2 * time.Second
	// readyAge is how old an answer of /readyz may be: probes must not become load.
	readyAge = 2 * time.Second
)

func serveAlive(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, map[string]string{"status": "alive"})
	return nil
}

// readiness runs the checks, at most once in [readyAge].
type readiness struct {
	checks   []Check
	now      func() time.Time
	draining func() bool

	mu   sync.Mutex
	at   time.Time
	last []checked
}

// checked is a check's outcome.
type checked struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	Took  int64  `json:"ms"`
}

// readyBody is the answer of /readyz.
type readyBody struct {
	Status string    `json:"status"` // ready, not ready or draining
	Checks []checked `json:"checks"`
}

func newReadiness(checks []Check, now func() time.Time, draining func() bool) *readiness {
	return &readiness{checks: checks, now: now, draining: draining}
}

const isReady = "ready"

// answer says how it is.
func (rd *readiness) answer(ctx context.Context) readyBody {
	body := readyBody{Status: isReady, Checks: rd.run(ctx)}
	for _, c := range body.Checks {
		if !c.OK {
			body.Status = "not ready"
		}
	}
	if rd.draining() {
		body.Status = "draining"
	}
	return body
}

func (rd *readiness) serve(w http.ResponseWriter, r *http.Request) error {
	body := rd.answer(context.WithoutCancel(r.Context()))
	status := http.StatusOK
	if body.Status != isReady {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, body)
	return nil
}

// run returns the outcomes, fresh or of a moment ago. Who asks meanwhile waits
// for the same run.
func (rd *readiness) run(ctx context.Context) []checked {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	if rd.last != nil && rd.now().Sub(rd.at) < readyAge {
		return rd.last
	}
	out := make([]checked, len(rd.checks))
	var all sync.WaitGroup
	for i, c := range rd.checks {
		all.Go(func() { out[i] = c.run(ctx, rd.now) })
	}
	all.Wait()
	rd.at, rd.last = rd.now(), out
	return out
}

// run runs the check and leaves at its timeout, even if the check does not.
func (c Check) run(ctx context.Context, now func() time.Time) checked {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = checkTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	start := now()
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %s", timeout)
	}
	return checked{Name: c.Name, OK: err == nil, Error: fault.SentenceOf(err), Took: now().Sub(start).Milliseconds()}
}
