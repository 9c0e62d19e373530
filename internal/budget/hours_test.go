package budget

import (
	"context"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// site is a provider in virtual time: slots, a sliding minute, and renders that
// take their time.
type site struct {
	mu       sync.Mutex
	ends     map[string]time.Time
	log      []time.Time
	busy     time.Duration
	lag      time.Duration
	seen     int
	refused  int
	requests int
	trips    int // to the store
	lost     int // answers
	rnd      *rand.Rand
}

func (s *site) admit(now time.Time) bool {
	s.requests++
	for len(s.log) > 0 && now.Sub(s.log[0]) >= time.Minute {
		s.log = s.log[1:]
	}
	if len(s.log) >= 15 {
		s.refused++
		return false
	}
	s.log = append(s.log, now)
	return true
}

func (s *site) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost++
}

func (s *site) submit(id string) Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, active := time.Now(), 0
	for _, end := range s.ends {
		if end.After(now) {
			active++
		}
	}
	if !s.admit(now) {
		return Outcome{Result: Refused}
	}
	if active >= 5 {
		s.refused++
		return Outcome{Result: Refused}
	}
	took := time.Duration(120 * math.Exp(0.5*s.rnd.NormFloat64()) * float64(time.Second))
	s.ends[id] = now.Add(took)
	s.busy += took
	return accepted
}

func (s *site) read(id string) Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.admit(now) {
		return Outcome{Result: Refused}
	}
	end := s.ends[id]
	if end.After(now) {
		return Outcome{Result: Answered}
	}
	delete(s.ends, id)
	s.lag += now.Sub(end)
	s.seen++
	return Outcome{Result: Answered, Ended: true, Succeeded: true}
}

// hours runs a fleet through a few hours, on real gates, and returns the share of the
// slots' time that rendered.
func hours(t *testing.T, workers int) (busy float64, s *site) {
	const length = 3 * time.Hour
	s = &site{ends: map[string]time.Time{}, rnd: rand.New(rand.NewPCG(1, 2))}
	synctest.Test(t, func(t *testing.T) {
		m := newTroubled()
		m.delay = 500 * time.Microsecond
		gate := gates(t, func(o *Options) { o.store = m })
		ctx, cancel := context.WithTimeout(t.Context(), length)
		defer cancel()
		var wg sync.WaitGroup
		var made sync.Mutex
		n := 0
		next := func() string {
			made.Lock()
			defer made.Unlock()
			n++
			return strconv.Itoa(n)
		}
		for range workers {
			g := gate(Options{RequestsPerMinute: 15, MaxActive: 5})
			for range 2 {
				wg.Go(func() {
					for ctx.Err() == nil {
						id := next()
						turn, err := g.Wait(ctx, Request{Export: id, Kind: Submit, Prepare: func(context.Context) error {
							time.Sleep(100 * time.Millisecond)
							return nil
						}})
						if err != nil {
							return
						}
						time.Sleep(100 * time.Millisecond)
						o := s.submit(id)
						time.Sleep(100 * time.Millisecond)
						mustDone(t, turn, o)
						if o.Accepted {
							wg.Go(func() { poll(ctx, t, g, s, id) })
						}
					}
				})
			}
		}
		wg.Wait()
		s.trips = m.count()
	})
	return s.busy.Hours() / (5 * length.Hours()), s
}

// poll reads until the end is seen, as the worker's tasks do.
func poll(ctx context.Context, t *testing.T, g *Gate, s *site, id string) {
	for {
		at, err := g.NextRead(ctx, id)
		if err != nil {
			return
		}
		select {
		case <-time.After(time.Until(at.Truncate(time.Second).Add(time.Second))):
		case <-ctx.Done():
			return
		}
		turn, err := g.Wait(ctx, Request{Export: id, Kind: Read})
		if err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
		o := s.read(id)
		time.Sleep(100 * time.Millisecond)
		mustDone(t, turn, o)
		if o.Ended {
			return
		}
	}
}

// TestManyWorkersAreOne runs it with one worker and with four: sharing
// costs less than a hundredth, and nobody is ever refused.
func TestManyWorkersAreOne(t *testing.T) {
	t.Parallel()
	one, a := hours(t, 1)
	four, b := hours(t, 4)
	t.Logf("one worker %.2f %%, lag %v; four %.2f %%, lag %v",
		100*one, a.lag/time.Duration(a.seen), 100*four, b.lag/time.Duration(b.seen))
	for workers, s := range map[int]*site{1: a, 4: b} {
		if per := float64(s.trips) / float64(s.requests); per > 3 {
			t.Errorf("%d workers: %.3f round trips a request", workers, per)
		} else {
			t.Logf("%d workers: %.3f round trips a request", workers, per)
		}
	}
	if four < one*0.99 {
		t.Errorf("four workers render %.4f of the time, one %.4f", four, one)
	}
	if a.refused+b.refused > 0 {
		t.Errorf("refused %d and %d times", a.refused, b.refused)
	}
}
