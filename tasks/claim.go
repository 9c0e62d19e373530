package tasks

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/retry"
)

// A TaskID is unique within one queue, and which queue an export waits in depends
// on its priority and account. So that two bodies under one JobID are not both
// taken where they come at the same time, a body claims the JobID before it is
// looked up, and gives it back once it is in a queue.

// claimTime is how long a claim holds that nobody gives back, such as that of a
// producer which died. It is longer than an enqueue takes.
const claimTime = 30 * time.Second

func claimKey(id string) string { return LedgerKey(id) + ":claim" }

var (
	//go:embed release.lua
	releaseSource string

	releaseScript = redis.NewScript(releaseSource)
)

// claim reports whether the JobID is free for this body. Enqueues of the same body
// share a claim.
func (c *Client) claim(ctx context.Context, e Export) (bool, error) {
	var holder *redis.StringCmd
	_, err := c.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.SetNX(ctx, claimKey(e.JobID), e.Digest(), claimTime)
		holder = p.Get(ctx, claimKey(e.JobID))
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("claim export %s: %w", e.JobID, err)
	}
	return holder.Val() == e.Digest(), nil
}

// release gives the claim back. If that fails it ends by itself.
func (c *Client) release(ctx context.Context, e Export) {
	_ = releaseScript.Run(ctx, c.rdb, []string{claimKey(e.JobID)}, e.Digest()).Err()
}

// claimPause is the wait for another body's claim, longer with each look.
const claimPause = 20 * time.Millisecond

// enqueueOnce enqueues an export with a JobID unless it is known already.
func (c *Client) enqueueOnce(ctx context.Context, e Export) (string, error) {
	for look := range maxLooks {
		free, claimErr := c.claim(ctx, e)
		known, err := c.known(ctx, e)
		switch {
		case known, errors.Is(err, ErrDifferentBody):
			if free {
				c.release(ctx, e)
			}
			return e.JobID, err
		case err != nil:
			return e.JobID, err
		case claimErr != nil: // what is known can be told all the same, as above
			return e.JobID, claimErr
		case free:
			id, err := c.enqueueNew(ctx, e, e.JobID)
			if err == nil || errors.Is(err, ErrDifferentBody) { // else it may be in the queue or not
				c.release(ctx, e)
			}
			return id, err
		}
		_ = retry.Wait(ctx, claimPause<<look) // the next look sees the end of ctx
	}
	return e.JobID, fmt.Errorf("enqueue export %s: another body is about to be enqueued under its job_id; try again", e.JobID)
}
