package queue

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/redisfault"
)

// throttled is the Redis of asynq's servers, which ask for the next task again at
// once when Redis refuses to give it: thousands of times a second for a Redis that
// is full already. Here each refusal is returned late. Whatever else uses the same
// client gets it at once.
//
// All that an asynq server writes goes through a script, so that only those are
// throttled, each one by itself: one that only reads goes on when Redis is full.
type throttled struct {
	redis.UniversalClient
	stopping <-chan struct{} // ends every wait
	rests    func(queue string) bool

	mu    sync.Mutex
	waits map[string]time.Duration // by script, the last one
}

// The waits double from the first to the longest for as long as Redis refuses.
const (
	firstThrottle   = 100 * time.Millisecond
	longestThrottle = time.Second
)

// Throttled returns the client for asynq's servers. No wait in it outlives stopping.
// A queue for which rests says so looks empty to them; rests may be nil.
func Throttled(rdb redis.UniversalClient, stopping <-chan struct{}, rests func(queue string) bool) redis.UniversalClient {
	return &throttled{UniversalClient: rdb, stopping: stopping, rests: rests, waits: map[string]time.Duration{}}
}

// EvalSha runs a script that Redis knows, which is what asynq tries first.
func (t *throttled) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	if t.dequeues(keys) {
		return redis.NewCmdResult(nil, redis.Nil)
	}
	cmd := t.UniversalClient.EvalSha(ctx, sha, keys, args...)
	t.delay(ctx, sha, cmd.Err())
	return cmd
}

// Eval runs a script that Redis does not know yet.
func (t *throttled) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	if t.dequeues(keys) {
		return redis.NewCmdResult(nil, redis.Nil)
	}
	cmd := t.UniversalClient.Eval(ctx, script, keys, args...)
	t.delay(ctx, script, cmd.Err())
	return cmd
}

// dequeues reports whether a script would take a task out of a queue that rests.
// Asynq's dequeue alone has both these keys of one queue (v0.26.0).
func (t *throttled) dequeues(keys []string) bool {
	if len(keys) < 2 {
		return false
	}
	name, _ := strings.CutPrefix(strings.TrimSuffix(keys[0], "}:pending"), "asynq:{")
	return keys[0] == PendingKey(name) && keys[1] == PausedKey(name) && t.rests != nil && t.rests(name)
}

// delay waits if Redis has refused the script, and the longer the more often it
// did so in a row.
func (t *throttled) delay(ctx context.Context, script string, err error) {
	wait := t.next(script, err)
	if wait == 0 {
		return
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	case <-t.stopping:
	}
}

func (t *throttled) next(script string, err error) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case redisfault.Refused(err):
		wait := min(max(firstThrottle, 2*t.waits[script]), longestThrottle)
		t.waits[script] = wait
		return wait
	case err == nil, errors.Is(err, redis.Nil): // an empty queue is a success
		delete(t.waits, script)
	}
	return 0
}
