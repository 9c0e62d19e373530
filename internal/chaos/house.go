package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/redistest"
	"github.com/clipferry/clipferry/internal/s3test"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/worker"
)

// linkLifetime is short enough that links die while their export waits for a
// dead worker to be noticed.
const linkLifetime = 5 * time.Minute

// house is everything that a fleet needs, each with the door through which it
// is reached when it is to misbehave.
type house struct {
	*stage
	cfg config

	redis    *redistest.Server
	wire     *wire
	s3       *s3test.Server
	gateway  *gateway
	provider *emulator.Server
	api      string // the provider's address

	// What follows goes around the doors.
	rdb     *redis.Client
	ledger  *ledger.Ledger
	admin   *admin.Service
	gate    *budget.Gate
	archive *storage.Archive

	env             []string // of the workers
	program, skewed string   // the binaries; skewed may be empty
	workerLog       *os.File
}

func newHouse(ctx context.Context, st *stage, cfg config) (*house, error) {
	h := &house{stage: st, cfg: cfg}
	if err := h.build(ctx); err != nil {
		return nil, err
	}
	h.redis = redistest.Start(st, redistest.Appendfsync(cfg.fsync))
	h.s3 = s3test.Start(st)
	var err error
	if h.wire, err = newWire(h.redis.Addr()); err != nil {
		return nil, err
	}
	st.Cleanup(h.wire.close)
	if h.gateway, err = newGateway(h.s3.Endpoint); err != nil {
		return nil, err
	}
	st.Cleanup(h.gateway.close)
	if err := h.openProvider(ctx); err != nil {
		return nil, err
	}
	if err := h.openDirect(); err != nil {
		return nil, err
	}
	h.env = h.workerEnv()
	h.workerLog, err = os.Create(filepath.Join(st.TempDir(), "workers.log"))
	return h, err
}

func (h *house) build(ctx context.Context) (err error) {
	dir := h.TempDir()
	h.Logf("building %s", program)
	if h.program, err = build(ctx, dir); err != nil {
		return err
	}
	if h.cfg.skew {
		h.Logf("building it with a clock that can be wrong (minutes at the first time)")
		h.skewed, err = buildSkewed(ctx, dir)
	}
	return err
}

func (h *house) openProvider(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	h.api = "http://" + l.Addr().String()
	h.provider, err = emulator.New(emulator.Options{
		Keys: []string{apiKey}, Seed: h.cfg.seed, LinkLifetime: linkLifetime, PublicURL: h.api,
		Limits: emulator.Limits{Shape: emulator.SlidingWindow, RequestsPerMinute: h.cfg.rate, MaxActive: h.cfg.slots},
	})
	if err != nil {
		return err
	}
	server := &http.Server{Handler: h.provider, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }() // ends with Close
	h.Cleanup(func() { _ = server.Close() })
	return nil
}

// openDirect opens what the checker asks: the servers themselves.
func (h *house) openDirect() (err error) {
	h.rdb = h.redis.Client()
	h.ledger = ledger.New(ledger.Options{Redis: h.rdb})
	h.admin = admin.New(h.rdb, h.ledger, time.Now)
	quiet := slog.New(slog.DiscardHandler)
	h.gate, err = budget.New(budget.Options{
		Redis: h.rdb, Account: worker.DefaultAccount, Logger: quiet,
		RequestsPerMinute: h.cfg.rate, MaxActive: h.cfg.slots,
	})
	if err != nil {
		return err
	}
	h.Cleanup(h.gate.Close)
	h.archive, err = storage.New(storage.Options{
		Client: h.s3.Client(), Bucket: s3test.Bucket, Prefix: prefix, Source: noLinks{}, Checkpoints: h.ledger.Checkpoints(), Logger: quiet,
	})
	return err
}

const (
	apiKey = "chaos-key"
	prefix = "exports"
)

func (h *house) workerEnv() []string {
	server := *h.s3
	server.Endpoint = h.gateway.url()
	return append(server.Env(),
		"PATH="+os.Getenv("PATH"), "HOME="+h.TempDir(),
		"CLIPFERRY_REDIS_URL="+h.redisURL(), "CLIPFERRY_API_BASE_URL="+h.api, "CLIPFERRY_API_KEY="+apiKey,
		"CLIPFERRY_API_REQUESTS_PER_MINUTE="+strconv.Itoa(h.cfg.rate),
		"CLIPFERRY_API_MAX_ACTIVE_EXPORTS="+strconv.Itoa(h.cfg.slots),
		"CLIPFERRY_S3_BUCKET="+s3test.Bucket, "CLIPFERRY_S3_PATH_STYLE=true", "CLIPFERRY_S3_PART_SIZE=5MiB",
		"CLIPFERRY_LINK_ALLOWED_CIDRS=127.0.0.0/8", "CLIPFERRY_HTTP_ADDR=", "CLIPFERRY_LOG_FORMAT=json",
		"CLIPFERRY_SUBMIT_IN_DOUBT="+string(h.cfg.inDoubt),
	)
}

func (h *house) redisURL() string { return fmt.Sprintf("redis://%s/0", h.wire.addr()) }
