package tasks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
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

// slowLook has a client's look at what is known take for so long that its claims end.
type slowLook struct {
	redis.Hook
	looks     int
	meanwhile func()
}

func (h *slowLook) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *slowLook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *slowLook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if cmds[0].Name() == "hget" { // the ledger, before and after the queues
			if h.looks++; h.looks == 4 { // twice for the check, then twice for the chunk
				h.meanwhile()
			}
		}
		return err
	}
}

// Redis is so slow that the claims of a chunk end before it is enqueued, and another body
// takes one of the ids.
func TestClaimsThatEndOnASlowRedisAreNotReliedUpon(t *testing.T) {
	server := miniredis.RunT(t)
	slow, rival := newTestClient(t, "redis://"+server.Addr()), newTestClient(t, "redis://"+server.Addr())
	slow.claimTime = 200 * time.Millisecond
	slow.rdb.AddHook(&slowLook{meanwhile: func() {
		time.Sleep(slow.claimTime / 3)
		server.FastForward(slow.claimTime)
		if _, err := rival.Enqueue(t.Context(), Export{ProjectID: "rival", JobID: "b", Priority: PriorityHigh}); err != nil {
			t.Error(err)
		}
	}})
	ids, err := slow.EnqueueAll(t.Context(), []Export{{ProjectID: "p", JobID: "a"}, {ProjectID: "p", JobID: "b"}, {ProjectID: "p", JobID: "c"}})
	if !errors.Is(err, ErrDifferentBody) {
		t.Errorf("%v, %v", ids, err)
	}
	if n := rival.pending(t); n != 2 { // a and the rival's b
		t.Errorf("%d tasks are pending", n)
	}
}
