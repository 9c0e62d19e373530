package wiring

import (
	"context"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/observe"
	"github.com/clipferry/clipferry/internal/passthrough"
	"github.com/clipferry/clipferry/worker"
)

// Passthrough returns what passes the provider's other calls on, with the default
// account; nil where that is switched off or there is no key. Workers without an HTTP
// API have one, too: they read what others passed through.
func Passthrough(
	cfg *config.Config, rdb redis.UniversalClient, l *ledger.Ledger, receipts passthrough.Receipts, accounts map[string]worker.Account,
	requested func(context.Context, observe.Request), log *slog.Logger,
) (*passthrough.Service, error) {
	account := accounts[cfg.Account("").Name]
	to, sends := account.Provider.(passthrough.Provider)
	gate, paces := account.Gate.(passthrough.Gate)
	if !cfg.HTTPPassthrough || !sends || !paces {
		return nil, nil
	}
	return passthrough.New(passthrough.Options{
		Redis: rdb, Ledger: l, Receipts: receipts, Logger: log, Account: account.Name, Provider: to, Gate: gate, Units: account.Units,
		Wait: cfg.HTTPPassthroughWait, Requested: requested, TakeUp: archivePassed(cfg, rdb, l),
	})
}

// RestorePassed returns what restores requests that were passed through from their
// receipts.
func RestorePassed(
	cfg *config.Config, rdb redis.UniversalClient, l *ledger.Ledger, receipts passthrough.Receipts,
	rename func(ctx context.Context, account, from, to string) error,
) passthrough.Restorer {
	return passthrough.Restorer{Redis: rdb, Receipts: receipts, TakeUp: archivePassed(cfg, rdb, l), Rename: rename, Now: time.Now}
}

// kindOf is the kind of a task that a call makes and whose clips can be archived.
var kindOf = map[string]export.TaskKind{"clips": export.TaskClips, "clips/find-moments": export.TaskMoments}

// archivePassed takes up what was passed through and renders its clips by itself; nil
// where that is switched off.
func archivePassed(cfg *config.Config, rdb redis.UniversalClient, l *ledger.Ledger) func(context.Context, passthrough.Accepted) (string, error) {
	if !cfg.HTTPPassthroughKeep {
		return nil
	}
	exports := admin.New(rdb, l, time.Now)
	return func(ctx context.Context, t passthrough.Accepted) (string, error) {
		kind, renders := kindOf[t.Call]
		if !t.Inline || !renders {
			return "", nil
		}
		r, _, err := exports.For(t.Tenant).Import(ctx, admin.Import{Kind: kind, Task: t.TaskID, AccountName: t.Account, Passed: true, Body: t.Request})
		if err != nil {
			return "", err
		}
		return r.ID, nil
	}
}
