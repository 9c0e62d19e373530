package budget

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// rough is the way to a store on which everything may be slow, lost, late, or
// done twice, as a client that tries again does it.
type rough struct {
	*troubled
	mu   sync.Mutex
	rnd  *rand.Rand
	late sync.WaitGroup
}

var errRough = errors.New("no answer")

func (r *rough) dice(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rnd.IntN(n)
}

func (r *rough) travel() { time.Sleep(time.Duration(r.dice(30_000)) * time.Microsecond) }

func (r *rough) Load(ctx context.Context, worker string) (snapshot, error) {
	r.travel()
	snap, err := r.troubled.Load(ctx, worker)
	r.travel()
	return snap, err
}

func (r *rough) Swap(ctx context.Context, c change) (reply, error) {
	r.travel()
	fate := r.dice(100)
	switch {
	case fate < 3: // never arrives
		return reply{}, errRough
	case fate < 6: // arrives when nobody waits for the answer any more
		wait := time.Duration(r.dice(2000)) * time.Millisecond
		r.late.Go(func() {
			time.Sleep(wait)
			_, _ = r.troubled.Swap(context.Background(), c)
		})
		return reply{}, errRough
	}
	rep, err := r.troubled.Swap(ctx, c)
	r.travel()
	switch {
	case fate < 12: // the answer is lost
		return reply{}, errRough
	case fate < 18: // the answer is lost, and the client asks again
		r.travel()
		return r.troubled.Swap(ctx, c)
	}
	return rep, err
}

// TestAnyInterleaving runs four workers over a rough way to their store. No
// request is refused for the rate or for want of a slot, each is counted once,
// and in the end nothing is held.
func TestAnyInterleaving(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inMemory(t, func(t *testing.T, m *troubled, _ func(Options) *Gate) {
				r := &rough{troubled: m, rnd: rand.New(rand.NewPCG(seed, 3))}
				t.Cleanup(r.late.Wait) // also of what the gates store as they close
				gate := gates(t, func(o *Options) { o.store = r })
				s := &site{ends: map[string]time.Time{}, rnd: rand.New(rand.NewPCG(seed, 4))}
				var wg sync.WaitGroup
				fleet := make([]*Gate, 4)
				for w := range fleet {
					fleet[w] = gate(Options{RequestsPerMinute: 15, MaxActive: 5})
				}
				for w := range fleet {
					for k := range 2 {
						wg.Go(func() {
							for i := range 6 {
								export(t, r, fleet, s, fmt.Sprintf("%d-%d-%d", w, k, i))
							}
						})
					}
				}
				wg.Wait()
				r.late.Wait()
				st, err := fleet[0].Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if s.refused > 0 {
					t.Errorf("refused %d times of %d", s.refused, s.requests)
				}
				if sent := int(st.Sent[Submit] + st.Sent[Read]); sent != s.requests || st.Crashed != 0 {
					t.Errorf("%d requests were sent, %d are counted, %d as crashed", s.requests, sent, st.Crashed)
				}
				if failed := int(st.Failed[Submit] + st.Failed[Read]); failed != s.lost {
					t.Errorf("%d failed, %d are counted", s.lost, failed)
				}
				if len(st.Held) != 0 || st.InFlight[Submit]+st.InFlight[Read] != 0 {
					t.Errorf("in the end: %+v", st)
				}
				if n := len(m.fields); st.Waiting[Submit]+st.Waiting[Read] > 0 {
					t.Errorf("%d fields, and nobody waits: %+v", n, st)
				}
			})
		})
	}
}

// export carries one export through, each step by any of the workers.
func export(t *testing.T, r *rough, fleet []*Gate, s *site, id string) {
	kind := Submit
	for {
		g := fleet[r.dice(len(fleet))]
		ctx := t.Context()
		if r.dice(8) == 0 { // gives up early, now and then
			short, cancel := context.WithTimeout(ctx, time.Duration(r.dice(10_000))*time.Millisecond)
			defer cancel()
			ctx = short
		}
		turn, err := g.Wait(ctx, Request{Export: id, Kind: kind, Prepare: func(context.Context) error {
			time.Sleep(time.Duration(r.dice(300)) * time.Millisecond)
			if r.dice(20) == 0 {
				return errRough
			}
			return nil
		}})
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errRough) {
				t.Error(err)
				return
			}
			continue
		}
		time.Sleep(time.Duration(r.dice(300)) * time.Millisecond)
		o := s.submit
		if kind == Read {
			o = s.read
		}
		outcome := o(id)
		if !outcome.Accepted && !outcome.Ended && r.dice(6) == 0 {
			outcome = Outcome{Result: Failed}
			s.lose()
		}
		time.Sleep(time.Duration(r.dice(300)) * time.Millisecond)
		for turn.Done(t.Context(), outcome) != nil {
			time.Sleep(time.Duration(r.dice(3000)) * time.Millisecond)
		}
		if outcome.Ended {
			return
		}
		if outcome.Accepted {
			kind = Read
		}
	}
}
