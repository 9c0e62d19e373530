package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/cmd/internal/wiring"
	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/redisfault"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
)

// connection is what commands work on.
type connection struct {
	cfg     *config.Config
	log     *slog.Logger
	rdb     redis.UniversalClient
	inUse   bool // something that could not be waited for still uses rdb
	ledger  *ledger.Ledger
	exports *admin.Service
	archive *storage.Archive // nil until openArchive
	links   *link.Client
}

// open reads the configuration and asks nobody for anything.
func (c *console) open(needs config.Needs) (*connection, error) {
	cfg, err := config.Load(c.env, needs)
	if err != nil {
		return nil, err
	}
	rdb := cfg.Redis.NewClient()
	l := wiring.Ledger(cfg, rdb)
	return &connection{cfg: cfg, log: c.logger(cfg), rdb: rdb, ledger: l, exports: admin.New(rdb, l, time.Now)}, nil
}

// connect is open that makes sure that Redis answers.
func (c *console) connect(ctx context.Context, needs config.Needs) (*connection, error) {
	conn, err := c.open(needs)
	if err != nil {
		return nil, err
	}
	if err := reach(ctx, conn.cfg.Redis, conn.rdb, reachTimeout); err != nil {
		conn.close()
		return nil, fmt.Errorf("Redis at %s %w", conn.cfg.Redis, err) //nolint:staticcheck // a name
	}
	return conn, nil
}

// openArchive opens the archive in S3, if that has not been done; observe, which may
// be nil, sees its requests.
func (c *connection) openArchive(ctx context.Context, observe func(context.Context, storage.Attempt)) (err error) {
	if c.archive == nil {
		c.archive, c.links, err = wiring.Archive(ctx, c.cfg, c.ledger, c.log, observe)
	}
	return err
}

// archiveAlone opens the archive without asking Redis for anything.
func (c *console) archiveAlone(ctx context.Context) (*connection, error) {
	conn, err := c.open(config.NeedsS3)
	if err != nil {
		return nil, err
	}
	if err := conn.openArchive(ctx, nil); err != nil {
		conn.close()
		return nil, err
	}
	return conn, nil
}

// reach makes sure that Redis answers. One that can't save refuses even a PING, but
// says what it knows all the same, which is what somebody wants to see who repairs it.
func reach(ctx context.Context, address *tasks.Redis, rdb redis.UniversalClient, timeout time.Duration) error {
	if address.TLS() && answersInClear(ctx, address) {
		// A handshake would only run into its time limit.
		return errors.New("does not answer: it does not speak TLS; let CLIPFERRY_REDIS_URL begin with " + otherForm(address))
	}
	err := pingWithin(ctx, rdb, timeout)
	if err == nil {
		return nil
	}
	c, one := rdb.(*redis.Client)
	if one && !address.TLS() {
		err = cmp.Or(unasked(ctx, address), err)
	}
	fault := redisfault.Of(err)
	switch {
	case fault.Code == "MISCONF":
		return nil
	case one && c.Options().Addr == failoverAddr && (fault.Code == "WRONGPASS" || fault.Code == "NOAUTH") && !strings.Contains(fault.Text, "sentinels"):
		return fmt.Errorf("refuses: behind the sentinels %s; its own are ?username=…&password=… in CLIPFERRY_REDIS_URL, what is before the @ is the sentinels'", fault.Text)
	case fault.Reason == passes:
		return fmt.Errorf("does not answer yet: %s; %s", fault.Text, fault.Hint)
	case fault.Code != "":
		return fmt.Errorf("refuses: %s; %s", fault.Text, cmp.Or(fault.Hint, redisHint))
	case !address.TLS() && speaksTLS(ctx, address):
		return errors.New("does not answer: it speaks TLS; let CLIPFERRY_REDIS_URL begin with " + otherForm(address))
	}
	hint := "see CLIPFERRY_REDIS_URL"
	if one && c.Options().Addr == failoverAddr {
		hint = "see whether the sentinels and the server that they name can be reached at CLIPFERRY_REDIS_URL"
	}
	return fmt.Errorf("does not answer: %s; %s", fault.Text, cmp.Or(fault.Hint, hint))
}

