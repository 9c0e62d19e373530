// Package wiring builds the parts of the program from the configuration: it
// maps each variable to the option that it stands for. Both binaries use it, so
// that what the development one shows is what the production one does.
package wiring

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/units"
	"github.com/clipferry/clipferry/internal/verification"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/worker"
)

// Ledger returns the ledger in the Redis.
func Ledger(cfg *config.Config, rdb redis.UniversalClient) *ledger.Ledger {
	return ledger.New(ledger.Options{Redis: rdb, Retention: cfg.LedgerRetention})
}

// Archive returns the archive in S3, and the client that reads links, which the
// caller closes. observe, which may be nil, sees each attempt of a request to S3.
func Archive(ctx context.Context, cfg *config.Config, l *ledger.Ledger, log *slog.Logger, observe func(context.Context, storage.Attempt)) (*storage.Archive, *link.Client, error) {
	links, err := link.New(link.Options{
		AllowedCIDRs: []netip.Prefix(cfg.LinkAllowedCIDRs),
		MaxSize:      int64(cfg.LinkMaxBytes), UserAgent: UserAgent, Logger: log,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("the client for export links: %w", err)
	}
	client, err := storage.NewClient(ctx, storage.ClientOptions{PathStyle: cfg.S3PathStyle})
	if err != nil {
		links.Close()
		return nil, nil, err
	}
	archive, err := storage.New(storage.Options{
		Client: client, Observe: observe, Bucket: cfg.S3Bucket, Prefix: cfg.S3Prefix, Source: links,
		Checkpoints: l.Checkpoints(), Logger: log,
		PartSize: int64(cfg.S3PartSize), PartsInFlight: cfg.S3PartsInFlight, PartsPerFile: cfg.S3PartsPerFile,
		Checksum: storage.ChecksumMode(cfg.S3Checksum),
		Object: storage.ObjectOptions{
			StorageClass: cfg.S3StorageClass, SSE: cfg.S3SSE, KMSKeyID: cfg.S3KMSKeyID, Tags: cfg.S3Tags,
			ACL: cfg.S3ACL, LockMode: cfg.S3LockMode, LockFor: cfg.S3LockFor, RequesterPays: cfg.S3RequesterPays,
			ExpectedBucketOwner: cfg.S3ExpectedBucketOwner, CacheControl: cfg.S3CacheControl,
		},
	})
	if err != nil {
		links.Close()
		return nil, nil, fmt.Errorf("the archive: %w", err)
	}
	return archive, links, nil
}

// UserAgent is what clipferry calls itself.
const UserAgent = "clipferry"

// Accounts returns the provider's accounts with their budgets, and what closes them.
func Accounts(cfg *config.Config, rdb redis.UniversalClient, log *slog.Logger) (map[string]worker.Account, func(), error) {
	accounts := map[string]worker.Account{}
	var closers []func()
	closeAll := func() {
		for _, c := range closers {
			c()
		}
	}
	for _, a := range cfg.Accounts() {
		provider, err := provider.New(provider.Options{
			BaseURL: cfg.APIBaseURL, Key: a.Key, UserAgent: UserAgent,
		})
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("the provider's client of account %s: %w", a.Name, err)
		}
		closers = append(closers, provider.Close)
		gate, err := Gate(a, rdb, log)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		closers = append(closers, gate.Close)
		accounts[a.Name] = worker.Account{Name: a.Name, Provider: provider, Gate: gate, Units: units.New(rdb, a.Name, a.DailyUnits)}
	}
	return accounts, closeAll, nil
}

// Gate returns the gate of an account's budget. The caller closes it.
func Gate(a config.Account, rdb redis.UniversalClient, log *slog.Logger) (*budget.Gate, error) {
	return budget.New(budget.Options{
		Redis: rdb, Account: a.Name, Logger: log,
		RequestsPerMinute: a.RequestsPerMinute, MaxActive: a.MaxActive,
	})
}

// AccountNames are the names of the configured accounts.
func AccountNames(cfg *config.Config) []string {
	var names []string
	for _, a := range cfg.Accounts() {
		names = append(names, a.Name)
	}
	return names
}

// Notifier returns what notifies producers of the ends of their exports; observe is
// called with the outcome. The caller closes it.
func Notifier(cfg *config.Config, rdb redis.UniversalClient, l *ledger.Ledger, observe func(notify.Outcome), log *slog.Logger) (*notify.Notifier, error) {
	o := notify.Options{
		Redis: rdb, Ledger: l, Logger: log,
		AllowedCIDRs: []netip.Prefix(cfg.WebhookAllowedCIDRs), Retention: cfg.LedgerRetention,
		Observe: observe,
	}
	o.Secrets = webhookSecrets(cfg)
	return notify.New(o)
}

// Envelope returns what reads from receipts whom to notify.
func Envelope(cfg *config.Config) (notify.Envelope, error) {
	return notify.NewEnvelope(webhookSecrets(cfg))
}

func webhookSecrets(cfg *config.Config) []string {
	var secrets []string
	for _, s := range cfg.WebhookSecrets {
		secrets = append(secrets, s.Reveal())
	}
	return secrets
}

// NewWorker returns a worker of the parts in o, with the rest of its options
// from the configuration.
func NewWorker(cfg *config.Config, o worker.Options) (*worker.Worker, error) {
	o.InDoubt = export.Policy(cfg.SubmitInDoubt)
	o.MirrorConcurrency = cfg.MirrorConcurrency
	o.Default = cfg.Account("").Name
	o.Tenants = cfg.Tenants
	slots := 0
	for _, a := range cfg.Accounts() {
		slots += a.MaxActive
	}
	o.ReadConcurrency = max(32, slots)
	o.ShutdownTimeout = cfg.ShutdownTimeout
	if archive, ok := o.Archive.(*storage.Archive); ok && cfg.VerifyEvery > 0 {
		o.Verifier = verification.NewRolling(verification.New(archive), cfg.VerifyEvery, o.Logger)
	}
	o.ImportQuiet = cfg.ImportQuiet
	o.Now = time.Now
	return worker.New(o)
}
