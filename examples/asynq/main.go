// Command asynq enqueues an export with nothing but Asynq, and handles the task
// that tells it of the end:
//
//	go run ./examples/asynq -redis 127.0.0.1:6379 -project proj_abc123 -id order-4711
//
// It ends once the export has.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/hibiken/asynq"
)

// Names of your own: a task type that does not begin with "export:", and a queue
// that does not begin with "clipferry".
const (
	endedType  = "video:exported"
	endedQueue = "videos"
)

func main() {
	addr := flag.String("redis", "127.0.0.1:6379", "where the workers' Redis is")
	project := flag.String("project", "", "the provider's project id")
	id := flag.String("id", "", "your own id of the export")
	flag.Parse()
	redis := asynq.RedisClientOpt{Addr: *addr}
	err := enqueue(redis, *project, *id)
	if err == nil {
		err = follow(redis, *id)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "asynq:", err)
		os.Exit(1)
	}
}

// enqueue puts the request into the queue. An export that is in the queue already
// is no error: that is what the TaskID is for.
func enqueue(redis asynq.RedisConnOpt, project, id string) error {
	payload, err := json.Marshal(map[string]any{
		"project_id": project,
		"job_id":     id,
		"notify":     map[string]string{"task_type": endedType, "queue": endedQueue},
	})
	if err != nil {
		return err
	}
	client := asynq.NewClient(redis)
	defer client.Close()
	_, err = client.Enqueue(asynq.NewTask("export:submit", payload),
		asynq.Queue("clipferry-submit"), asynq.TaskID("submit:"+id),
		asynq.MaxRetry(25),          // a worker that crashes counts as a retry
		asynq.Timeout(24*time.Hour), // the export waits for its turn inside the task
	)
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		return nil
	}
	return err
}

// follow handles notifications until the one of this export has come.
func follow(redis asynq.RedisConnOpt, id string) error {
	ended := make(chan struct{})
	mux := asynq.NewServeMux()
	mux.HandleFunc(endedType, func(_ context.Context, t *asynq.Task) error {
		var event struct {
			ID, Type string
			Data     struct{ ID, State, Manifest, Error string }
		}
		if err := json.Unmarshal(t.Payload(), &event); err != nil {
			return err
		}
		// At least once: drop an event.ID that you have dealt with before.
		fmt.Println(event.Data.ID, event.Data.State, event.Data.Manifest, event.Data.Error)
		if event.Data.ID == id {
			close(ended)
		}
		return nil
	})
	server := asynq.NewServer(redis, asynq.Config{
		Concurrency: 1, Queues: map[string]int{endedQueue: 1}, LogLevel: asynq.ErrorLevel,
		TaskCheckInterval: time.Second, DelayedTaskCheckInterval: time.Second,
	})
	if err := server.Start(mux); err != nil {
		return err
	}
	<-ended
	server.Shutdown()
	return nil
}
