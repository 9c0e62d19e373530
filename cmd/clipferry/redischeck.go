package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/redisfault"
)

// verdict says how a check ended.
type verdict string

const (
	good verdict = "ok"
	warn verdict = "warn"
	bad  verdict = "FAIL"
)

// finding is the outcome of one check: what is, and what to do about it.
type finding struct {
	verdict verdict
	text    string
	hint    string
}

// Limits of what is called healthy.
const (
	leastRedis     = "6.2"
	skewWarning    = time.Second
	skewFailure    = 10 * time.Second
	fullWarning    = 0.70 // of maxmemory; a full Redis refuses to hand out tasks, too
	clientsWarning = 0.80 // of maxclients
	checkTimeout   = 20 * time.Second
)

// examineRedis checks what the promises rest on: that nothing is evicted and
// that what was acknowledged survives a restart. Each master of a cluster is asked.
func examineRedis(ctx context.Context, rdb redis.UniversalClient) []finding {
	return append(examineNodes(ctx, rdb), checkWrite(ctx, rdb), checkChannels(ctx, rdb))
}

func examineNodes(ctx context.Context, rdb redis.UniversalClient) []finding {
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		return examineNode(ctx, rdb, "")
	}
	var mu sync.Mutex
	var all []finding
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		found := examineNode(ctx, node, node.Options().Addr+": ")
		mu.Lock()
		defer mu.Unlock()
		all = append(all, found...)
		return nil
	})
	if err != nil {
		all = append(all, refused("the cluster's masters can't all be asked", err))
	}
	return all
}

func examineNode(ctx context.Context, node redis.Cmdable, where string) []finding {
	sections, err := node.InfoMap(ctx).Result()
	if err != nil {
		return []finding{refused(where+"INFO", err)}
	}
	info := map[string]string{}
	for _, section := range sections {
		maps.Copy(info, section)
	}
	found := []finding{
		checkVersion(info), checkEviction(info), checkPersistence(info), checkReplicas(info), checkMemory(info), checkSkew(ctx, node),
	}
	if info["maxclients"] == "" { // before Redis 7 it is no part of INFO
		config, _ := node.ConfigGet(ctx, "maxclients").Result() // many a managed Redis does not say
		info["maxclients"] = config["maxclients"]
	}
	found = append(found, checkClients(info)...)
	if config, err := node.ConfigGet(ctx, "appendfsync").Result(); err == nil && info["aof_enabled"] == "1" {
		found = append(found, checkFlush(config["appendfsync"])...) // many a managed Redis does not say
	}
	for i := range found {
		found[i].text = where + found[i].text
	}
	return found
}

// writeScript is a write as asynq and the ledger do it.
var writeScript = redis.NewScript(`return redis.call('SET', KEYS[1], '1', 'PX', 1000)`)

// checkWrite does what reading alone doesn't show: a replica, a full Redis, one
// that can't save and one that gives its user too few rights answer all else.
func checkWrite(ctx context.Context, rdb redis.UniversalClient) finding {
	for _, key := range []string{"clipferry:{doctor}:write", "asynq:{clipferry-doctor}:write"} {
		if err := writeScript.Run(ctx, rdb, []string{key}).Err(); err != nil {
			return refused("writing "+key, err)
		}
	}
	return finding{good, "takes writes", ""}
}

// refused is what a failure of Redis looks like here.
func refused(what string, err error) finding {
	fault := redisfault.Of(err)
	return finding{bad, what + ": " + fault.Text, cmp.Or(fault.Hint, redisHint)}
}

// checkChannels tries to publish and to subscribe: a user who may not gets all
// else to work, only that workers hear of each other late, and of nothing canceled.
func checkChannels(ctx context.Context, rdb redis.UniversalClient) finding {
	const ours, asynqs = "clipferry:{doctor}:channel", "asynq:cancel"
	if err := rdb.Publish(ctx, ours, "").Err(); err != nil {
		return refused("publishing on "+ours, err)
	}
	for _, channel := range []string{ours, asynqs} {
		sub := rdb.Subscribe(ctx, channel)
		_, err := sub.Receive(ctx)
		_ = sub.Close()
		if err != nil {
			return refused("subscribing to "+channel, err)
		}
	}
	return finding{good, "publishes and subscribes", ""}
}

func checkVersion(info map[string]string) finding {
	v := info["redis_version"]
	text := "version " + v
	for _, fork := range []string{"Valkey", "Redict"} { // they call themselves the Redis that they are compatible with
		if own := info[strings.ToLower(fork)+"_version"]; own != "" {
			text += " (" + fork + " " + own + ")"
		}
	}
	switch {
	case v == "":
		return finding{warn, "does not say its version", "it should be " + leastRedis + " or newer"}
	case older(v, leastRedis):
		return finding{bad, text, "upgrade to " + leastRedis + " or newer"}
	}
	return finding{good, text, ""}
}

