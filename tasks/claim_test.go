package tasks

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"
)

// A TaskID is unique in one queue, and a JobID in all of them: whoever is told
// that it was taken must not be told of another's body.
func TestOneJobIDStandsForOneBodyInAllQueues(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, address string) {
		clients := []*Client{newTestClient(t, address), newTestClient(t, address)}
		for round := range 30 {
			id := fmt.Sprintf("job-%d", round)
			var mu sync.Mutex
			taken := map[string]int{}
			var group sync.WaitGroup
			for i := range 12 {
				e := Export{ProjectID: fmt.Sprintf("body-%d", i%3), JobID: id, Priority: []string{PriorityHigh, PriorityNormal, PriorityLow}[i%3]}
				group.Go(func() {
					_, err := clients[i%2].Enqueue(t.Context(), e)
					if err != nil && !errors.Is(err, ErrDifferentBody) {
						t.Error(err)
					}
					if err == nil {
						mu.Lock()
						taken[e.ProjectID]++
						mu.Unlock()
					}
				})
			}
			group.Wait()
			if len(taken) != 1 {
				t.Fatalf("%s was taken for %v", id, taken)
			}
			if n := clients[0].pending(t); n != round+1 {
				t.Fatalf("%d tasks are pending after %d exports", n, round+1)
			}
		}
	})
}

func TestABatchTakesNoJobIDFromAnother(t *testing.T) {
	c := newTestClient(t, "redis://"+miniredis.RunT(t).Addr())
	var group sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for i := range 6 {
		e := Export{ProjectID: fmt.Sprintf("body-%d", i), JobID: "a", Priority: []string{PriorityHigh, PriorityNormal, PriorityLow}[i%3]}
		group.Go(func() {
			if _, err := c.EnqueueAll(t.Context(), []Export{e}); err == nil {
				mu.Lock()
				taken++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if taken != 1 || c.pending(t) != 1 {
		t.Errorf("taken for %d bodies, %d tasks", taken, c.pending(t))
	}
}

// A claim of an enqueue that never came about must not keep the JobID's own
// export from being known, nor another body out for long.
func TestAClaimThatWasLeftBehind(t *testing.T) {
	c := newTestClient(t, "redis://"+miniredis.RunT(t).Addr())
	e := Export{ProjectID: "p", JobID: "a"}
	if err := c.rdb.Set(t.Context(), claimKey("a"), "of another body", claimTime).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Enqueue(t.Context(), e); err == nil || errors.Is(err, ErrDifferentBody) {
		t.Errorf("while another may be enqueueing: %v", err)
	}
	if err := c.rdb.HSet(t.Context(), LedgerKey("a"), LedgerDigest, e.Digest()).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Enqueue(t.Context(), e); err != nil {
		t.Errorf("an export that is known: %v", err)
	}
	if ttl := c.rdb.PTTL(t.Context(), claimKey("a")).Val(); ttl <= 0 || ttl > claimTime {
		t.Errorf("the claim lasts %s", ttl)
	}
}

func TestAClaimIsGivenBack(t *testing.T) {
	c := newTestClient(t, "redis://"+miniredis.RunT(t).Addr())
	for _, e := range []Export{{ProjectID: "p", JobID: "a"}, {ProjectID: "p", JobID: "a"}, {ProjectID: "q", JobID: "a"}} {
		_, _ = c.Enqueue(t.Context(), e)
		if n := c.rdb.Exists(t.Context(), claimKey("a")).Val(); n != 0 {
			t.Errorf("%+v: a claim is left", e)
		}
	}
}
