package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
)

// changesKey is a list of what desks have changed and nobody has counted yet. A
// command ends before Prometheus can ask it, so those that are asked count for it.
const changesKey = "clipferry:{desk}:changes"

const (
	// maxChanges bounds the list where no process is ever asked for metrics.
	maxChanges = 10_000
	// leaveTime is how long a desk tries to leave a change on the list.
	leaveTime = 2 * time.Second
)

// Change is a record before and after a desk changed it, without what metrics
// have no use for: no request, nobody to tell, no clips.
type Change struct {
	Before export.Record `json:"before"`
	After  export.Record `json:"after"`
}

// leave puts a change on the list. It is for metrics alone: one that can't be
// left there is not counted, and nothing else.
func (d *Desk) leave(ctx context.Context, before, after *export.Record) {
	if before.State == after.State && before.ExportTaskID == after.ExportTaskID {
		return
	}
	text, err := json.Marshal(Change{countable(before), countable(after)})
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	_, _ = d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.RPush(ctx, changesKey, text)
		p.LTrim(ctx, changesKey, -maxChanges, -1)
		return nil
	})
}

// countable is the record without what is large or secret.
func countable(r *export.Record) export.Record {
	c := *r
	c.Request, c.Notify, c.Trace, c.Clips, c.LastAnswer = nil, nil, nil, nil, nil
	c.Error, c.ClipError, c.Wanted, c.Digest = "", "", nil, ""
	return c
}

// Changes returns what takes changes that desks have made off the list, at most
// 100 at once: each is given to one caller only.
func Changes(rdb redis.UniversalClient) func(context.Context) ([]Change, error) {
	return func(ctx context.Context) ([]Change, error) {
		texts, err := rdb.LPopCount(ctx, changesKey, 100).Result()
		if errors.Is(err, redis.Nil) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("ask what was changed by hand: %w", err)
		}
		var changes []Change
		for _, text := range texts {
			var c Change
			if json.Unmarshal([]byte(text), &c) == nil { // else of a version that is gone
				changes = append(changes, c)
			}
		}
		return changes, nil
	}
}
