package budget

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/fault"
)

// swapScript makes one change, or answers with what is stored.
//
//	KEYS[1]  the hash with the account's fields; "v" is its version
//	KEYS[2]  the channel on which changes are told (in KEYS so that a cluster
//	         routes the script by one tag; nothing is stored there)
//	ARGV[1]  version expected to be stored
//	ARGV[2]  version to store
//	ARGV[3]  ARGV[4] bounds of the clock in microseconds, "0" is open
//	ARGV[5]  the change as JSON: {"set":{field:value},"del":[field],"reset":bool}
//
// Versions and times are compared as strings or split in seconds and
// microseconds, because Lua's numbers are floating point; 2^53 microseconds
// reach until the year 2255.
var swapScript = redis.NewScript(`
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000000 + tonumber(t[2])
local stored = redis.call('HGET', KEYS[1], 'v') or '0'
local after, before = tonumber(ARGV[3]), tonumber(ARGV[4])
if stored ~= ARGV[1] or (after > 0 and now < after) or (before > 0 and now > before) then
  return {0, t[1], t[2], redis.call('HGETALL', KEYS[1])}
end
local c = cjson.decode(ARGV[5])
if c.reset then redis.call('DEL', KEYS[1]) end
for f, v in pairs(c.set or {}) do redis.call('HSET', KEYS[1], f, v) end
for _, f in ipairs(c.del or {}) do redis.call('HDEL', KEYS[1], f) end
redis.call('HSET', KEYS[1], 'v', ARGV[2])
redis.call('PUBLISH', KEYS[2], ARGV[5])
return {1, t[1], t[2]}
`)

// loadScript returns the clock and everything. KEYS[1] is the hash.
var loadScript = redis.NewScript(`
local t = redis.call('TIME')
return {0, t[1], t[2], redis.call('HGETALL', KEYS[1])}
`)

// redisStore keeps the state under one hash tag, so that a cluster holds it on
// one node:
//
//	clipferry:{budget:<account>}:state    hash: v = version, and the fields
//	clipferry:{budget:<account>}:changes  channel: every change as it is made
type redisStore struct {
	client redis.UniversalClient
	keys   [2]string
}

func newRedisStore(client redis.UniversalClient, account string) *redisStore {
	tag := "clipferry:{budget:" + account + "}:"
	return &redisStore{client: client, keys: [2]string{tag + "state", tag + "changes"}}
}

func (r *redisStore) Load(ctx context.Context) (snapshot, error) {
	raw, err := loadScript.Run(ctx, r.client, r.keys[:1]).Slice()
	if err != nil {
		return snapshot{}, unreachable(err)
	}
	_, now, fields, err := parseReply(raw)
	if err != nil {
		return snapshot{}, err
	}
	return toSnapshot(now, fields), nil
}

func (r *redisStore) Swap(ctx context.Context, c change) (reply, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return reply{}, fmt.Errorf("encode a budget change: %w", err)
	}
	want := c.From
	if c.Restore {
		want = c.Expect
	}
	raw, err := swapScript.Run(ctx, r.client, r.keys[:],
		strconv.FormatInt(want, 10), strconv.FormatInt(c.From+1, 10), c.After, c.Before, body).Slice()
	if err != nil {
		return reply{}, unreachable(err)
	}
	done, now, fields, err := parseReply(raw)
	if err != nil {
		return reply{}, err
	}
	if done {
		return reply{Done: true, Time: now}, nil
	}
	return reply{Time: now, Now: toSnapshot(now, fields)}, nil
}

// parseReply reads {done, seconds, microseconds, [field, value, …]}.
func parseReply(raw []any) (done bool, now int64, fields map[string]string, err error) {
	if len(raw) < 3 {
		return false, 0, nil, errors.New("short answer from the budget script")
	}
	flag, _ := raw[0].(int64)
	sec, _ := raw[1].(string)
	usec, _ := raw[2].(string)
	s, err1 := strconv.ParseInt(sec, 10, 64)
	us, err2 := strconv.ParseInt(usec, 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return false, 0, nil, fmt.Errorf("clock in the answer of the budget script: %w", err)
	}
	fields = map[string]string{}
	if len(raw) > 3 {
		pairs, _ := raw[3].([]any)
		for i := 0; i+1 < len(pairs); i += 2 {
			k, _ := pairs[i].(string)
			v, _ := pairs[i+1].(string)
			fields[k] = v
		}
	}
	return flag == 1, s*1_000_000 + us, fields, nil
}

func toSnapshot(now int64, fields map[string]string) snapshot {
	// A version that isn't a number is a foreign hand's; it counts as none.
	v, _ := strconv.ParseInt(fields["v"], 10, 64)
	delete(fields, "v")
	return snapshot{Version: v, Fields: fields, Time: now}
}

func (r *redisStore) Watch(ctx context.Context) (<-chan change, error) {
	sub := r.client.Subscribe(ctx, r.keys[1])
	if _, err := sub.ReceiveTimeout(ctx, storeTimeout); err != nil {
		_ = sub.Close()
		return nil, unreachable(err)
	}
	in := sub.ChannelWithSubscriptions(redis.WithChannelHealthCheckInterval(30*time.Second), redis.WithChannelSize(256))
	out := make(chan change, 64)
	go func() {
		defer close(out)
		defer func() { _ = sub.Close() }()
		for {
			var c change
			select {
			case <-ctx.Done():
				return
			case m, ok := <-in:
				if !ok {
					return
				}
				// Anything but a change (a new subscription after the
				// connection broke) may hide a gap: an empty change.
				if msg, is := m.(*redis.Message); is {
					if err := json.Unmarshal([]byte(msg.Payload), &c); err != nil {
						c = change{}
					}
				}
			}
			select {
			case out <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// unreachable classes a failure of Redis: the same action may succeed later.
func unreachable(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fault.New(fault.Retry, "the shared budget in Redis can't be reached", err)
}
