package wiring

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/preflight"
	"github.com/clipferry/clipferry/worker"
)

// PreflightWait and PreflightWithin are for clients of the HTTP API, who wait for no
// more than its requests may take.
const (
	PreflightWait   = 5 * time.Second
	PreflightWithin = 12 * time.Second
)

// Preflight returns what says what exports would come to, with the accounts' own
// budgets. wait is how long one read waits for its turn, within how long all of them
// may take, zero for no end.
func Preflight(cfg *config.Config, rdb redis.UniversalClient, accounts map[string]worker.Account, wait, within time.Duration) (*preflight.Service, error) {
	look, err := StatusReader(cfg, rdb)
	if err != nil {
		return nil, err
	}
	return preflight.New(preflight.Options{
		Redis: rdb, Wait: wait, Within: within,
		Account: func(name string) (preflight.Account, bool) {
			a, ok := accounts[cfg.Account(name).Name]
			if !ok {
				return preflight.Account{}, false
			}
			gate, paces := a.Gate.(preflight.Gate)
			meter, counts := a.Units.(preflight.Units)
			return preflight.Account{Name: a.Name, Provider: a.Provider, Gate: gate, Units: meter}, paces && counts
		},
		Queued: func(ctx context.Context, account string) (int, error) {
			out, err := look.Read(ctx, nil, account)
			if err != nil || len(out.Accounts) == 0 {
				return 0, err
			}
			return out.Accounts[0].Queued, nil
		},
	}), nil
}
