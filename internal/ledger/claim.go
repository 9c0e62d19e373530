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
// returns whose it is: the first one's that said so.
func (l *Ledger) ClaimTask(ctx context.Context, account, task, id string) (owner string, err error) {
	key := taskKey(account, task)
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
	if err != nil {
		return "", fmt.Errorf("claim task %s for export %s: %w", task, id, err)
	}
	return owner, nil
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
