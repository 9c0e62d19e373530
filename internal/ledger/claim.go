package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// ClaimTask says that the account's task at the provider is the export's, and
// returns whose it is: the first one's that said so and has not dropped it since, as it
// does a task that a person named wrong.
func (l *Ledger) ClaimTask(ctx context.Context, account, task, id string) (owner string, err error) {
	key := taskKey(account, task)
	for range 3 {
		owner, err = l.claim(ctx, key, id)
		if err != nil || owner == id {
			break
		}
		var dropped bool
		if dropped, err = l.dropped(ctx, task, owner); err != nil || !dropped {
			break
		}
		if err = releaseScript.Run(ctx, l.rdb, []string{key}, owner).Err(); err != nil {
			break
		}
	}
	if err != nil {
		return "", fmt.Errorf("claim task %s for export %s: %w", task, id, err)
	}
	return owner, nil
}

func (l *Ledger) claim(ctx context.Context, key, id string) (owner string, err error) {
	err = l.rdb.SetArgs(ctx, key, id, redis.SetArgs{Mode: "NX", TTL: l.retention}).Err()
	if err == nil {
		return id, nil
	}
	if errors.Is(err, redis.Nil) {
		owner, err = l.rdb.Get(ctx, key).Result()
	}
	if errors.Is(err, redis.Nil) { // it ended this moment
		return id, nil
	}
	return owner, err
}

// dropped reports whether the export had the task and has dropped it.
func (l *Ledger) dropped(ctx context.Context, task, id string) (bool, error) {
	r, err := l.LoadHead(ctx, id)
	if errors.Is(err, ErrUnknown) { // it is about to be created, or was forgotten
		return false, nil
	}
	return err == nil && r.Dropped(task), err
}

// TaskOwner returns which export the account's task at the provider is, empty if
// none has said so.
func (l *Ledger) TaskOwner(ctx context.Context, account, task string) (string, error) {
	owner, err := l.rdb.Get(ctx, taskKey(account, task)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("look whose task %s is: %w", task, err)
	}
	return owner, nil
}

func taskKey(account, task string) string {
	sum := sha256.Sum256([]byte(account + "\x00" + task))
	return "clipferry:{task:" + hex.EncodeToString(sum[:16]) + "}"
}
