package wiring

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/httpapi"
	"github.com/clipferry/clipferry/internal/pace"
	"github.com/clipferry/clipferry/internal/redisfault"
)

// checks are the conditions of being ready. Without accounts this process is no
// worker and serves HTTP alone: then Redis will do, since an order is taken, and a
// link given, whatever S3 and the provider say.
func (f Front) checks() []httpapi.Check {
	checks := []httpapi.Check{{Name: "redis", Run: func(ctx context.Context) error { return takesWrites(ctx, f.Redis) }}}
	if len(f.Accounts) == 0 {
		return checks
	}
	checks = append(checks, httpapi.Check{Name: "s3", Timeout: 5 * time.Second, Run: f.Archive.Check})
	for name, gate := range f.budgets() {
		checks = append(checks, httpapi.Check{Name: "provider " + name, Run: func(ctx context.Context) error {
			return keyAccepted(ctx, gate)
		}})
	}
	return checks
}

// readyKey is written to see whether Redis takes writes: a replica answers a ping.
const readyKey = "clipferry:{ready}"

// takesWrites returns why Redis is of no use. It is shown to whoever asks, so words
// that nobody knows, which may name an address, are left out.
func takesWrites(ctx context.Context, rdb redis.UniversalClient) error {
	// GET needs Redis 6.2, as much of what a worker sends does.
	err := rdb.SetArgs(ctx, readyKey, "1", redis.SetArgs{TTL: time.Minute, Get: true}).Err()
	if err == nil || errors.Is(err, redis.Nil) {
		return nil
	}
	why := redisfault.Of(err)
	if why.Code == "" && why.Text == err.Error() {
		return errors.New("Redis does not answer") //nolint:staticcheck // a name
	}
	return fault.New(fault.Retry, "Redis: "+why.Text, err).WithHint(why.Hint)
}

// keyAccepted returns an error while the provider refuses the account's key. An
// account that can't order for another reason is no fault of this worker.
func keyAccepted(ctx context.Context, gate interface {
	Status(context.Context) (budget.Status, error)
},
) error {
	status, err := gate.Status(ctx)
	switch {
	case err != nil:
		return errors.New("the budget can't be read")
	case status.Halted == pace.HaltForbidden:
		return errors.New("the provider refuses the API key; nothing is spent until it accepts it again")
	}
	return nil
}
