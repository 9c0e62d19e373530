package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// checkpointTTL outlives every transfer: the provider keeps results for days.
const checkpointTTL = 7 * 24 * time.Hour

// Checkpoints keeps the small record by which an interrupted transfer goes on
// where it stopped. Losing one costs a second fetch, nothing else.
type Checkpoints struct{ rdb redis.UniversalClient }

// Checkpoints returns the ledger's store of transfer checkpoints.
func (l *Ledger) Checkpoints() *Checkpoints { return &Checkpoints{rdb: l.rdb} }

func checkpointKey(object string) string {
	sum := sha256.Sum256([]byte(object))
	return "clipferry:{transfer:" + hex.EncodeToString(sum[:16]) + "}:checkpoint"
}

// Load returns the checkpoint of an object key, nil if there is none.
func (c *Checkpoints) Load(ctx context.Context, object string) ([]byte, error) {
	b, err := c.rdb.Get(ctx, checkpointKey(object)).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load the checkpoint of %s: %w", object, err)
	}
	return b, nil
}

// Save stores the checkpoint of an object key.
func (c *Checkpoints) Save(ctx context.Context, object string, b []byte) error {
	if err := c.rdb.Set(ctx, checkpointKey(object), b, checkpointTTL).Err(); err != nil {
		return fmt.Errorf("save the checkpoint of %s: %w", object, err)
	}
	return nil
}

// Delete forgets the checkpoint of an object key.
func (c *Checkpoints) Delete(ctx context.Context, object string) error {
	if err := c.rdb.Del(ctx, checkpointKey(object)).Err(); err != nil {
		return fmt.Errorf("delete the checkpoint of %s: %w", object, err)
	}
	return nil
}
