package wiring

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/status"
	"github.com/clipferry/clipferry/internal/units"
)

// StatusReader returns what says what exports wait for. Its budgets are only read,
// so there is nothing to close.
func StatusReader(cfg *config.Config, rdb redis.UniversalClient) (*status.Reader, error) {
	look := func(a config.Account) (status.Account, error) {
		gate, err := Gate(a, rdb, slog.New(slog.DiscardHandler))
		if err != nil {
			return status.Account{}, fmt.Errorf("look at account %s: %w", a.Name, err)
		}
		return status.Account{Name: a.Name, Budget: gate, Units: units.New(rdb, a.Name, a.DailyUnits)}, nil
	}
	known := map[string]status.Account{}
	for _, a := range cfg.Accounts() {
		account, err := look(a)
		if err != nil {
			return nil, err
		}
		known[a.Name] = account
	}
	return status.NewReader(rdb, func(name string) status.Account {
		a := cfg.Account(name)
		account, ok := known[a.Name]
		if !ok { // producers may name any: it has the limits that are for all, and is not kept
			account, _ = look(a) // whose options are those of the known ones
		}
		return account
	}, time.Now).WithTenants(cfg.Tenants), nil
}
