package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/clipferry/clipferry/internal/egress"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/tasks"
)

// pauses are the waits before the second and every further call: about a day
// in all. Each is a little longer or shorter, so that the calls of a receiver
// that was down don't all come at once.
var pauses = []time.Duration{
	5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour, 10 * time.Hour,
}

const (
	callTimeout   = 15 * time.Second
	maxRetryAfter = 12 * time.Hour
	maxResponse   = 64 << 10 // bytes that are read, so that its connection can be used again
)

// call is the payload of [queue.TypeNotify]. It says which end to notify of and
// nothing of what is sent: that is made of the record, for whoever may write to Redis's
// queues must not have us sign what they like.
type call struct {
	ID    string   `json:"id"` // the export's, or the batch's name; its record knows the address
	Batch bool     `json:"batch,omitempty"`
	N     int      `json:"n"` // calls that failed before
	Event eventRef `json:"event"`
	Why   string   `json:"why,omitempty"` // the last one failed
}

// eventRef is the id of an event. Former versions wrote the event itself.
type eventRef string

// UnmarshalJSON reads the id, or takes it from an event.
func (e *eventRef) UnmarshalJSON(data []byte) error {
	var id string
	if json.Unmarshal(data, &id) == nil {
		*e = eventRef(id)
		return nil
	}
	var former struct{ ID string }
	err := json.Unmarshal(data, &former)
	*e = eventRef(former.ID)
	return err
}

// perHost is how many calls one host may take at once: one that hangs leaves the others
// to everybody else.
const perHost = queue.NotifyConcurrency / 2

// enter takes one of the host's calls, and reports whether there was one left.
func (n *Notifier) enter(host string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.calls[host] >= perHost {
		return false
	}
	n.calls[host]++
	return true
}

func (n *Notifier) leave(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.calls[host]--; n.calls[host] == 0 {
		delete(n.calls, host)
	}
}

// Deliver calls a webhook: payload and headers are those of a task of
// [queue.TypeNotify]. A call that fails is put off by a new scheduled task; one that
// failed for the last time is [queue.ErrGiveUp], and can be run again from the
// dead letters. It is [queue.ErrLater] where enough others call the same host.
func (n *Notifier) Deliver(ctx context.Context, payload []byte, headers map[string]string) error {
	var c call
	if err := json.Unmarshal(payload, &c); err != nil || !tasks.ValidID(c.ID) || c.N < 0 || c.Event == "" {
		return fmt.Errorf("malformed payload of a webhook: %w", queue.ErrGiveUp)
	}
	messageOf := n.messageOf
	if c.Batch {
		messageOf = n.messageOfBatch
	}
	head, err := messageOf(ctx, c)
	if err != nil || head == nil {
		return err
	}
	address := head.to
	if !n.enter(address.Host) {
		return fmt.Errorf("webhook of export %s to %s, which others call: %w", c.ID, address.Host, queue.ErrLater)
	}
	defer n.leave(address.Host)
	began := n.now()
	response, err := n.post(ctx, address, head.id, head.body)
	log := n.log.With(logkey.Export, c.ID, logkey.Event, head.id, logkey.Type, head.kind, logkey.Host, address.Host,
		logkey.Try, c.N+1, logkey.Took, n.now().Sub(began))
	switch {
	case err == nil:
		log.InfoContext(ctx, "webhook delivered")
		n.o.Observe(Delivered)
		if !c.Batch {
			if err := n.keep(ctx, c.ID, head.id, sentAfter(c.N+1)); err != nil { // it was: not to be repeated for that
				log.WarnContext(ctx, "that a webhook was delivered could not be kept", logkey.Error, err)
			}
		}
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("webhook of export %s: %w", c.ID, ctx.Err()) // nobody's failure: it is run again
	case response.gone || c.N >= len(pauses):
		n.o.Observe(GaveUp)
		return fmt.Errorf("webhook of export %s to %s"+givenUp+"%w: %w", c.ID, address.Host, err, queue.ErrGiveUp)
	}
	wait := max(spread(pauses[c.N]), response.retryAfter) + time.Second // tasks run up to one early
	log.WarnContext(ctx, "webhook failed, to be tried again", logkey.Wait, wait, logkey.Error, err)
	n.o.Observe(PutOff)
	c.N, c.Why = c.N+1, err.Error()
	if err := n.queue.Add(ctx, queue.NotifyTask(head.id, c.N, time.Now().Add(wait), c, headers)); err != nil {
		return fmt.Errorf("put the webhook of export %s off: %w", c.ID, err)
	}
	return nil
}

