package queue

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/redistest"
)

// answering is a Redis that answers every script alike.
type answering struct {
	redis.UniversalClient
	err error
}

func (a *answering) EvalSha(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	return redis.NewCmdResult(nil, a.err)
}

func (a *answering) Eval(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	return a.EvalSha(ctx, "", nil)
}

// said is an answer of Redis.
type said string

func (s said) Error() string { return string(s) }
func (said) RedisError()     {}

func TestARefusalIsReturnedLateAndNothingElseIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb := &answering{}
		b := Throttled(rdb, nil, never, nil)
		returned := func(script string, err error) time.Duration {
			t.Helper()
			rdb.err = err
			began := time.Now()
			if got := b.EvalSha(t.Context(), script, nil).Err(); !errors.Is(got, err) {
				t.Errorf("%v has become %v", err, got)
			}
			return time.Since(began)
		}
		full := said("OOM command not allowed when used memory > 'maxmemory'. script: 5a, on @user_script:8.")
		for i, want := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
			if got := returned("dequeue", full); got != want*time.Millisecond {
				t.Errorf("refusal %d is returned after %s", i+1, got)
			}
			if got := returned("forward", nil); got != 0 {
				t.Errorf("a success of another script after %s", got)
			}
		}
		for _, err := range []error{
			nil, redis.Nil, io.EOF, context.Canceled, context.DeadlineExceeded, said("NOSCRIPT No matching script. Please use EVAL."),
			said("NOT FOUND"), said("ERR unknown command"), said("ERR value is no integer: -1"), errors.New("OOM of something else"),
		} {
			if got := returned("dequeue", err); got != 0 {
				t.Errorf("%v is returned after %s", err, got)
			}
		}
		for _, text := range []string{
			"MISCONF Redis is configured to save RDB snapshots", "READONLY You can't write against a read only replica.",
			"NOREPLICAS Not enough good replicas to write.", "LOADING Redis is loading the dataset in memory",
			"CLUSTERDOWN Hash slot not served",
			"ERR Error running script (call to f_5a): @user_script:3: @user_script: 3: -OOM command not allowed",
		} {
			returned("dequeue", nil)
			if got := returned("dequeue", said(text)); got != firstThrottle {
				t.Errorf("%s: returned after %s, though it was the first since a success", text, got)
			}
		}
		rdb.err = full
		began := time.Now()
		if b.Eval(t.Context(), "return 1", nil); time.Since(began) != firstThrottle {
			t.Errorf("a script sent whole is returned after %s", time.Since(began))
		}
	})
}

func TestNobodyIsThrottledAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopping := make(chan struct{})
		b := Throttled(&answering{err: said("OOM")}, stopping, never, nil)
		waits := func(ctx context.Context) time.Duration {
			began := time.Now()
			b.EvalSha(ctx, "dequeue", nil)
			return time.Since(began)
		}
		for range 5 {
			waits(t.Context())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if got := waits(ctx); got != 10*time.Millisecond {
			t.Errorf("beyond its context: %s", got)
		}
		time.AfterFunc(20*time.Millisecond, func() { close(stopping) })
		if got := waits(t.Context()); got != 20*time.Millisecond {
			t.Errorf("beyond the stop: %s", got)
		}
	})
}

func never(string) bool { return false }

// asynq must take nothing out of a queue that rests, and do all else with it.
func TestAQueueThatRestsLooksEmpty(t *testing.T) {
	s := redistest.Start(t)
	rdb := Throttled(s.Client(), nil, func(name string) bool { return name == "resting" }, nil)
	client := asynq.NewClientFromRedisClient(s.Client())
	done := make(chan string, 2)
	for _, name := range []string{"resting", "awake"} {
		if _, err := client.Enqueue(asynq.NewTask(name, nil), asynq.Queue(name)); err != nil {
			t.Fatal(err)
		}
	}
	server := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Queues: map[string]int{"resting": 9, "awake": 1}, TaskCheckInterval: 10 * time.Millisecond, LogLevel: asynq.FatalLevel,
	})
	if err := server.Start(asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error { done <- t.Type(); return nil })); err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	if got := <-done; got != "awake" {
		t.Errorf("%s came first", got)
	}
	select {
	case got := <-done:
		t.Errorf("%s was taken", got)
	case <-time.After(200 * time.Millisecond):
	}
}

// counting counts the scripts that reach Redis.
type counting struct {
	redis.UniversalClient
	scripts int
}

func (c *counting) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	c.scripts++
	return c.UniversalClient.EvalSha(ctx, sha, keys, args...)
}

// A script that found nothing to do is run again once there is something for it.
func TestQueuesAtRestAreOnlyCounted(t *testing.T) {
	for _, c := range []struct {
		does, script string
		keys         []string
		put          func(redis.UniversalClient)
	}{
		{
			"dequeue", "return redis.call('RPOP', KEYS[1])",
			[]string{PendingKey("q"), PausedKey("q")},
			func(rdb redis.UniversalClient) { rdb.LPush(t.Context(), PendingKey("q"), "task") },
		},
		{
			"forward", "return redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1)",
			[]string{"asynq:{q}:scheduled", PendingKey("q")},
			func(rdb redis.UniversalClient) {
				rdb.ZAdd(t.Context(), "asynq:{q}:scheduled", redis.Z{Score: 1, Member: "task"})
			},
		},
	} {
		t.Run(c.does, func(t *testing.T) {
			rdb := &counting{UniversalClient: redistest.Start(t).Client()}
			sha := rdb.ScriptLoad(t.Context(), c.script).Val()
			throttled := Throttled(rdb, nil, nil, nil)
			for i, step := range []struct{ puts, scripts int }{{0, 1}, {0, 1}, {1, 2}, {0, 3}, {0, 3}, {1, 4}, {1, 5}} {
				if step.puts > 0 {
					c.put(rdb.UniversalClient)
				}
				cmd := throttled.EvalSha(t.Context(), sha, c.keys)
				found := cmd.Err() == nil && cmd.Val() != int64(0)
				if found != (step.puts > 0) || rdb.scripts != step.scripts {
					t.Fatalf("step %d: found %v (%v, %v) after %d scripts", i, found, cmd.Val(), cmd.Err(), rdb.scripts)
				}
			}
		})
	}
}
