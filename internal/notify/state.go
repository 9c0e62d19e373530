package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/tasks"
)

// State is how far a notification is.
type State string

// The states of a notification.
const (
	Pending   State = "pending"
	WasSent   State = "delivered" // for a task: it is in the producer's queue
	Abandoned State = "failed"
	// Unknown is a notification of which nothing is left: its call was removed by hand.
	Unknown State = "unknown"
)

// Notification is what became of the notification of an export's end, as
// `clipferry status --json` shows it.
type Notification struct {
	Event   string     `json:"event"`
	To      string     `json:"to"` // the webhook's host, or the task's type
	State   State      `json:"state"`
	Tries   int        `json:"tries"`
	NextTry *time.Time `json:"next_try,omitempty"`
	Error   string     `json:"error,omitempty"`
}

// receiverSaid begins an error that is the receiver's own response, and givenUp ends
// what a dead letter names before it.
const (
	receiverSaid = "the receiver answered "
	givenUp      = " given up: "
)

// ForClients is the notification as clients of the HTTP API see it: without what our
// network says of an address that they chose.
func (n *Notification) ForClients() *Notification {
	if n == nil || n.Error == "" || strings.HasPrefix(n.Error, receiverSaid) {
		return n
	}
	shown := *n
	shown.Error = "the call failed, or could not be made; the log of the workers says why"
	return &shown
}

// Reader says what became of notifications. It is safe for concurrent use.
type Reader struct {
	rdb   redis.UniversalClient
	queue *queue.Queue
}

// NewReader returns a Reader. Redis stays the caller's to close.
func NewReader(rdb redis.UniversalClient) *Reader { return &Reader{rdb, queue.New(rdb)} }

// Of says what became of the notification of the record's end; nil where there is none.
func (n *Reader) Of(ctx context.Context, r *export.Record) (*Notification, error) {
	var to tasks.Notify
	if len(r.Notify) == 0 || eventTypes[r.State] == "" || json.Unmarshal(r.Notify, &to) != nil {
		return nil, nil //nolint:nilnil,nilerr // there is none, and no fault
	}
	out := &Notification{Event: eventID(r), To: to.TaskType, State: Pending}
	if u := webhookIn(r.Notify); u != nil {
		out.To = u.Host
	}
	known, err := n.kept(ctx, r.ID, out)
	if err != nil || known && out.State != Unknown {
		return out, err
	}
	last, found, err := n.queue.LastNotify(ctx, out.Event, len(pauses)+1)
	switch {
	case err != nil:
		return nil, err
	case !found: // or it has just been delivered
		_, err = n.kept(ctx, r.ID, out)
		return out, err
	}
	var c call
	_ = json.Unmarshal(last.Payload, &c) // whatever it says is shown and no more
	out.State, out.Tries, out.NextTry, out.Error = Pending, last.N, last.Next, cmp.Or(last.Why, c.Why)
	if last.Dead {
		out.State, out.Tries = Abandoned, last.N+1
		out.Error = strings.TrimSuffix(out.Error, ": "+queue.ErrGiveUp.Error())
		if _, why, named := strings.Cut(out.Error, givenUp); named {
			out.Error = why
		}
	}
	return out, nil
}

// kept completes what is kept of an event, and reports whether anything is. It is
// Unknown where that is no more than that it was put into the queue.
func (n *Reader) kept(ctx context.Context, id string, out *Notification) (bool, error) {
	text, err := n.rdb.Get(ctx, notifiedKey(id)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return false, fmt.Errorf("look what became of the notification of export %s: %w", id, err)
	}
	event, result, _ := strings.Cut(text, " ")
	if event != out.Event {
		return false, nil
	}
	switch word, tries, _ := strings.Cut(result, " "); word {
	case string(WasSent):
		out.State, out.Error = WasSent, ""
		out.Tries, _ = strconv.Atoi(tries) // ours
	case string(Unsigned):
		out.State, out.Error = Abandoned, "webhooks are not sent: no signing secret is configured (CLIPFERRY_WEBHOOK_SECRETS)"
	default:
		out.State, out.Error = Unknown, "no call of it is left in the queue: it was removed by hand"
	}
	return true, nil
}

// keepEvent keeps that the event is on its way, unless what became of it is kept already.
//
//	KEYS[1] notifiedKey
//	ARGV[1] the event's id   ARGV[2] milliseconds
var keepEvent = redis.NewScript(`
local kept = redis.call("GET", KEYS[1])
if not kept or string.sub(kept, 1, #ARGV[1]) ~= ARGV[1] then
	redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
end`)

// keep keeps what became of an event, for [Reader.Of]; an empty result, that it is on its way.
func (n *Notifier) keep(ctx context.Context, id, event, result string) error {
	if result == "" {
		return keepEvent.Run(ctx, n.o.Redis, []string{notifiedKey(id)}, event, n.o.Retention.Milliseconds()).Err()
	}
	return n.o.Redis.Set(ctx, notifiedKey(id), event+" "+result, n.o.Retention).Err()
}

// sentAfter is the result of an event that took so many tries.
func sentAfter(tries int) string { return fmt.Sprintf("%s %d", WasSent, tries) }
