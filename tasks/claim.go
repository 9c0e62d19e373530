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

	//go:embed renew.lua
	renewSource string

	renewScript = redis.NewScript(renewSource)
)

// claim reports whether the JobID is free for this body. Enqueues of the same body
// share a claim.
func (c *Client) claim(ctx context.Context, e Export) (bool, error) {
	var holder *redis.StringCmd
	_, err := c.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.SetNX(ctx, claimKey(e.JobID), e.Digest(), c.claimTime)
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

// claimAll is claim of all those items whose id may be known already.
func (c *Client) claimAll(ctx context.Context, items []item) ([]bool, error) {
	holders, claimed := make([]*redis.StringCmd, len(items)), make([]bool, len(items))
	_, err := c.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, one := range items {
			if one.once {
				p.SetNX(ctx, claimKey(one.id), one.digest, c.claimTime)
				holders[i] = p.Get(ctx, claimKey(one.id))
			}
		}
		return nil
	})
	if err != nil {
		return claimed, fmt.Errorf("claim %d exports: %w", len(items), err)
	}
	for i, holder := range holders {
		claimed[i] = holder != nil && holder.Val() == items[i].digest
	}
	return claimed, nil
}

// renewAll has claims hold for their whole time again, where looking for what is known
// has taken long enough that they might end before the exports are in their queues.
// Those that have ended are claimed no more.
func (c *Client) renewAll(ctx context.Context, since time.Time, items []item, claimed []bool) error {
	if time.Since(since) < c.claimTime/4 {
		return nil
	}
	held := make([]*redis.Cmd, len(items))
	_, err := c.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, one := range items {
			if claimed[i] {
				held[i] = renewScript.Eval(ctx, p, []string{claimKey(one.id)}, one.digest, c.claimTime.Milliseconds())
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("renew the claims of %d exports: %w", len(items), err)
	}
	for i, cmd := range held {
		if cmd != nil {
			n, _ := cmd.Int()
			claimed[i] = n == 1
		}
	}
	return nil
}

// releaseAll gives claims back. Those that fail end by themselves.
func (c *Client) releaseAll(ctx context.Context, items []item, claimed []bool) {
	_, _ = c.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, one := range items {
			if claimed[i] {
				releaseScript.Eval(ctx, p, []string{claimKey(one.id)}, one.digest)
			}
		}
		return nil
	})
}

// enqueueOnce enqueues an item unless its id is known already.
func (c *Client) enqueueOnce(ctx context.Context, one item) (string, error) {
	e := one.named()
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
			id, err := c.enqueueNew(ctx, one)
			if err == nil || errors.Is(err, ErrDifferentBody) { // else it may be in the queue or not
				c.release(ctx, e)
			}
			return id, err
		}
		_ = retry.Wait(ctx, claimPause<<look) // the next look sees the end of ctx
	}
	return e.JobID, fmt.Errorf("enqueue export %s: another body is about to be enqueued under its job_id; try again", e.JobID)
}
