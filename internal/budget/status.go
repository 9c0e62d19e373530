package budget

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/clipferry/clipferry/internal/pace"
)

// Status is what the budget of an account looks like at one moment. All times
// are on the clock of the store.
type Status struct {
	At time.Time
	// RequestsPerMinute and MaxActive are what is configured, Rate and Slots
	// what is believed to be ours at the moment; 0 is no limit.
	RequestsPerMinute, MaxActive int
	Rate                         float64
	Slots                        int
	// Credit is how many requests could go back to back now (+Inf without a
	// limit); Opens is when the next may go, zero if only after one that is
	// in flight.
	Credit float64
	Opens  time.Time
	// Held are the exports that hold slots, oldest first.
	Held []Slot
	// Line are the exports that wait for their submit in a handler, the next one
	// first. More may be in the queues behind.
	Line []string
	// Preparing are those of them that have a slot and are written ahead to S3, with
	// since when.
	Preparing map[string]time.Time
	// Lines counts them by tenant; what names none is the default one's.
	Lines map[string]int
	// Waiting and InFlight count requests by kind, Sent, Refused and Failed
	// what was sent since the state was made.
	Waiting, InFlight     map[Kind]int
	Sent, Refused, Failed map[Kind]int64
	// Doubts are submits whose outcome is unknown, Crashed requests whose holder
	// died, Denied answers that refuse the key or say that no units are left.
	Doubts, Crashed, Denied int64
	// Halted says why nothing is spent (of pace.HaltReasons), or empty; only
	// submits are halted if HaltedOrders is set. The next probe goes at Probe, if
	// anybody waits; without one when [Gate.Resume] says so.
	Halted             string
	HaltedOrders       bool
	HaltedSince, Probe time.Time
	// Accepted is when the provider accepted a submit last, Read when it answered a
	// read well last.
	Accepted, Read time.Time
	// Render times as learned, over recent exports: the mean estimated time
	// from a render's end to the read that saw it, mean real and predicted
	// durations, and the mean error of a prediction as a factor (1 = none).
	Ends                  int64
	Lag, Duration         time.Duration
	Predicted             time.Duration
	PredictionErrorFactor float64
}

// Slot is one export that holds a slot.
type Slot struct {
	Export  string
	Started time.Time
	Until   time.Time // the slot's lease
	// Expected is when its render is expected to end: half of those like it
	// end before.
	Expected time.Time
	Pending  bool // its submit is being sent
	InDoubt  bool // its submit's answer was lost
	Reads    int
	LastRead time.Time
}

// Status returns the state of the budget, in one round trip.
func (g *Gate) Status(ctx context.Context) (Status, error) {
	var st Status
	err := g.read(ctx, func(now pace.Instant, s *pace.State) { st = g.status(now, s) })
	if err != nil || g.unlimited == nil {
		return st, err
	}
	f, err := g.unlimited.look(ctx)
	if f.since != 0 {
		st.Halted, st.HaltedOrders, st.HaltedSince, st.Probe = pace.HaltAnswers, true, f.since.Time(), time.Time{}
	}
	return st, err
}

