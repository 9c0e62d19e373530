// Package units counts what the provider charges an account on each UTC day,
// and says when a cap on it is reached. It is kept in Redis, for the whole
// fleet, under the account's budget:
//
//	clipferry:{budget:<account>}:units:<day>  hash
//	    total           units charged for exports accepted that day
//	    cap, held       the cap, and when it last held somebody back (Unix time)
//	    task:<id>       units of that task of the provider's
//
// A charge belongs to the day on which the provider accepted the export, and
// counts once however often it is told. What an export costs is known only from
// its first read, so a cap can be overshot by the exports in flight: it is a
// brake, not a guarantee.
//
// It is not for metrics (package telemetry counts on its own).
package units

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// keep is how long a day's count stays.
	keep = 40 * 24 * time.Hour
	// heldFor is for how long a cap is believed to hold after somebody said so.
	// Those who wait say so every few seconds.
	heldFor = 2 * time.Minute
)

// Meter counts one account's units. It is safe for concurrent use.
type Meter struct {
	rdb     redis.UniversalClient
	account string
	limit   float64
}

// New returns the meter of an account in the Redis, which stays the caller's to
// close. limit is how many units may be spent on a day; 0 is no cap.
func New(rdb redis.UniversalClient, account string, limit float64) *Meter {
	return &Meter{rdb: rdb, account: account, limit: limit}
}

// addScript raises the units of one task, and the total by as much. Told again
// with as many or less, it changes nothing, so the order of tellers is no matter.
//
//	KEYS[1]  the day
//	ARGV[1]  the task's field
//	ARGV[2]  its units
//	ARGV[3]  seconds to keep the day
var addScript = redis.NewScript(`
local before = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
local more = tonumber(ARGV[2]) - before
if more > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('HINCRBYFLOAT', KEYS[1], 'total', string.format('%.6f', more))
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
return 0
`)

// Add counts what the provider's task was charged. accepted is when the
// provider took it.
func (m *Meter) Add(ctx context.Context, task string, accepted time.Time, units float64) error {
	err := addScript.Run(ctx, m.rdb, []string{m.key(accepted)},
		"task:"+task, strconv.FormatFloat(units, 'f', -1, 64), int(keep.Seconds())).Err()
	if err != nil {
		return fmt.Errorf("count the units of task %s: %w", task, err)
	}
	return nil
}

// Look is how often those who wait for the end of a day ask again.
const Look = 5 * time.Second

// Day is what an account spent on one day.
type Day struct {
	Spent float64
	// Cap is how much may be spent, 0 without a cap.
	Cap float64
	// Held says that the cap holds somebody back at the moment.
	Held bool
	// Ends is when the next day begins.
	Ends time.Time
}

// Reached reports whether nothing more may be spent.
func (d Day) Reached() bool { return d.Cap > 0 && d.Spent >= d.Cap }

// Today returns how the day stands. A meter that knows of no cap shows the one
// that the fleet holds submits back for.
func (m *Meter) Today(ctx context.Context, now time.Time) (Day, error) {
	values, err := m.rdb.HMGet(ctx, m.key(now), "total", "cap", "held").Result()
	if err != nil {
		return Day{}, fmt.Errorf("read the units of account %s: %w", m.account, err)
	}
	day := Day{Spent: number(values[0]), Cap: m.limit, Ends: midnight(now)}
	held := now.Sub(time.Unix(int64(number(values[2])), 0)) < heldFor
	if held && m.limit == 0 {
		day.Cap = number(values[1])
	}
	day.Held = held && day.Reached()
	return day, nil
}

// Wait returns when the day ends if its cap is reached, and the zero time if
// there is something left to spend. That it holds somebody back is kept, for
// those who only look: ask again every [Look].
func (m *Meter) Wait(ctx context.Context, now time.Time) (time.Time, error) {
	if m.limit == 0 {
		return time.Time{}, nil
	}
	day, err := m.Today(ctx, now)
	if err != nil || !day.Reached() {
		return time.Time{}, err
	}
	err = m.rdb.HSet(ctx, m.key(now), "cap", strconv.FormatFloat(m.limit, 'f', -1, 64), "held", now.Unix()).Err()
	if err != nil {
		return time.Time{}, fmt.Errorf("keep the cap of account %s: %w", m.account, err)
	}
	return day.Ends, nil
}

func (m *Meter) key(t time.Time) string {
	return "clipferry:{budget:" + m.account + "}:units:" + t.UTC().Format(time.DateOnly)
}

// midnight returns the end of t's UTC day.
func midnight(t time.Time) time.Time {
	return t.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
}

// number reads a field that may be missing or a foreign hand's, which is 0.
func number(value any) float64 {
	text, _ := value.(string)
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return f
}
