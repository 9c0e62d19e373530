package passthrough

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/clipferry/clipferry/storage"
	"github.com/redis/go-redis/v9"
)

const (
	// keepTask is how long a task is remembered after its last answer, keepUnknown one
	// that the provider does not know, keepKey how long what became of an
	// Idempotency-Key, keepSince since when an order is tried.
	keepTask    = 7 * 24 * time.Hour
	keepUnknown = 5 * time.Minute
	keepKey     = 3 * 24 * time.Hour
	keepSince   = 15 * time.Minute
)

// task is one of the provider's tasks that somebody made, or asks for, here. Only
// who holds its lease changes it.
type task struct {
	ID   string `json:"id"`
	Call string `json:"call"`
	Path string `json:"path"` // of its results
	// Tenant is whose it is; empty for one that was made elsewhere.
	Tenant string    `json:"tenant,omitempty"`
	Made   time.Time `json:"made"`
	// Inline says that its clips are rendered with it, and go on appearing after it
	// has succeeded.
	Inline bool `json:"inline,omitempty"`
	// Slot is the name of its slot while it holds one.
	Slot string `json:"slot,omitempty"`
	// Export is the export that has taken it up, and reads it; empty if none has.
	Export string `json:"export,omitempty"`
	// Due is what it is still to be taken up as: nobody could be asked yet.
	Due *Accepted `json:"due,omitempty"`
	// Receipt is what its receipt says, empty while there is none.
	Receipt storage.ReceiptState `json:"receipt,omitempty"`
	// Faults counts the reads in a row that failed.
	Faults int `json:"faults,omitempty"`
	// Ended says that the last answer is the end of it, Ready how many clips have a
	// link, and Changed when one more had.
	Ended    bool      `json:"ended,omitempty"`
	Ready    int       `json:"ready,omitempty"`
	Changed  time.Time `json:"changed,omitzero"`
	ExpireAt time.Time `json:"expire_at,omitzero"`

	// The last answer, and when it came. At is zero without one.
	At     time.Time   `json:"at,omitzero"`
	Status int         `json:"status,omitempty"`
	Header http.Header `json:"header,omitempty"`
	Body   []byte      `json:"body,omitempty"`

	request json.RawMessage // the order's, for the export that takes it up
}

func (t *task) accepted(account string) *Accepted {
	return &Accepted{Account: account, Tenant: t.Tenant, Call: t.Call, TaskID: t.ID, Request: t.request, Inline: t.Inline, At: t.Made}
}

// attempt is what became of an order. It has no
// answer while it may have been sent and the answer isn't known.
type attempt struct {
	Digest string      `json:"digest"`
	Sent   time.Time   `json:"sent"`
	Status int         `json:"status,omitempty"`
	Header http.Header `json:"header,omitempty"`
	Body   []byte      `json:"body,omitempty"`
	// Task is what it made, without an answer: who finds no record of it makes one.
	Task *task `json:"task,omitempty"`
}

// made is the task that the order made, with its answer as the last one; nil if it
// made none.
func (a attempt) made(order json.RawMessage) *task {
	if a.Task == nil {
		return nil
	}
	t := *a.Task
	t.At, t.Status, t.Header, t.Body = a.Sent, a.Status, a.Header, a.Body
	if t.Inline { // and so the order is JSON
		t.request = order
	}
	return &t
}

// store keeps both.
type store struct {
	rdb    redis.UniversalClient
	prefix string
}

func newStore(rdb redis.UniversalClient, account string) store {
	return store{rdb, "clipferry:{passed:" + account + "}:"}
}

// hash names something by the parts that it consists of.
func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// get reads what is stored under the key, false if nothing is.
func (s store) get(ctx context.Context, key string, into any) (bool, error) {
	doc, err := s.rdb.Get(ctx, s.prefix+key).Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read what was passed through: %w", err)
	}
	if err := json.Unmarshal(doc, into); err != nil {
		return false, nil //nolint:nilerr // another version's, or a foreign hand's: as if it weren't there
	}
	return true, nil
}

func (s store) set(ctx context.Context, key string, v any, keep time.Duration) error {
	doc, err := json.Marshal(v)
	if err == nil {
		err = s.rdb.Set(ctx, s.prefix+key, doc, keep).Err()
	}
	if err != nil {
		return fmt.Errorf("keep what was passed through: %w", err)
	}
	return nil
}

// add is set where nothing is stored, and reports whether it has.
func (s store) add(ctx context.Context, key string, v any, keep time.Duration) (bool, error) {
	doc, err := json.Marshal(v)
	if err == nil {
		err = s.rdb.SetArgs(ctx, s.prefix+key, doc, redis.SetArgs{Mode: "NX", TTL: keep}).Err()
	}
	switch {
	case errors.Is(err, redis.Nil):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("keep what was passed through: %w", err)
	}
	return true, nil
}

func (s store) forget(ctx context.Context, key string) error {
	if err := s.rdb.Del(ctx, s.prefix+key).Err(); err != nil {
		return fmt.Errorf("forget what was passed through: %w", err)
	}
	return nil
}

// since returns when the order was first tried, which keeps its place in line while
// its client comes back for it.
func (s store) since(ctx context.Context, order string, now time.Time) (time.Time, error) {
	key := s.prefix + "since:" + order
	err := s.rdb.SetArgs(ctx, key, now.UnixMilli(), redis.SetArgs{Mode: "NX", TTL: keepSince}).Err()
	if err == nil || !errors.Is(err, redis.Nil) {
		return now, err
	}
	first, err := s.rdb.GetEx(ctx, key, keepSince).Int64()
	if err != nil {
		return now, nil //nolint:nilerr // it ended this moment
	}
	return time.UnixMilli(first), nil
}

func taskKey(call, id string) string { return "task:" + hash(call, id) }
