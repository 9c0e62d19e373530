package budget

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// TestCost counts round trips with four workers that are busy all the time:
// three a turn (join, claim, done), because two that change the state in the
// same moment seldom stand in each other's way; and none at all when nobody waits.
func TestCost(t *testing.T) {
	t.Parallel()
	const workers, waiters, each = 4, 2, 40
	for _, perMinute := range []int{15, 60, 300} {
		for _, delay := range []time.Duration{time.Millisecond, 20 * time.Millisecond} {
			for _, steady := range []bool{true, false} { // steady: all ends fall on the same beat
				t.Run(fmt.Sprint(perMinute, delay, steady), func(t *testing.T) {
					inMemory(t, func(t *testing.T, m *troubled, gate func(Options) *Gate) {
						m.delay = delay
						var warm, wg sync.WaitGroup
						warm.Add(workers * waiters)
						begin := make(chan struct{})
						for w := range workers {
							g := gate(Options{RequestsPerMinute: perMinute, MaxActive: 5})
							for k := range waiters {
								rnd := rand.New(rand.NewPCG(uint64(w), uint64(k)))
								request := func() time.Duration {
									if steady {
										return 200 * time.Millisecond
									}
									return time.Duration(rnd.IntN(400)) * time.Millisecond
								}
								wg.Go(func() {
									for i := range each + 1 {
										turn := mustWait(t, g, Request{Export: fmt.Sprint(w, k, i), Kind: Submit})
										time.Sleep(request())
										mustDone(t, turn, Outcome{Result: Answered}) // not taken: the slot is free again
										if !steady {
											time.Sleep(request())
										}
										if i == 0 { // the first are those of a new account
											warm.Done()
											<-begin
											time.Sleep(time.Duration(w*waiters+k) * 70 * time.Millisecond)
										}
									}
								})
							}
						}
						warm.Wait()
						before := m.count()
						close(begin)
						wg.Wait()
						if per := float64(m.count()-before) / (workers * waiters * each); per > 3 {
							t.Errorf("%.3f round trips a turn", per)
						}
						before = m.count()
						time.Sleep(time.Hour)
						if n := m.count() - before; n > workers {
							t.Errorf("%d round trips in an idle hour", n)
						}
					})
				})
			}
		}
	}
}
