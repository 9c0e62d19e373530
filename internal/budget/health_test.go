package budget

import (
	"context"
	"testing"
	"time"
)

// TestWhoLeavesAHealthReadsNothingLate: what it asks for may be looked up once it has
// gone. It is for the race detector.
func TestWhoLeavesAHealthReadsNothingLate(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, f fleet) {
		g := f.gate(Options{MaxActive: 1})
		mustDone(t, mustWait(t, g, Request{Export: "a", Kind: Submit}), accepted)
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan struct{})
		go func() { // so that the gate runs
			defer close(gone)
			_, _ = g.Wait(ctx, Request{Export: "b", Kind: Submit})
		}()
		for range 300 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(20*time.Microsecond, cancel)
			if h, err := g.Health(ctx); err != nil && h != (Health{}) {
				t.Errorf("%+v beside %v", h, err)
			}
			cancel()
		}
		leave()
		<-gone
	})
}
