package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/passthrough"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// Passed reads tasks that clients of the HTTP API passed through to their end;
// *passthrough.Service is one.
type Passed interface {
	Step(ctx context.Context, payload []byte) error
}

// passedConcurrency is how many of them wait for a read in one process: more than
// an account has slots.
const passedConcurrency = 64

// ServePassed does that part of a worker's work alone, until ctx ends: where the HTTP
// API is served by itself.
func ServePassed(ctx context.Context, rdb redis.UniversalClient, p Passed, log *slog.Logger) error {
	s := passedServer(queue.Throttled(rdb, ctx.Done(), nil, nil), p, ctx.Done(), time.Second, log)
	if err := s.start(); err != nil {
		return fmt.Errorf("start the %s server: %w", s.name, err)
	}
	<-ctx.Done()
	s.asynq.Shutdown()
	return nil
}

// passedServer is the asynq server of what was passed through. A run that waits for
// its turn ends with stopping, and goes on elsewhere.
func passedServer(rdb redis.UniversalClient, p Passed, stopping <-chan struct{}, interval time.Duration, log *slog.Logger) server {
	handler := asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			select {
			case <-stopping:
				cancel()
			case <-ctx.Done():
			}
		}()
		err := p.Step(ctx, t.Payload())
		switch {
		case err != nil && isClosed(stopping):
			return errStopping
		case errors.Is(err, passthrough.ErrBusy):
			return errBusy
		}
		return err
	})
	return server{name: "passed", handler: handler, asynq: asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency:              passedConcurrency,
		Queues:                   map[string]int{queue.Passed: 1},
		TaskCheckInterval:        interval,
		DelayedTaskCheckInterval: interval,
		ShutdownTimeout:          5 * time.Second,
		IsFailure:                func(err error) bool { return !putOff(err) },
		RetryDelayFunc:           retryDelay,
		ErrorHandler: asynq.ErrorHandlerFunc(func(ctx context.Context, t *asynq.Task, err error) {
			if !putOff(err) {
				log.ErrorContext(ctx, "step failed", logkey.Type, t.Type(), logkey.Error, err)
			}
		}),
		Logger:   asynqLog{log.With(logkey.Server, "passed")},
		LogLevel: asynq.WarnLevel,
	})}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
