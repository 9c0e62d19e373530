package main

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/tasks"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"clipferry": main, "stubborn": stubborn})
}

// TestScripts runs the program as a process, each script with a Redis of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			m := miniredis.NewMiniRedis()
			if err := m.Start(); err != nil {
				return err
			}
			env.Defer(m.Close)
			env.Values[redisKey{}] = m
			env.Setenv("CLIPFERRY_REDIS_URL", "redis://"+m.Addr())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "record": record, "malformed": malformed, "redis-down": redisDown, "payload": payload,
		},
	})
}

type redisKey struct{}

func redisOf(ts *testscript.TestScript) redis.UniversalClient {
	return redis.NewClient(&redis.Options{Addr: ts.Value(redisKey{}).(*miniredis.Miniredis).Addr()})
}

// exits runs a program and wants an exact exit code: exits CODE PROGRAM ARGS…
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// record puts an export into the ledger, given as JSON: record ID FILE
func record(ts *testscript.TestScript, _ bool, args []string) {
	rdb := redisOf(ts)
	defer rdb.Close()
	r := export.New(args[0], json.RawMessage(`{"project_id":"p"}`), tasks.Export{ProjectID: "p"}.Digest(), "p", time.Unix(1775831883, 0))
	var clips struct {
		Clips []*export.Clip `json:"clips"`
	}
	data := []byte(ts.ReadFile(args[1]))
	ts.Check(json.Unmarshal(data, r))
	ts.Check(json.Unmarshal(data, &clips))
	for _, c := range clips.Clips {
		r.Clips[c.Idx] = c
	}
	_, err := ledger.New(ledger.Options{Redis: rdb}).Create(context.Background(), r)
	ts.Check(err)
}

// malformed puts a task that is no export into the queue: malformed ID
func malformed(ts *testscript.TestScript, _ bool, args []string) {
	rdb := redisOf(ts)
	defer rdb.Close()
	task := asynq.NewTask(tasks.TypeSubmit, []byte("nonsense"))
	_, err := asynq.NewClientFromRedisClient(rdb).Enqueue(task, asynq.TaskID(tasks.SubmitTaskID(args[0])), asynq.Queue(tasks.QueueSubmit))
	ts.Check(err)
}

// payload wants a queued export's payload to be: payload ID QUEUE JSON
func payload(ts *testscript.TestScript, _ bool, args []string) {
	rdb := redisOf(ts)
	defer rdb.Close()
	info, err := asynq.NewInspectorFromRedisClient(rdb).GetTaskInfo(args[1], tasks.SubmitTaskID(args[0]))
	ts.Check(err)
	if got := string(info.Payload); got != args[2] {
		ts.Fatalf("payload %s, want %s", got, args[2])
	}
}

func redisDown(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Value(redisKey{}).(*miniredis.Miniredis).Close()
}
