package budget

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/fault"
)

//go:embed lua/swap.lua
var swapSource string

//go:embed lua/load.lua
var loadSource string

var (
	swapScript = redis.NewScript(swapSource)
	loadScript = redis.NewScript(loadSource)
)

// redisStore keeps the state under one hash tag, so that a cluster holds it on
// one node:
//
//	clipferry:{budget:<account>}:state          hash: v = version, and the fields
//	clipferry:{budget:<account>}:recent         list of what the last changes wrote
//	clipferry:{budget:<account>}:last:<worker>  number of the worker's last change, for a while
//	clipferry:{budget:<account>}:changes        channel: every change as it is made,
//	                                            after the version it was stored upon
type redisStore struct {
	client                 redis.UniversalClient
	state, recent, changes string
	last                   string // and the worker
}

func newRedisStore(client redis.UniversalClient, account string) *redisStore {
	tag := "clipferry:{budget:" + account + "}:"
	return &redisStore{
		client: client, state: tag + "state", recent: tag + "recent", changes: tag + "changes", last: tag + "last:",
	}
}

func (r *redisStore) Load(ctx context.Context, worker string) (snapshot, error) {
	raw, err := loadScript.Run(ctx, r.client, []string{r.state, r.last + worker}).Slice()
	if err != nil {
		return snapshot{}, unreachable(err)
	}
	rep, err := parseReply(raw)
	if err != nil {
		return snapshot{}, err
	}
	if rep.Now == nil {
		return snapshot{}, errors.New("answer of the budget script without a state")
	}
	return *rep.Now, nil
}

func (r *redisStore) Swap(ctx context.Context, c change) (reply, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return reply{}, fmt.Errorf("encode a budget change: %w", err)
	}
	from, to := c.From, "next"
	if c.Restore {
		from, to = c.Expect, strconv.FormatInt(c.From+1, 10)
	}
	raw, err := swapScript.Run(ctx, r.client, []string{r.state, r.last + c.By, r.recent, r.changes},
		from, to, c.After, c.Before, body, c.Seq, int(remembered.Seconds()), recent).Slice()
	if err != nil {
		return reply{}, unreachable(err)
	}
	return parseReply(raw)
}

// parseReply reads {done, seconds, microseconds, [field, value, …], last}, the
// latter two only if the answer says what is stored.
func parseReply(raw []any) (reply, error) {
	if len(raw) < 3 {
		return reply{}, errors.New("short answer from the budget script")
	}
	flag, _ := raw[0].(int64)
	sec, _ := raw[1].(string)
	usec, _ := raw[2].(string)
	s, err1 := strconv.ParseInt(sec, 10, 64)
	us, err2 := strconv.ParseInt(usec, 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return reply{}, fmt.Errorf("clock in the answer of the budget script: %w", err)
	}
	rep := reply{Done: flag == 1, Time: s*1_000_000 + us}
	if len(raw) < 5 {
		if !rep.Done {
			return reply{}, errors.New("short answer from the budget script")
		}
		return rep, nil
	}
	fields := map[string]string{}
	pairs, _ := raw[3].([]any)
	for i := 0; i+1 < len(pairs); i += 2 {
		k, _ := pairs[i].(string)
		v, _ := pairs[i+1].(string)
		fields[k] = v
	}
	// A version that isn't a number is a foreign hand's; it counts as none.
	v, _ := strconv.ParseInt(fields["v"], 10, 64)
	delete(fields, "v")
	last, _ := raw[4].(string)
	n, _ := strconv.ParseInt(last, 10, 64)
	rep.Now = &snapshot{Version: v, Fields: fields, Time: rep.Time, Last: n}
	return rep, nil
}

func (r *redisStore) Watch(ctx context.Context) (<-chan change, error) {
	sub := r.client.Subscribe(ctx, r.changes)
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
					c = parseChange(msg.Payload)
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

// parseChange reads a change as it is published: the version it was stored upon, a
// space, and JSON. What can't be read is an empty change.
func parseChange(published string) (c change) {
	from, body, _ := strings.Cut(published, " ")
	v, err := strconv.ParseInt(from, 10, 64)
	if err != nil || json.Unmarshal([]byte(body), &c) != nil {
		return change{}
	}
	c.From = v
	return c
}

// unreachable classes a failure of Redis: the same action may succeed later.
func unreachable(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fault.New(fault.Retry, "the shared budget in Redis can't be reached", err)
}
