package ledger

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/retry"
)

// ErrLeased is returned while somebody else holds the lease.
var ErrLeased = errors.New("somebody else works on this step")

// Lease says that one process works on a step of an export. It ends by itself,
// by Redis's clock, if the process dies.
type Lease struct {
	l     *Ledger
	key   string
	token string
	ttl   time.Duration
	until time.Time // it is ours at least so long, unless renewed
}

var (
	//go:embed renew.lua
	renewSource string
	//go:embed release.lua
	releaseSource string

	renewScript   = redis.NewScript(renewSource)
	releaseScript = redis.NewScript(releaseSource)
)

// Lease takes the named lease of an export for ttl, or returns [ErrLeased].
func (l *Ledger) Lease(ctx context.Context, id, name string, ttl time.Duration) (*Lease, error) {
	return l.lease(ctx, Key(id)+":lease:"+name, ttl)
}

// FleetLease takes a lease that belongs to no export, such as the sweeper's.
func (l *Ledger) FleetLease(ctx context.Context, name string, ttl time.Duration) (*Lease, error) {
	return l.lease(ctx, "clipferry:{fleet}:lease:"+name, ttl)
}

func (l *Ledger) lease(ctx context.Context, key string, ttl time.Duration) (*Lease, error) {
	ls := &Lease{l: l, key: key, token: uuid.NewString(), ttl: ttl, until: time.Now().Add(ttl)}
	err := l.rdb.SetArgs(ctx, ls.key, ls.token, redis.SetArgs{Mode: "NX", TTL: ttl}).Err()
	if errors.Is(err, redis.Nil) {
		// It may be our own: a request whose reply was lost is sent again.
		var holder string
		if holder, err = l.rdb.Get(ctx, ls.key).Result(); holder == ls.token {
			return ls, nil
		}
		if err == nil || errors.Is(err, redis.Nil) {
			err = ErrLeased
		}
	}
	if err != nil {
		return nil, fmt.Errorf("lease %s: %w", key, err)
	}
	return ls, nil
}

// Renew extends the lease by its time from now; [ErrLeased] if it was lost.
func (ls *Lease) Renew(ctx context.Context) error {
	n, err := renewScript.Run(ctx, ls.l.rdb, []string{ls.key}, ls.token, ls.ttl.Milliseconds()).Int()
	if err != nil {
		return fmt.Errorf("renew %s: %w", ls.key, err)
	}
	if n == 0 {
		return fmt.Errorf("renew %s: %w", ls.key, ErrLeased)
	}
	return nil
}

// Release gives the lease back. A lease that can't be given back ends by itself.
func (ls *Lease) Release(ctx context.Context) error {
	if err := releaseScript.Run(ctx, ls.l.rdb, []string{ls.key}, ls.token).Err(); err != nil {
		return fmt.Errorf("release %s: %w", ls.key, err)
	}
	return nil
}

// Keep renews the lease until ctx ends or it is lost; the returned context
// ends with it, and not after Redis may have given the lease to somebody else.
// The cancel function ends the renewing; it does not give the lease back.
func (ls *Lease) Keep(ctx context.Context) (context.Context, context.CancelFunc) {
	kept, cancel := context.WithCancelCause(ctx)
	lost := time.AfterFunc(time.Until(ls.until), func() {
		cancel(fmt.Errorf("lease %s was not renewed in time: %w", ls.key, ErrLeased))
	})
	go func() {
		defer lost.Stop()
		wait := ls.ttl / 3
		for retry.Wait(kept, wait) == nil {
			asked := time.Now()
			err := ls.Renew(kept)
			switch {
			case err == nil:
				wait = ls.ttl / 3
				lost.Reset(time.Until(asked.Add(ls.ttl)))
			case errors.Is(err, ErrLeased):
				cancel(err)
			default:
				wait = ls.ttl / 12
			}
		}
	}()
	return kept, func() { cancel(context.Canceled) }
}