// message is what a webhook is called with, and where it is.
type message struct {
	to       *url.URL
	id, kind string
	body     []byte
}

// messageOf returns the message of an export's end; nil if it was taken up again.
func (n *Notifier) messageOf(ctx context.Context, c call) (*message, error) {
	r, address, err := n.address(ctx, c.ID)
	if err != nil {
		return nil, err
	}
	if eventTypes[r.State] == "" || eventID(r) != string(c.Event) {
		n.log.InfoContext(ctx, "a webhook is not called: the export was taken up again", logkey.Export, c.ID, logkey.Event, string(c.Event))
		n.o.Observe(Superseded)
		return nil, nil //nolint:nilnil // nothing to send, and no fault
	}
	if r, err = n.whole(ctx, r); err != nil {
		return nil, err
	}
	e := newEvent(r)
	body, err := e.encode()
	if err != nil {
		return nil, fmt.Errorf("encode the event of export %s: %w", c.ID, err)
	}
	return &message{address, e.ID, e.Type, body}, nil
}

// spread changes a pause by up to a tenth.
func spread(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64()))
}

// address returns the export and where its webhook is.
func (n *Notifier) address(ctx context.Context, id string) (*export.Record, *url.URL, error) {
	r, err := n.o.Ledger.LoadHead(ctx, id)
	if errors.Is(err, ledger.ErrUnknown) {
		return nil, nil, fmt.Errorf("export %s is no longer known, nor is the address of its webhook: %w", id, queue.ErrGiveUp)
	}
	if err != nil {
		return nil, nil, err
	}
	u := webhookIn(r.Notify)
	if u == nil {
		return nil, nil, fmt.Errorf("export %s names no webhook: %w", id, queue.ErrGiveUp)
	}
	return r, u, nil
}

// webhookIn returns the webhook of a [tasks.Notify]; nil if it has none.
func webhookIn(notify json.RawMessage) *url.URL {
	var to tasks.Notify
	if json.Unmarshal(notify, &to) != nil {
		return nil
	}
	u, err := url.Parse(to.Webhook)
	if err != nil || u.Hostname() == "" {
		return nil
	}
	return u
}

// response is what matters of a receiver's response other than 2xx.
type response struct {
	gone       bool
	retryAfter time.Duration
}

// post makes one call. The error never shows more of the address than its host.
func (n *Notifier) post(ctx context.Context, to *url.URL, eventID string, body []byte) (response, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, fmt.Errorf("no answer within %s", callTimeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return response{}, errors.New("its address can't be requested")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "clipferry-webhook/1")
	sign(req.Header, n.secrets, eventID, n.now(), body)
	resp, err := n.http.Do(req)
	if err != nil {
		return response{}, withoutAddress(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxResponse))
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return response{}, nil
	}
	return response{gone: resp.StatusCode == http.StatusGone, retryAfter: retry.After(resp.Header, n.now(), maxRetryAfter)},
		fmt.Errorf(receiverSaid+"%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
}

// withoutAddress takes the address out of an error of net/http, which quotes it whole.
func withoutAddress(ctx context.Context, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var blocked *egress.BlockedError
	if errors.As(err, &blocked) {
		return fmt.Errorf("%w; if it is meant, add its range to CLIPFERRY_WEBHOOK_ALLOWED_CIDRS", blocked)
	}
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.DeadlineExceeded) {
		return cause
	}
	return err
}
