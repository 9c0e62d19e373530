package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"os"
	"time"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/cmd/internal/wiring"
	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/catalog"
	"github.com/clipferry/clipferry/internal/telemetry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// pollInterval is how often the worker looks for tasks. Redis is in this process, where
// that costs little, and somebody waits.
const pollInterval = 200 * time.Millisecond

// importQuiet is how long nothing new may come of an imported task: nobody tries for a
// quarter of an hour what an import is.
const importQuiet = 20 * time.Second

// startWorker runs a worker with its HTTP server, configured as the production
// program would be.
func (s *services) startWorker(life context.Context, env []string, redisURL string) error {
	s.apiKey, s.monitorPassword = "dev-"+rand.Text(), rand.Text()
	s.env = append(
		providerEnv(s.provider, demoLimits), "CLIPFERRY_API_KEY=dev-key",
		"CLIPFERRY_REDIS_URL="+redisURL, "CLIPFERRY_S3_BUCKET="+bucket, "CLIPFERRY_S3_PATH_STYLE=true",
		"CLIPFERRY_IMPORT_QUIET="+importQuiet.String(),
	)
	s.env = append(append(s.env, doorEnv(s.apiKey)...), webhookEnv()...)
	cfg, err := config.Load(append([]string{
		"CLIPFERRY_HTTP_ADDR=127.0.0.1:0", "CLIPFERRY_MONITOR_AUTH=dev:" + s.monitorPassword,
	}, s.env...), config.NeedsAPI|config.NeedsS3)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if cli.Env(env, "CLIPFERRY_DEV_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	rdb := cfg.Redis.NewClient()
	s.closers = append(s.closers, func() { _ = rdb.Close() })
	ledger := wiring.Ledger(cfg, rdb)
	archive, links, err := wiring.Archive(life, cfg, ledger, log, nil)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, links.Close)
	accounts, closeAccounts, err := wiring.Accounts(cfg, rdb, log)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, closeAccounts)
	watch := telemetry.New(telemetry.Options{Version: cli.Version(version), Logger: log})
	notifier, err := wiring.Notifier(cfg, rdb, ledger, watch.Notified, log)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, notifier.Close)
	passed, err := wiring.Passthrough(cfg, rdb, ledger, archive, accounts, watch.Requested, log)
	if err != nil {
		return err
	}
	look, err := wiring.Preflight(cfg, rdb, accounts, wiring.PreflightWait, wiring.PreflightWithin)
	if err != nil {
		return err
	}
	store := catalog.NewStore(archive)
	w, err := wiring.NewWorker(cfg, worker.Options{
		Redis: rdb, Ledger: ledger, Archive: archive, Catalog: store, Accounts: accounts,
		Notifier: notifier, Passed: passed, Observer: watch, Logger: log,
		PollInterval: pollInterval,
	})
	if err != nil {
		return err
	}
	server, err := wiring.Listen(life, cfg, wiring.Front{
		Redis: rdb, Ledger: ledger, Archive: archive, Catalog: store, Accounts: accounts, Passed: passed, Preflight: look, Telemetry: watch, Logger: log, Version: cli.Version(version),
		ArchiveOpen: true,
	})
	if err != nil {
		return err
	}
	s.http = "http://" + server.Addr()
	s.run(life, log, server.Serve)
	s.run(life, log, w.Run)
	s.client = tasks.NewClientFromRedis(rdb)
	s.exports = admin.New(rdb, ledger, time.Now)
	return nil
}

// doorEnv is what the HTTP API of a worker, or of clipferry serve, needs.
func doorEnv(key string) []string {
	return []string{"CLIPFERRY_HTTP_ADMIN_KEYS=dev:" + key, "CLIPFERRY_HTTP_SECRET=" + rand.Text() + rand.Text()}
}

// run runs f until the services are closed.
func (s *services) run(life context.Context, log *slog.Logger, f func(context.Context) error) {
	ctx, stop := context.WithCancel(life)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil {
			log.Error("it ended", logkey.Error, err)
		}
	}()
	s.closers = append(s.closers, func() { stop(); <-done })
}

// webhookEnv lets webhooks be sent, to programs on this machine too.
func webhookEnv() []string {
	secret := base64.StdEncoding.EncodeToString([]byte(rand.Text() + rand.Text())[:32])
	return []string{"CLIPFERRY_WEBHOOK_SECRETS=whsec_" + secret, "CLIPFERRY_WEBHOOK_ALLOWED_CIDRS=" + loopback}
}
