// Package notify notifies producers when their exports have ended: by a signed
// webhook (Standard Webhooks), or by a task of the producer's own type in the
// producer's own queue, whichever the request asked for ([tasks.Notify]).
//
// There is an event for each time that an export becomes archived, failed,
// expired or held; none for canceled, which somebody asked for. Producers are notified
// at least once, after the manifest is written where there is one. An event has
// the same id and the same bytes each time, so that a receiver can drop the
// second. It is not for logs, metrics or alerts.
//
//	Ended ──► export:notify, notify:<event>:0 in clipferry-notify ──POST──► 2xx: done
//	             ▲                                                   └─► else: notify:<event>:<n+1>, scheduled
//	             └── up to 11 times within a day, then archived in Asynq, to be run again by hand
//	Ended ──► a task of the producer's, its TaskID the event's id
//
// The address of a webhook often holds a token. It stays in the ledger, and
// encrypted in the export's receipt in S3 ([Envelope]): no task carries it, no log
// and no error shows more of it than the host.
//
//	clipferry:{<export>}:notified   the last event that was put on its way, and "delivered <tries>" or "unsigned"
package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/tasks"
)

// Ledger is where exports are looked up; *ledger.Ledger is one.
type Ledger interface {
	Load(ctx context.Context, id string) (*export.Record, error)
	LoadHead(ctx context.Context, id string) (*export.Record, error)
}

// Outcome is what became of one call of a webhook, or of one task.
type Outcome string

// Outcomes are all of them.
var Outcomes = []Outcome{Delivered, Enqueued, PutOff, GaveUp, Unsigned, Superseded}

// The outcomes, for metrics.
const (
	Delivered Outcome = "delivered"
	Enqueued  Outcome = "enqueued" // a task of the producer's own
	PutOff    Outcome = "put_off"  // it failed and will be tried again
	GaveUp    Outcome = "gave_up"  // it failed for the last time, or the receiver said 410 Gone
	Unsigned  Outcome = "unsigned" // no signing secret is configured: not sent
	// Superseded was not sent any more: its export was taken up again.
	Superseded Outcome = "superseded"
)

// Options configures a Notifier.
type Options struct {
	Redis  redis.UniversalClient
	Ledger Ledger
	Logger *slog.Logger
	// Secrets sign webhooks: whsec_ and the base64 of 24 to 64 random bytes. A
	// webhook carries a signature by each, so that receivers can change from one
	// to the next. None: webhooks are not sent; tasks are.
	Secrets []string
	// AllowedCIDRs are ranges that webhooks may lead to besides public addresses
	// on ports 80 and 443; in them every port is open as well.
	AllowedCIDRs []netip.Prefix
	// Retention is how long it is remembered that a producer was notified;
	// [ledger.DefaultRetention] when zero.
	Retention time.Duration
	// Observe hears of every outcome; may be nil.
	Observe func(Outcome)
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Notifier notifies of ends, and makes the calls that [queue.TypeNotify] stands for. It is safe for concurrent use.
type Notifier struct {
	o     Options
	log   *slog.Logger
	now   func() time.Time
	queue *queue.Queue
	http  *http.Client
	Envelope

	mu    sync.Mutex
	calls map[string]int // under way, by host
}

// New returns a Notifier. Redis stays the caller's to close.
func New(o Options) (*Notifier, error) {
	if o.Redis == nil || o.Ledger == nil || o.Logger == nil {
		return nil, errors.New("notify: Redis, Ledger and Logger are needed")
	}
	if o.Retention == 0 {
		o.Retention = ledger.DefaultRetention
	}
	if o.Observe == nil {
		o.Observe = func(Outcome) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	envelope, err := NewEnvelope(o.Secrets)
	if err != nil {
		return nil, err
	}
	return &Notifier{
		o: o, log: o.Logger, now: o.Now, queue: queue.New(o.Redis),
		http: newHTTPClient(o.AllowedCIDRs), Envelope: envelope, calls: map[string]int{},
	}, nil
}

// Close drops idle connections.
func (n *Notifier) Close() { n.http.CloseIdleConnections() }

// Ended puts the event of the record's end on its way, unless that has been
// done or nobody wants to know. Its errors are those of Redis.
func (n *Notifier) Ended(ctx context.Context, r *export.Record) error {
	if len(r.Notify) == 0 || eventTypes[r.State] == "" {
		return nil
	}
	notified, err := n.o.Redis.Get(ctx, notifiedKey(r.ID)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("look whether the end of export %s was notified of: %w", r.ID, err)
	}
	if event, _, _ := strings.Cut(notified, " "); event == eventID(r) {
		return nil
	}
	r, err = n.whole(ctx, r)
	if err != nil {
		return err
	}
	if eventTypes[r.State] == "" {
		return nil // taken up again meanwhile
	}
	result, err := n.send(ctx, r)
	if err != nil {
		return err
	}
	if err := n.keep(ctx, r.ID, eventID(r), result); err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("record that the end of export %s was notified of: %w", r.ID, err)
	}
	return nil
}

func notifiedKey(id string) string { return tasks.LedgerKey(id) + ":notified" }

// whole returns the record with all its clips: the caller's may hold just the
// one that its step was about.
func (n *Notifier) whole(ctx context.Context, r *export.Record) (*export.Record, error) {
	if len(r.Clips) == r.ClipCount {
		return r, nil
	}
	full, err := n.o.Ledger.Load(ctx, r.ID)
	if errors.Is(err, ledger.ErrUnknown) {
		return r, nil
	}
	return full, err
}

// whom reads who is to be notified of the end of something, which log names.
func (n *Notifier) whom(ctx context.Context, notify json.RawMessage, log *slog.Logger) (to tasks.Notify, can bool) {
	if err := json.Unmarshal(notify, &to); err != nil {
		log.ErrorContext(ctx, "whom to notify of an end can't be read", logkey.Error, err)
		return to, false
	}
	if to.Webhook != "" && !n.Signs() {
		log.ErrorContext(ctx, "a webhook is not sent: no signing secret is configured (CLIPFERRY_WEBHOOK_SECRETS)")
		n.o.Observe(Unsigned)
		return to, false
	}
	return to, true
}

// send enqueues what the producer asked for, and returns what became of it; nothing for
// a webhook, which is still to be called. Of a task that exists already there is no
// second one.
func (n *Notifier) send(ctx context.Context, r *export.Record) (result string, err error) {
	to, can := n.whom(ctx, r.Notify, n.log.With(logkey.Export, r.ID))
	if !can {
		return string(Unsigned), nil
	}
	event := newEvent(r)
	body, err := event.encode()
	if err != nil {
		return "", fmt.Errorf("encode the event of export %s: %w", r.ID, err)
	}
	if to.Webhook != "" {
		err = n.queue.Add(ctx, queue.NotifyTask(event.ID, 0, time.Time{}, call{ID: r.ID, Event: eventRef(event.ID)}, r.Trace))
	} else {
		err = n.queue.AddForeign(ctx, event.ID, cmp.Or(to.Queue, tasks.DefaultNotifyQueue), to.TaskType, body, r.Trace)
	}
	if err != nil {
		return "", fmt.Errorf("enqueue the event of export %s: %w", r.ID, err)
	}
	n.log.InfoContext(ctx, "the producer is notified of an export's end", logkey.Export, r.ID, logkey.Event, event.ID,
		logkey.Type, event.Type, logkey.TaskType, cmp.Or(to.TaskType, queue.TypeNotify))
	if to.Webhook == "" {
		n.o.Observe(Enqueued)
		return sentAfter(1), nil
	}
	return "", nil
}