// failoverAddr is what go-redis calls the address of a server behind sentinels.
const failoverAddr = "FailoverClient"

// reachTimeout is how long somebody at a terminal waits for a Redis that says
// nothing; its client would go on for a minute where sentinels are away.
const reachTimeout = 10 * time.Second

func pingWithin(ctx context.Context, rdb redis.UniversalClient, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var said error // by a Redis that is up, should the time end in the middle of the next ping
	for {
		err := rdb.Ping(ctx).Err()
		if err == nil {
			return nil
		}
		switch fault := redisfault.Of(err); {
		case fault.Code == "":
			return cmp.Or(said, err)
		case fault.Reason != passes, retry.Wait(ctx, 200*time.Millisecond) != nil:
			return err
		}
		said = err
	}
}

// passes is the reason of refusals that are waited for, such as those of a Redis that
// was started a moment ago and reads its data.
const passes = "loading"

// redisHint is what to do about a failure of Redis of which nothing special is known.
const redisHint = "see CLIPFERRY_REDIS_URL and Redis's log"

// probeTimeout is for one answer on the network, of a server that is there.
const probeTimeout = 3 * time.Second

// otherForm says how the address begins that has TLS, or has none, in place of this one.
func otherForm(address *tasks.Redis) string {
	form, _, _ := strings.Cut(address.String(), "://")
	plain := strings.Replace(form, "rediss", "redis", 1)
	secured := strings.Replace(plain, "redis", "rediss", 1)
	if form == plain {
		return secured + "://, not " + plain + "://"
	}
	return plain + "://, not " + secured + "://"
}

// probe opens a connection to the first of the hosts that is there, to see what it
// speaks; nil for a socket and where none is.
func probe(ctx context.Context, address *tasks.Redis) net.Conn {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	for _, host := range address.Hosts() {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", host)
		if err == nil {
			_ = conn.SetDeadline(time.Now().Add(probeTimeout))
			return conn
		}
	}
	return nil
}

// unasked returns what a server says before it is asked anything: that it takes no
// more clients, which one that writes first may never get to read.
func unasked(ctx context.Context, address *tasks.Redis) error {
	conn := probe(ctx, address)
	if conn == nil {
		return nil
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(probeTimeout / 10))
	said := make([]byte, 200)
	if n, _ := conn.Read(said); n > 0 && said[0] == '-' {
		return errors.New(strings.TrimSpace(string(said[1:n])))
	}
	return nil
}

// answersInClear reports whether a server that should speak TLS speaks Redis's
// protocol without: to a handshake it would say nothing.
func answersInClear(ctx context.Context, address *tasks.Redis) bool {
	conn := probe(ctx, address)
	if conn == nil {
		return false
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	first := make([]byte, 1)
	_, err := conn.Read(first)
	return err == nil && (first[0] == '+' || first[0] == '-')
}

// speaksTLS reports whether a server that should not speak TLS does. Nothing is
// sent to it, so it does not matter whose it is.
func speaksTLS(ctx context.Context, address *tasks.Redis) bool {
	conn := probe(ctx, address)
	if conn == nil {
		return false
	}
	defer conn.Close()
	err := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
	return err == nil || strings.Contains(err.Error(), "remote error: tls:")
}

// withGate lends the account's budget.
func (c *connection) withGate(a config.Account, do func(*budget.Gate) error) error {
	gate, err := wiring.Gate(a, c.rdb, c.log)
	if err != nil {
		return err
	}
	defer gate.Close()
	return do(gate)
}

// close drops the connections; what was written has been acknowledged already.
func (c *connection) close() {
	if c.links != nil {
		c.links.Close()
	}
	if c.inUse {
		return // the end of the process closes it
	}
	_ = c.rdb.Close()
}
