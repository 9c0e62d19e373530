package telemetry

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestCachedReadsOnceForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loads := 0
		c := &cached[int]{fresh: 10 * time.Second, timeout: 3 * time.Second, now: time.Now, load: func(context.Context) (int, error) {
			time.Sleep(time.Second)
			loads++
			return loads, nil
		}}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if v, err := c.get(); v != 1 || err != nil {
					t.Errorf("got %d, %v; want the one value that was read", v, err)
				}
			})
		}
		all.Wait()
		time.Sleep(9 * time.Second)
		if v, _ := c.get(); v != 1 {
			t.Errorf("after 9 s it was read again")
		}
		time.Sleep(2 * time.Second)
		if v, _ := c.get(); v != 2 {
			t.Errorf("after 11 s it still is the old value %d", v)
		}
	})
}

func TestCachedDoesNotWaitForASlowSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var loads atomic.Int32
		c := &cached[int]{fresh: 10 * time.Second, timeout: 3 * time.Second, now: time.Now, load: func(context.Context) (int, error) {
			loads.Add(1)
			time.Sleep(time.Minute) // as one that ignores its context
			return 7, nil
		}}
		for range 5 {
			began := time.Now()
			if _, err := c.get(); !errors.Is(err, errSlow) {
				t.Fatalf("got %v, want errSlow", err)
			}
			if waited := time.Since(began); waited != 3*time.Second {
				t.Fatalf("waited %s", waited)
			}
		}
		if n := loads.Load(); n != 1 {
			t.Errorf("a source that hangs was asked %d times at once", n)
		}
		time.Sleep(46 * time.Second) // it answers after a minute in all
		if v, err := c.get(); v != 7 || err != nil {
			t.Errorf("what came late is %d, %v", v, err)
		}
	})
}

func TestCachedKeepsAFailureAsLongAsAValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loads, down := 0, errors.New("down")
		c := &cached[int]{fresh: 10 * time.Second, timeout: 3 * time.Second, now: time.Now, load: func(context.Context) (int, error) {
			loads++
			return 0, down
		}}
		for range 3 {
			if _, err := c.get(); !errors.Is(err, down) {
				t.Fatalf("got %v", err)
			}
		}
		if loads != 1 {
			t.Errorf("a source that is down was asked %d times", loads)
		}
	})
}
