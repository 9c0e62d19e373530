package budget

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/clipferry/clipferry/internal/pace"
)

// Turn is the right to send one request.
type Turn struct {
	gate *Gate
	id   string
	turn pace.Turn

	// Of an order for an account without limits: when it may have been sent, by Redis's
	// clock in microseconds, how many were not understood before, and whether it goes by
	// an operator's word.
	sent int64
	odd  int
	word bool

	mu      sync.Mutex
	done    bool
	verdict pace.Verdict
}

// Waited is how long the turn took to come.
func (t *Turn) Waited() time.Duration { return time.Duration(t.turn.Waited) * time.Microsecond }

// Lease is for how long the request may be in flight, from the moment that
// Wait returned: a request that could take longer must be given up by then,
// because the others then take its holder for dead.
func (t *Turn) Lease() time.Duration { return t.turn.Until.Sub(t.turn.Began) }

// Done says what came of the request. It must be called for every turn; a
// second call changes nothing. After an error it may be called again; if it
// never succeeds, the turn ends with its lease.
func (t *Turn) Done(ctx context.Context, o Outcome) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return nil
	}
	if u := t.gate.unlimited; u != nil && t.turn.Kind == Submit {
		if err := u.done(ctx, t, o); err != nil {
			return fmt.Errorf("record the end of a %s: %w", t.turn.Kind, err)
		}
	}
	dice := t.gate.rand()
	var verdict pace.Verdict // may be written yet if ctx ends
	err := t.gate.do(ctx, &op{finish: t.id, apply: func(now pace.Instant, s *pace.State) {
		verdict = s.Finish(t.id, t.turn, o, now, dice)
	}})
	if err != nil {
		return fmt.Errorf("record the end of a %s: %w", t.turn.Kind, err)
	}
	t.done, t.verdict = true, verdict
	return nil
}

// Refused says, once Done has recorded a submit's refusal that may be the account's
// fault, when it came (on the clock of the store, for [Request.Refused]) and whether it
// is the export's own: it was refused before, and the account has accepted another
// since, or there was none to wait for and the account isn't halted.
func (t *Turn) Refused() (at time.Time, final bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.verdict.Refused.Time(), t.verdict.Final
}
