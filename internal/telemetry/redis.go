package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/redisfault"
)

// The values of the label reason of clipferry_redis_errors_total.
var redisReasons = []string{"timeout", "network", "out_of_memory", "readonly", "loading", "other"}

// RedisHook returns what counts the failures of a Redis client's commands; see
// redis.UniversalClient.AddHook. Those of the ledger, of the budget and of asynq
// on that client are all among them.
func (t *Telemetry) RedisHook() redis.Hook { return redisHook{t} }

type redisHook struct{ t *Telemetry }

func (h redisHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		h.count(err)
		return conn, err
	}
}

func (h redisHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		h.count(err)
		return err
	}
}

func (h redisHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		h.count(err)
		return err
	}
}

func (h redisHook) count(err error) {
	if reason := redisReason(err); reason != "" {
		h.t.redisErrors.WithLabelValues(reason).Inc()
	}
}

// redisReason returns why a command failed; empty if it did not, or if only
// somebody stopped waiting for it.
func redisReason(err error) string {
	var netErr net.Error
	var answer redis.Error
	switch {
	case err == nil, errors.Is(err, redis.Nil), errors.Is(err, context.Canceled), errors.Is(err, redis.ErrClosed):
		return ""
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "timeout"
	case !errors.As(err, &answer):
		return "network"
	}
	text := strings.ToUpper(answer.Error())
	for _, own := range []string{
		"NOSCRIPT", "BUSYGROUP", "EXECABORT", // the client's own business, and tried again
		"ERR UNKNOWN", // at each connect the client asks for what older servers don't know
	} {
		if strings.HasPrefix(text, own) {
			return ""
		}
	}
	return cmp.Or(redisfault.Of(err).Reason, "other")
}

// RedisInfo calls each for every master of the fleet's Redis. Make one with
// [ReadRedis].
type RedisInfo func(ctx context.Context, each func(context.Context, *redis.Client) error) error

// ReadRedis returns the RedisInfo of a client: of one server, of the master
// behind sentinels, or of all masters of a cluster.
func ReadRedis(rdb redis.UniversalClient) RedisInfo {
	switch c := rdb.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster
	case *redis.Client:
		return func(ctx context.Context, each func(context.Context, *redis.Client) error) error { return each(ctx, c) }
	}
	return nil
}

// redisState is what matters of all masters taken together: the worst of each.
type redisState struct {
	used, limit  float64 // bytes, summed
	worst        float64 // used/limit of the fullest node
	noeviction   bool
	aof          bool
	persistWorks bool
}

func (r RedisInfo) read(ctx context.Context) (redisState, error) {
	all := redisState{noeviction: true, aof: true, persistWorks: true}
	var mu sync.Mutex
	err := r(ctx, func(ctx context.Context, node *redis.Client) error {
		info, err := node.InfoMap(ctx, "memory", "persistence").Result()
		if err != nil {
			return fmt.Errorf("ask Redis for INFO: %w", err)
		}
		mu.Lock()
		defer mu.Unlock()
		all.add(info["Memory"], info["Persistence"])
		return nil
	})
	return all, err
}

// add takes in one node. Without a maxmemory of its own a node has the
// machine's memory.
func (s *redisState) add(memory, persistence map[string]string) {
	used, limit := number(memory["used_memory"]), number(memory["maxmemory"])
	if limit == 0 {
		limit = number(memory["total_system_memory"])
	}
	s.used += used
	s.limit += limit
	if limit > 0 {
		s.worst = max(s.worst, used/limit)
	}
	s.noeviction = s.noeviction && memory["maxmemory_policy"] == "noeviction"
	s.aof = s.aof && persistence["aof_enabled"] == "1"
	for _, last := range []string{"aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"} {
		if status := persistence[last]; status != "" && status != "ok" {
			s.persistWorks = false
		}
	}
}

// number is 0 for what is none.
func number(s string) float64 {
	n, _ := strconv.ParseFloat(s, 64)
	return n
}

var (
	descRedisUsed   = desc("redis_memory_used_bytes", "Memory that Redis uses, over all masters.")
	descRedisLimit  = desc("redis_memory_limit_bytes", "maxmemory over all masters; the machine's memory where it is not set.")
	descRedisRatio  = desc("redis_memory_used_ratio", "Share of its memory that the fullest master uses; a full one refuses even the tasks' dequeue.")
	descRedisEvicts = desc("redis_noeviction", "Whether every master has maxmemory-policy noeviction; any other loses tasks and records silently.")
	descRedisAOF    = desc("redis_aof_enabled", "Whether every master has appendonly yes; 0 or 1.")
	descRedisDisk   = desc("redis_persistence_ok", "Whether every master's last write to disk (AOF, its rewrite, RDB) succeeded.")
)

func (c *collector) redis(out chan<- prometheus.Metric, s redisState) {
	gauge(out, descRedisUsed, s.used)
	gauge(out, descRedisLimit, s.limit)
	gauge(out, descRedisRatio, s.worst)
	gauge(out, descRedisEvicts, flag(s.noeviction))
	gauge(out, descRedisAOF, flag(s.aof))
	gauge(out, descRedisDisk, flag(s.persistWorks))
}
