package wiring

import (
	"context"
	"log/slog"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/observe"
	"github.com/clipferry/clipferry/internal/passthrough"
	"github.com/clipferry/clipferry/worker"
)

// Passthrough returns what passes the provider's other calls on, with the default
// account; nil where that is switched off or there is no key. Workers without an HTTP
// API have one, too: they read what others passed through.
func Passthrough(
	cfg *config.Config, rdb redis.UniversalClient, l *ledger.Ledger, accounts map[string]worker.Account,
	requested func(context.Context, observe.Request), log *slog.Logger,
) (*passthrough.Service, error) {
	account := accounts[cfg.Account("").Name]
	to, sends := account.Provider.(passthrough.Provider)
	gate, paces := account.Gate.(passthrough.Gate)
	if !cfg.HTTPPassthrough || !sends || !paces {
		return nil, nil
	}
	return passthrough.New(passthrough.Options{
		Redis: rdb, Ledger: l, Logger: log, Account: account.Name, Provider: to, Gate: gate, Units: account.Units,
		Wait: cfg.HTTPPassthroughWait, Requested: requested,
	})
}
