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
	took     func(queue string)

	mu    sync.Mutex
	waits map[string]time.Duration // by script, the last one
	idle  map[string]bool          // by key: the last script found nothing to do there
}

// The waits double from the first to the longest for as long as Redis refuses.
const (
	firstThrottle   = 100 * time.Millisecond
	longestThrottle = time.Second
)

// Throttled returns the client for asynq's servers. No wait in it outlives stopping.
// A queue for which rests says so looks empty to them; took hears of each task that is
// taken out of one that orders come from. Both may be nil.
func Throttled(rdb redis.UniversalClient, stopping <-chan struct{}, rests func(queue string) bool, took func(queue string)) redis.UniversalClient {
	return &throttled{UniversalClient: rdb, stopping: stopping, rests: rests, took: took, waits: map[string]time.Duration{}, idle: map[string]bool{}}
}

// EvalSha runs a script that Redis knows, which is what asynq tries first.
func (t *throttled) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	return t.run(ctx, sha, keys, func() *redis.Cmd { return t.UniversalClient.EvalSha(ctx, sha, keys, args...) })
}

// Eval runs a script that Redis does not know yet.
func (t *throttled) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return t.run(ctx, script, keys, func() *redis.Cmd { return t.UniversalClient.Eval(ctx, script, keys, args...) })
}

func (t *throttled) run(ctx context.Context, script string, keys []string, run func() *redis.Cmd) *redis.Cmd {
	name, does := scriptOf(keys)
	if does == dequeues && t.rests != nil && t.rests(name) {
		return redis.NewCmdResult(nil, redis.Nil)
	}
	if does != other && t.nothing(ctx, keys[0], does) {
		if does == dequeues {
			return redis.NewCmdResult(nil, redis.Nil)
		}
		return redis.NewCmdResult(int64(0), nil)
	}
	cmd := run()
	if does != other {
		t.note(keys[0], does, cmd)
	}
	if does == dequeues && t.took != nil && IsOrders(name) && cmd.Err() == nil {
		t.took(name)
	}
	t.delay(ctx, script, cmd.Err())
	return cmd
}

// What a script of asynq's does, as far as that matters here.
type deed int

const (
	other    deed = iota
	dequeues      // takes a task out of a queue
	forwards      // moves tasks that are due into their queue
	expires       // drops finished tasks
)

// scriptOf says what a script does and to which queue. It is told by its keys (asynq
// v0.26.0): those of the three have these alone.
func scriptOf(keys []string) (name string, does deed) {
	if len(keys) == 0 {
		return "", other
	}
	queue, list, _ := strings.Cut(strings.TrimPrefix(keys[0], "asynq:{"), "}:")
	second := ""
	if len(keys) > 1 {
		second = keys[1]
	}
	switch {
	case list == "pending" && second == PausedKey(queue):
		return queue, dequeues
	case (list == "scheduled" || list == "retry") && second == PendingKey(queue) && len(keys) == 2:
		return queue, forwards
	case list == "completed" && len(keys) == 1:
		return queue, expires
	}
	return "", other
}

// nothing reports whether there is nothing for the script to do. The queues are many and
// mostly empty: to ask first costs one command of the two or three of the script. Where
// the last script had something to do the next one is not asked for.
func (t *throttled) nothing(ctx context.Context, key string, does deed) bool {
	t.mu.Lock()
	idle := t.idle[key]
	t.mu.Unlock()
	if !idle {
		return false
	}
	var n int64
	var err error
	if does == dequeues {
		n, err = t.UniversalClient.LLen(ctx, key).Result()
	} else {
		n, err = t.UniversalClient.ZCard(ctx, key).Result()
	}
	return err == nil && n == 0
}

// note keeps whether the script that begins with the key found nothing to do.
func (t *throttled) note(key string, does deed, cmd *redis.Cmd) {
	n, _ := cmd.Val().(int64) // a dequeue returns its task, the others how many they moved
	t.mu.Lock()
	defer t.mu.Unlock()
	t.idle[key] = errors.Is(cmd.Err(), redis.Nil) || does != dequeues && cmd.Err() == nil && n == 0
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
