package wiring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/archiveui"
	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/httpapi"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/passthrough"
	"github.com/clipferry/clipferry/internal/preflight"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/status"
	"github.com/clipferry/clipferry/internal/telemetry"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// Front is what the HTTP server shows. Accounts is nil where no worker runs.
type Front struct {
	Redis     redis.UniversalClient
	Ledger    *ledger.Ledger
	Archive   *storage.Archive
	Catalog   telemetry.Bucket // nil where no worker runs
	Accounts  map[string]worker.Account
	Passed    *passthrough.Service // nil where nothing is passed through
	Preflight *preflight.Service   // nil without a key of the provider's
	Telemetry *telemetry.Telemetry
	Tracing   *telemetry.Tracing
	Logger    *slog.Logger
	Version   string
	// ArchiveOpen shows the pages of the archive to a browser on this machine without
	// a login, where the server listens on a loopback address alone.
	ArchiveOpen bool
}

// Server is the operations server and HTTP API on its address.
type Server struct {
	listener net.Listener
	server   *httpapi.Server
	api      *httpapi.API
	follow   func(context.Context) // keeps the archive's pages up to date; nil without them
}

// Listen opens the configured address, so that one that is taken is known
// before any work begins. It returns nil where the server is switched off.
func Listen(ctx context.Context, cfg *config.Config, f Front) (*Server, error) {
	if cfg.HTTPAddr == "" {
		return nil, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.HTTPAddr)
	if err != nil {
		return nil, fmt.Errorf("listen on CLIPFERRY_HTTP_ADDR: %w", err)
	}
	pages, follow, err := f.pages(cfg, isLoopback(l.Addr()))
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	api, err := f.api(cfg, isLoopback(l.Addr()), pages)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &Server{
		listener: l, api: api, follow: follow,
		server: &httpapi.Server{Handler: f.Tracing.Handler(api), Logger: f.Logger, OnStop: api.Drain, StopTimeout: f.stopTimeout(cfg)},
	}, nil
}

// stopTimeout is how long requests under way may take at the end: an order that was
// passed through is paid for, and its client is to get the answer.
func (f Front) stopTimeout(cfg *config.Config) time.Duration {
	if f.Passed == nil {
		return 2 * time.Second
	}
	return cfg.ShutdownTimeout
}

// Addr is where the server listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Drain makes /readyz say that nothing new should come.
func (s *Server) Drain() { s.api.Drain() }

// Serve serves until ctx ends.
func (s *Server) Serve(ctx context.Context) error {
	if s.follow == nil {
		return s.server.Serve(ctx, s.listener)
	}
	following, stop := context.WithCancel(ctx)
	var follower sync.WaitGroup
	follower.Go(func() { s.follow(following) })
	err := s.server.Serve(ctx, s.listener)
	stop()
	follower.Wait()
	return err
}

func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

func (f Front) api(cfg *config.Config, loopback bool, pages *archiveui.UI) (*httpapi.API, error) {
	look, err := StatusReader(cfg, f.Redis)
	if err != nil {
		return nil, err
	}
	exports := admin.ReceiptFallback{Service: admin.New(f.Redis, f.Ledger, time.Now), Receipts: f.Archive, Logger: f.Logger}
	o := httpapi.Options{
		Exports: func(tenant string) httpapi.Exports { return exports.For(tenant) },
		Whole:   exports.Whole,
		Archive: f.Archive, Logger: f.Logger, ProviderURL: cfg.APIBaseURL,
		Queue:     tasks.NewClientFromRedis(f.Redis, tasks.WithTraceHeaders(f.Tracing.Headers)),
		PublicURL: cfg.HTTPPublicURL, LinkTTL: cfg.HTTPLinkTTL, Retention: cfg.LedgerRetention,
		Webhooks: len(cfg.WebhookSecrets) > 0, NotifyQueues: cfg.NotifyQueues,
		WebhookAllowedCIDRs: []netip.Prefix(cfg.WebhookAllowedCIDRs),
		HasAccount:          hasAccount(cfg, queue.New(f.Redis)),
		AccountName:         func(account string) string { return cfg.Account(account).Name },
		WaitingFor: func(ctx context.Context, open []*export.Record) (map[string]status.Waiting, error) {
			out, err := look.Read(ctx, open)
			return out.WaitingFor, err
		},
		Notification: notify.NewReader(f.Redis).Of,
		MaxWaiting:   cfg.HTTPMaxWaiting, Waiting: httpapi.Backlog(f.Redis),
		Checks: f.checks(), Version: f.Version,
		Monitor: httpapi.Monitor{
			Redis: f.Redis, Username: cfg.MonitorAuth.User, Password: cfg.MonitorAuth.Password.Reveal(),
			Writable: cfg.MonitorWritable, Open: cfg.MonitorOpen, Loopback: loopback,
		},
	}
	if pages != nil {
		o.Pages = pages
	}
	if f.Passed != nil {
		o.Passthrough, o.ProjectTenant = f.Passed, f.Passed.Tenant
	}
	if f.Preflight != nil {
		o.Preflight = f.Preflight
	}
	for _, k := range cfg.HTTPAPIKeys {
		o.Keys = append(o.Keys, httpapi.Key{Name: k.Name, Secret: k.Secret.Reveal()})
	}
	for _, k := range cfg.HTTPAdminKeys {
		o.Keys = append(o.Keys, httpapi.Key{Name: k.Name, Secret: k.Secret.Reveal(), Admin: true})
	}
	for _, s := range cfg.HTTPSecret {
		o.Secrets = append(o.Secrets, s.Reveal())
	}
	var api *httpapi.API
	var ready func(context.Context) bool
	if len(f.Accounts) > 0 { // the alert asks whether a worker is ready
		ready = func(ctx context.Context) bool { return api.Ready(ctx) }
	}
	o.Metrics = f.metrics(ready)
	api, err = httpapi.New(o)
	return api, err
}

// hasAccount knows the accounts of this configuration and of the workers that run:
// where the HTTP API is served by itself, their keys may be elsewhere.
func hasAccount(cfg *config.Config, q *queue.Queue) func(context.Context, string) (bool, error) {
	return func(ctx context.Context, name string) (bool, error) {
		if slices.ContainsFunc(cfg.Accounts(), func(a config.Account) bool { return a.Name == name }) {
			return true, nil
		}
		fleet, err := q.Fleet(ctx)
		return fleet.Queues[tasks.AccountQueue(tasks.QueueSubmit, name)], err
	}
}

func (f Front) budgets() map[string]telemetry.Budget {
	gates := map[string]telemetry.Budget{}
	for name, account := range f.Accounts {
		if gate, ok := account.Gate.(*budget.Gate); ok {
			gates[name] = gate
		}
	}
	return gates
}

func (f Front) units() map[string]telemetry.Units {
	meters := map[string]telemetry.Units{}
	for name, account := range f.Accounts {
		if meter, ok := account.Units.(telemetry.Units); ok {
			meters[name] = meter
		}
	}
	return meters
}

// metrics answers Prometheus; ready is asked when it is.
func (f Front) metrics(ready func(context.Context) bool) http.Handler {
	f.Telemetry.Watch(telemetry.Sources{
		Ledger: f.Ledger, Queues: queue.New(f.Redis), Budgets: f.budgets(), Units: f.units(),
		Bucket: f.Archive, Catalog: f.Catalog,
		Redis: telemetry.ReadRedis(f.Redis), Ready: ready,
	})
	return f.Telemetry.Handler()
}