// older compares dotted numbers; what isn't a number counts as 0.
func older(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range bs {
		x := 0
		if i < len(as) {
			x, _ = strconv.Atoi(as[i])
		}
		y, _ := strconv.Atoi(bs[i])
		if x != y {
			return x < y
		}
	}
	return false
}

func checkEviction(info map[string]string) finding {
	switch policy := info["maxmemory_policy"]; policy {
	case "noeviction":
		return finding{good, "maxmemory-policy noeviction", ""}
	case "":
		return finding{warn, "does not say its maxmemory-policy", "make sure that it is noeviction: evicted tasks are lost exports"}
	default:
		return finding{bad, "maxmemory-policy " + policy, "set maxmemory-policy noeviction: evicted tasks are lost exports"}
	}
}

func checkPersistence(info map[string]string) finding {
	switch info["aof_enabled"] {
	case "1":
		if status := info["aof_last_write_status"]; status != "" && status != "ok" {
			return finding{bad, "the append-only file can't be written: " + status, "look at Redis's log and its disk"}
		}
		return finding{good, "appendonly yes", ""}
	case "0":
		return finding{warn, "appendonly no", "set appendonly yes: a restart loses exports that are queued (clipferry recover brings back those that were paid for)"}
	default:
		return finding{warn, "does not say whether it is persistent", "it should run with appendonly yes"}
	}
}

// checkFlush says what the append-only file can lose; nothing where that isn't known.
func checkFlush(appendfsync string) []finding {
	switch appendfsync {
	case "always":
		return []finding{{good, "appendfsync always", ""}}
	case "everysec":
		return []finding{{good, "appendfsync everysec (if its machine dies, the last second is lost)", ""}}
	case "no":
		return []finding{{warn, "appendfsync no", "set appendfsync everysec or always: if its machine dies, half a minute is lost"}}
	default:
		return nil
	}
}

// checkReplicas says what a failover can lose.
func checkReplicas(info map[string]string) finding {
	replicas, _ := strconv.Atoi(info["connected_slaves"])
	_, guarded := info["min_slaves_good_slaves"] // only there where it is set
	switch {
	case info["role"] == "slave":
		return finding{bad, "is a replica", "point CLIPFERRY_REDIS_URL at the master, or at the sentinels"}
	case replicas > 0 && !guarded:
		return finding{
			warn, fmt.Sprintf("%d replicas, and min-replicas-to-write is not set", replicas),
			"set min-replicas-to-write 1 and min-replicas-max-lag 10: a master that is cut off takes what a failover then loses",
		}
	case replicas > 0:
		return finding{good, fmt.Sprintf("%d replicas, writes need one", replicas), ""}
	}
	return finding{good, "no replicas", ""}
}

func checkMemory(info map[string]string) finding {
	used, _ := strconv.ParseFloat(info["used_memory"], 64)
	limit, _ := strconv.ParseFloat(info["maxmemory"], 64)
	switch {
	case used == 0, info["maxmemory"] == "":
		return finding{warn, "does not say how much of its memory it uses", "watch it where it is hosted"}
	case limit == 0:
		return finding{warn, "no maxmemory", "set it below the machine's memory: without, the kernel ends Redis instead of Redis refusing"}
	}
	text := fmt.Sprintf("%.0f %% of maxmemory used", 100*used/limit)
	if used/limit > fullWarning {
		return finding{warn, text, "give it more memory: a full Redis stops all work"}
	}
	return finding{good, text, ""}
}

// checkClients says how near Redis is to refusing connections; nothing where that
// isn't known.
func checkClients(info map[string]string) []finding {
	connected, _ := strconv.ParseFloat(info["connected_clients"], 64)
	limit, _ := strconv.ParseFloat(info["maxclients"], 64)
	if limit == 0 {
		return nil
	}
	text := fmt.Sprintf("%.0f of %.0f connections in use", connected, limit)
	if connected/limit > clientsWarning {
		return []finding{{warn, text, "raise its maxclients, or add ?pool_size=… to CLIPFERRY_REDIS_URL of workers: at the limit it refuses new ones"}}
	}
	return []finding{{good, text, ""}}
}

// checkSkew compares the clocks: due times are of ours, leases on Redis's.
func checkSkew(ctx context.Context, node redis.Cmdable) finding {
	before := time.Now()
	theirs, err := node.Time(ctx).Result()
	if err != nil {
		f := refused("TIME", err)
		f.verdict = warn
		return f
	}
	ours := before.Add(time.Since(before) / 2)
	skew := theirs.Sub(ours).Abs()
	text := fmt.Sprintf("clocks differ by %v", skew.Round(time.Millisecond))
	const hint = "synchronize the clocks (NTP)"
	switch {
	case skew > skewFailure:
		return finding{bad, text, hint}
	case skew > skewWarning:
		return finding{warn, text, hint}
	}
	return finding{good, text, ""}
}
