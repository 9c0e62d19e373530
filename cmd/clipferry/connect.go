package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/ledger"
)

// connection is what most commands work on.
type connection struct {
	cfg     *config.Config
	rdb     redis.UniversalClient
	inUse   bool // something that could not be waited for still uses rdb
	ledger  *ledger.Ledger
	exports *admin.Service
}

// connect reads the configuration and makes sure that Redis answers.
func (c *console) connect(ctx context.Context, needs config.Needs) (*connection, error) {
	cfg, err := config.Load(c.env, needs)
	if err != nil {
		return nil, err
	}
	rdb := cfg.Redis.NewClient()
	if err := reach(ctx, rdb); err != nil {
		rdb.Close()
		return nil, fmt.Errorf("Redis at %s %w", cfg.Redis, err) //nolint:staticcheck // a name
	}
	l := ledger.New(ledger.Options{Redis: rdb, Retention: cfg.LedgerRetention})
	return &connection{cfg: cfg, rdb: rdb, ledger: l, exports: admin.New(rdb, l, time.Now)}, nil
}

// reach makes sure that Redis answers. One that can't save refuses even a PING, but
// still tells what it knows, which is what somebody wants to see who mends it.
func reach(ctx context.Context, rdb redis.UniversalClient) error {
	err := rdb.Ping(ctx).Err()
	var answer redis.Error
	switch {
	case err == nil, errors.As(err, &answer) && strings.HasPrefix(err.Error(), "MISCONF"):
		return nil
	case errors.As(err, &answer):
		return fmt.Errorf("refuses: %w; %s", err, hintFor(err))
	default:
		return fmt.Errorf("does not answer: %w; see CLIPFERRY_REDIS_URL", err)
	}
}

// close drops the connections; what was written has been acknowledged already.
func (c *connection) close() {
	if c.inUse {
		return // the end of the process closes it
	}
	_ = c.rdb.Close()
}
