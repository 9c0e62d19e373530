package main

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
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
	leastRedis   = "6.2"
	skewWarning  = time.Second
	skewFailure  = 10 * time.Second
	fullWarning  = 0.70 // of maxmemory; a full Redis refuses to hand out tasks, too
	checkTimeout = 20 * time.Second
)

// examineRedis checks what the promises rest on: that nothing is evicted and
// that what was acknowledged survives a restart. Each master of a cluster is asked.
func examineRedis(ctx context.Context, rdb redis.UniversalClient) []finding {
	return append(examineNodes(ctx, rdb), checkWrite(ctx, rdb))
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
		all = append(all, finding{bad, fmt.Sprintf("the cluster's masters can't all be asked: %v", err), hintFor(err)})
	}
	return all
}

func examineNode(ctx context.Context, node redis.Cmdable, where string) []finding {
	text, err := node.Info(ctx).Result()
	if err != nil {
		return []finding{{bad, fmt.Sprintf("%sINFO: %v", where, err), hintFor(err)}}
	}
	info := parseInfo(text)
	found := []finding{
		checkVersion(info), checkEviction(info), checkPersistence(info), checkReplicas(info), checkMemory(info), checkSkew(ctx, node),
	}
	if config, err := node.ConfigGet(ctx, "appendfsync").Result(); err == nil && info["aof_enabled"] == "1" {
		found = append(found, checkFlush(config["appendfsync"])...) // many a managed Redis does not tell
	}
	for i := range found {
		found[i].text = where + found[i].text
	}
	return found
}

// writeScript is a write as asynq and the ledger do it.
var writeScript = redis.NewScript(`return redis.call('SET', KEYS[1], '1', 'PX', 1000)`)

// checkWrite does what reading alone doesn't tell of: a replica, a full Redis, one
// that can't save and one that gives its user too few rights answer all else.
func checkWrite(ctx context.Context, rdb redis.UniversalClient) finding {
	for _, key := range []string{"clipferry:{doctor}:write", "asynq:{clipferry-doctor}:write"} {
		if err := writeScript.Run(ctx, rdb, []string{key}).Err(); err != nil {
			return finding{bad, fmt.Sprintf("writing %s: %v", key, err), hintFor(err)}
		}
	}
	return finding{good, "takes writes", ""}
}

// refusals are what Redis says when it does not do as it is told, with what to do.
var refusals = []struct{ says, hint string }{
	{"NOPERM", "let the user of CLIPFERRY_REDIS_URL run all commands on the keys clipferry:* and asynq:*, on the same channels, and INFO"},
	{"OOM", "give it more memory (maxmemory): nothing moves until it takes writes"},
	{"READONLY", "point CLIPFERRY_REDIS_URL at the master, or at the sentinels"},
	{"MISCONF", "it can't save: look at its log and its disk"},
	{"NOREPLICAS", "bring its replicas back: min-replicas-to-write asks for more than there are"},
}

// hintFor says what to do about an error of Redis.
func hintFor(err error) string {
	if hint := refusalHint(err); hint != "" {
		return hint
	}
	return "see CLIPFERRY_REDIS_URL and Redis's log"
}

// refusalHint is the same for an error that may not be Redis's: it is empty then.
func refusalHint(err error) string {
	for _, r := range refusals {
		if strings.Contains(" "+err.Error(), " "+r.says+" ") {
			return r.hint
		}
	}
	return ""
}

// parseInfo reads the "name:value" lines of INFO.
func parseInfo(text string) map[string]string {
	info := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok {
			info[name] = strings.TrimSpace(value)
		}
	}
	return info
}

func checkVersion(info map[string]string) finding {
	v := info["redis_version"]
	switch {
	case v == "":
		return finding{warn, "does not tell its version", "it should be " + leastRedis + " or newer"}
	case older(v, leastRedis):
		return finding{bad, "version " + v, "upgrade to " + leastRedis + " or newer"}
	}
	return finding{good, "version " + v, ""}
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
		return finding{warn, "does not tell its maxmemory-policy", "make sure that it is noeviction: evicted tasks are lost exports"}
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
		return finding{warn, "does not tell whether it is persistent", "it should run with appendonly yes"}
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
	_, guarded := info["min_slaves_good_slaves"] // only told where it is set
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
		return finding{warn, "does not tell how much of its memory it uses", "watch it where it is hosted"}
	case limit == 0:
		return finding{warn, "no maxmemory", "set it below the machine's memory: without, the kernel ends Redis instead of Redis refusing"}
	}
	text := fmt.Sprintf("%.0f %% of maxmemory used", 100*used/limit)
	if used/limit > fullWarning {
		return finding{warn, text, "give it more memory: a full Redis stops all work"}
	}
	return finding{good, text, ""}
}

// checkSkew compares the clocks: due times are reckoned on ours, leases on Redis's.
func checkSkew(ctx context.Context, node redis.Cmdable) finding {
	before := time.Now()
	theirs, err := node.Time(ctx).Result()
	if err != nil {
		return finding{warn, fmt.Sprintf("TIME: %v", err), ""}
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
