package passthrough

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/clipferry/clipferry/tasks"
)

// checkOrders refuses what is not to be ordered now. Redis is asked for both reasons at
// the same time.
func (s *Service) checkOrders(ctx context.Context) error {
	var paused error
	var asked sync.WaitGroup
	asked.Go(func() { paused = s.checkPaused(ctx) })
	spent := s.checkUnits(ctx)
	asked.Wait()
	return cmp.Or(paused, spent)
}

// checkPaused refuses what is ordered while the operator has paused orders.
func (s *Service) checkPaused(ctx context.Context) error {
	paused, err := s.queue.Paused(ctx, tasks.AccountQueue(tasks.QueueFor(""), s.o.Account))
	switch {
	case err != nil:
		return notNow(err)
	case !paused:
		return nil
	}
	return &Refusal{
		Status: http.StatusServiceUnavailable, Reason: "queue_paused", RetryAfter: time.Minute,
		Message: "the operator has paused new orders; nothing was sent",
	}
}

// checkUnits refuses what would be spent above the day's cap.
func (s *Service) checkUnits(ctx context.Context) error {
	if s.o.Units == nil {
		return nil
	}
	ends, err := s.o.Units.Wait(ctx, s.now())
	switch {
	case err != nil:
		return notNow(err)
	case ends.IsZero():
		return nil
	}
	return &Refusal{
		Status: http.StatusTooManyRequests, Reason: "daily_units", RetryAfter: ends.Sub(s.now()),
		Message: "the units that may be spent today are spent; the next day begins at " + ends.UTC().Format(time.RFC3339),
	}
}

// longestAgain bounds what a client is told to wait: an estimate of the cold may be
// far too long, and a slot is of no use to one who stays away.
const longestAgain = 30 * time.Second

// notInTime is what is answered to a client whose turn did not come. status is that
// of a wait that would outlast it.
func (s *Service) notInTime(ctx context.Context, err error, status int) error {
	if ctx.Err() != nil {
		return ctx.Err() // the client has left
	}
	if s.stopped.Err() != nil {
		return &Refusal{
			Status: http.StatusServiceUnavailable, Reason: "stopping", RetryAfter: 5 * time.Second,
			Message: "this server stops; nothing was sent, send it again",
		}
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		return notNow(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if h, err := s.o.Gate.Health(ctx); err == nil && h.Passed {
		return &Refusal{
			Status: http.StatusServiceUnavailable, Reason: h.Halted, RetryAfter: time.Minute,
			Message: "nothing is sent to the provider at the moment; the operator's status says why",
		}
	}
	wait := 10 * time.Second
	if starts, err := s.o.Gate.Starts(ctx, 0); err == nil && len(starts) == 1 {
		wait = min(max(starts[0], 5*time.Second), longestAgain)
	}
	return &Refusal{
		Status: status, Reason: "busy", RetryAfter: wait,
		Message: "the provider's limits are used up, and this request waits too long for its turn; nothing was sent. Send it again: it keeps its place in line for a while",
	}
}

// notNow is a failure of Redis.
func notNow(err error) error {
	return &Refusal{
		Status: http.StatusServiceUnavailable, Reason: "unavailable", RetryAfter: 5 * time.Second, Err: err,
		Message: "clipferry cannot answer at the moment; try again",
	}
}
