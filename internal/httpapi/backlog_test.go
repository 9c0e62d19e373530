package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A Redis that hangs holds up whoever counts what waits, not whoever comes after:
// each would ask in turn, long after its own client has gone.
func TestACountThatHangsHoldsUpOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counts := 0
		a, err := New(Options{
			Logger: slog.New(slog.DiscardHandler), MaxWaiting: 5,
			Waiting: func(context.Context) (int, error) {
				counts++
				time.Sleep(12 * time.Second) // the inspector takes no context
				return 0, errors.New("i/o timeout")
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if err := a.checkWaiting(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took > 15*time.Second || counts != 1 {
			t.Errorf("50 requests took %s and counted %d times", took, counts)
		}
		time.Sleep(time.Minute)
		if err := a.checkWaiting(t.Context()); err != nil || counts != 2 {
			t.Errorf("%v after %d counts", err, counts)
		}
	})
}
