// Package index names the sorted sets in Redis by which exports are found, and
// enters those that wait in a queue and have no record yet. Package ledger keeps the
// others there. All share a hash tag, so that one script may use several.
//
//	clipferry:{index}:rest       every export that has a record and is not archived, by creation
//	clipferry:{index}:open       those that still need care, by the version that entered them
//	clipferry:{index}:state:<s>  those in that state, by creation
//	clipferry:{index}:waiting    exports in a submit queue that have no record yet, by creation
//	clipferry:{index}:by:<hash>  exports of both kinds of a project, tenant, label or batch, by creation
//	clipferry:{index}:of:<n>     hashes: for each export the hashes that it is found by, and its
//	                             task where that is not submit:<id>
//
// There are many of the last, since Redis keeps small hashes in less than half the memory.
//
// A producer's client enters an export before it enqueues it. What a bare asynq
// producer enqueued is entered by the sweep, or when its record is made.
package index

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// The keys that do not depend on an export; see the package.
const (
	Rest    = "clipferry:{index}:rest"
	Open    = "clipferry:{index}:open"
	Waiting = "clipferry:{index}:waiting"
	of      = "clipferry:{index}:of:"
	state   = "clipferry:{index}:state:"

	// Archived is the index of that state. Archived exports are by far the most, so
	// that they are in no other set of all exports.
	Archived = state + "archived"
	by       = "clipferry:{index}:by:"
)

// State is the index of a state.
func State(s string) string { return state + s }

// Of is the hash that says what the export is found by.
func Of(id string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return of + strconv.FormatUint(uint64(h.Sum32()%hashes), 36)
}

// hashes is how many there are. Redis keeps one of up to 512 entries small.
const hashes = 512

// Attributes are what exports are found by, besides their state. Empty ones are not asked for.
type Attributes struct {
	Project, Tenant, Batch string
	Labels                 map[string]string
}

// Keys returns the indexes of the attributes.
func (a Attributes) Keys() []string {
	var keys []string
	add := func(kind, name, value string) {
		sum := sha256.Sum256([]byte(kind + "\x00" + name + "\x00" + value))
		keys = append(keys, by+base64.RawURLEncoding.EncodeToString(sum[:])[:hashLen])
	}
	for _, one := range []struct{ kind, value string }{{"project", a.Project}, {"tenant", a.Tenant}, {"batch", a.Batch}} {
		if one.value != "" {
			add(one.kind, "", one.value)
		}
	}
	for name, value := range a.Labels {
		add("label", name, value)
	}
	return keys
}

// hashLen is the length of an attribute's hash, in characters of six bits each.
const hashLen = 12

// Pack returns what the hash [Of] an export holds, if it is found by the keys.
func Pack(keys []string, task string) string {
	var packed strings.Builder
	for _, key := range keys {
		packed.WriteString(strings.TrimPrefix(key, by))
	}
	if task != "" {
		packed.WriteString(" " + task)
	}
	return packed.String()
}

// Unpack is the reverse of [Pack].
func Unpack(packed string) (keys []string, task string) {
	hashes, task, _ := strings.Cut(packed, " ")
	for ; len(hashes) >= hashLen; hashes = hashes[hashLen:] {
		keys = append(keys, by+hashes[:hashLen])
	}
	return keys, task
}

// Entry is an export that waits in a queue.
type Entry struct {
	ID      string
	Task    string // its TaskID, where that is not submit:<id>
	Created time.Time
	Attributes
}

var (
	//go:embed enter.lua
	enterSource string

	enterScript = redis.NewScript(enterSource)
)

// Enter enters exports among those that wait, but for those that are entered
// already or have a record.
func Enter(ctx context.Context, rdb redis.UniversalClient, entries ...Entry) error {
	// The script in full each time: one that Redis doesn't know would fail in a pipeline.
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, e := range entries {
			attributes := e.Keys()
			keys := append([]string{Rest, Archived, Waiting, Of(e.ID)}, attributes...)
			enterScript.Eval(ctx, p, keys, e.ID, e.Created.UnixMilli(), Pack(attributes, e.Task))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("enter %d exports in the indexes: %w", len(entries), err)
	}
	return nil
}