func (g *Gate) status(now pace.Instant, s *pace.State) Status {
	gate, halt, seen := &s.Gate, s.Gate.Halted(), &s.Learned.Seen
	st := Status{
		At: now.Time(), RequestsPerMinute: g.limits.PerMinute, MaxActive: g.limits.Slots,
		Rate: s.Rate(now), Slots: s.SlotLimit(now), Credit: s.Level(now),
		Waiting: map[Kind]int{}, InFlight: map[Kind]int{},
		Sent: map[Kind]int64{}, Refused: map[Kind]int64{}, Failed: map[Kind]int64{},
		Doubts: gate.Spent.Doubts, Crashed: gate.Spent.Crashed, Denied: gate.Spent.Denied,
		Halted: halt.Why, HaltedOrders: halt.Orders, Accepted: gate.Signs.Accepted.Time(), Read: gate.Signs.Read.Time(),
		HaltedSince: halt.Since.Time(),
		Ends:        seen.Ends, Lag: span(seen.Lag), Duration: span(seen.Real), Predicted: span(seen.Predicted),
		PredictionErrorFactor: math.Exp(seen.Miss),
	}
	if at := halt.Probe; at != pace.Never {
		st.Probe = at.Time()
	}
	st.Line, st.Lines, st.Preparing = s.Line(now), map[string]int{}, map[string]time.Time{}
	if at := s.Opens(now); at != pace.Never {
		st.Opens = at.Time()
	}
	for _, w := range s.Waiters {
		st.Waiting[w.Kind]++
		if w.Kind == Submit {
			st.Lines[cmp.Or(w.Tenant, "default")]++
		}
		if began, ok := w.PreparesSince(); ok {
			st.Preparing[w.Export] = began.Time()
		}
	}
	for _, t := range s.Turns {
		st.InFlight[t.Kind]++
	}
	for _, k := range pace.Kinds {
		st.Sent[k], st.Refused[k], st.Failed[k] = gate.Spent.Sent[k], gate.Spent.Refused[k], gate.Spent.Failed[k]
	}
	for export, r := range s.Renders {
		st.Held = append(st.Held, Slot{
			Export: export, Started: r.Started.Time(), Until: r.Until.Time(), Expected: s.Expected(r, now).Time(),
			Pending: r.Pending, InDoubt: r.Doubtful, Reads: r.Reads, LastRead: r.Last.Time(),
		})
	}
	slices.SortFunc(st.Held, func(a, b Slot) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.Export, b.Export))
	})
	return st
}

func span(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// Health is what the last answers say of the account. Times are on this machine's
// clock, zero if it never happened.
type Health struct {
	Halted   string    // why, as in [Status]
	Orders   bool      // only submits are halted
	Passed   bool      // what clients pass through is halted as well
	Probe    bool      // a read is to show that the provider answers
	Accepted time.Time // the last submit that was accepted
	Read     time.Time // the last read that was answered well
}

// Health returns what this worker knows of it, without a round trip while
// somebody waits here. Of an account without limits it takes one, and brings this
// worker up to date with what the fleet knows.
func (g *Gate) Health(ctx context.Context) (Health, error) {
	var h Health
	err := g.look(ctx, func(now pace.Instant, s *pace.State) {
		local := func(at pace.Instant) time.Time {
			if at == 0 {
				return time.Time{}
			}
			return time.Now().Add(at.Sub(now))
		}
		signs, halt := s.Gate.Signs, s.Gate.Halted()
		h = Health{Halted: halt.Why, Orders: halt.Orders, Passed: s.Gate.HaltsPassed(), Probe: s.ReadsProbe(), Accepted: local(signs.Accepted), Read: local(signs.Read)}
	})
	switch {
	case err != nil: // h may be written yet
		return Health{}, err
	case g.unlimited == nil:
		return h, nil
	}
	return g.follow(ctx, h)
}

// Slots returns the exports that hold slots, in no order.
func (g *Gate) Slots(ctx context.Context) ([]string, error) {
	var held []string
	err := g.read(ctx, func(_ pace.Instant, s *pace.State) {
		held = held[:0]
		for export := range s.Renders {
			held = append(held, export)
		}
	})
	return held, err
}

// Starts estimates in how long exports will start that have so many others
// before them in line (0 = the next one), one answer for each. It plays the
// slots forward with the durations that are expected; the answers are rough,
// but not rosy: they include the time until an end is seen, and what the
// request limit can carry.
func (g *Gate) Starts(ctx context.Context, ahead ...int) ([]time.Duration, error) {
	out := make([]time.Duration, len(ahead))
	err := g.read(ctx, func(now pace.Instant, s *pace.State) { copy(out, s.Starts(now, ahead)) })
	return out, err
}
