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
	"strconv"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/egress"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/retry"
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
	taskTimeout   = 2 * time.Minute
	maxRetryAfter = 12 * time.Hour
	maxAnswer     = 64 << 10 // of an answer that is read, so that its connection can be used again
)

// call is the payload of [queue.TypeNotify].
type call struct {
	ID    string          `json:"id"` // the export's; its record knows the address
	N     int             `json:"n"`  // calls that failed before
	Event json.RawMessage `json:"event"`
}

// webhookTask makes the task of one call.
func webhookTask(c call, eventID string, headers map[string]string, opts ...asynq.Option) (*asynq.Task, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode the webhook of export %s: %w", c.ID, err)
	}
	opts = append(opts, asynq.TaskID("notify:"+eventID+":"+strconv.Itoa(c.N)), asynq.Queue(queue.Notify),
		asynq.MaxRetry(tasks.MaxRetry), asynq.Timeout(taskTimeout))
	return asynq.NewTaskWithHeaders(queue.TypeNotify, payload, headers, opts...), nil
}

// ProcessTask calls a webhook. A call that fails is put off by a new scheduled
// task; one that failed for the last time ends in Asynq's archive, from where it
// can be run again.
func (n *Notifier) ProcessTask(ctx context.Context, t *asynq.Task) error {
	var c call
	var head struct{ ID, Type string }
	if err := json.Unmarshal(t.Payload(), &c); err != nil || !tasks.ValidID(c.ID) || c.N < 0 {
		return fmt.Errorf("malformed payload of a webhook: %w", asynq.SkipRetry)
	}
	if err := json.Unmarshal(c.Event, &head); err != nil || head.ID == "" {
		return fmt.Errorf("malformed event of export %s: %w", c.ID, asynq.SkipRetry)
	}
	address, err := n.address(ctx, c.ID)
	if err != nil {
		return err
	}
	began := n.now()
	answer, err := n.post(ctx, address, head.ID, c.Event)
	log := n.log.With("export", c.ID, "event", head.ID, "type", head.Type, "host", address.Host, "call", c.N+1, "took", n.now().Sub(began))
	switch {
	case err == nil:
		log.InfoContext(ctx, "webhook delivered")
		n.o.Observe(Delivered)
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("webhook of export %s: %w", c.ID, ctx.Err()) // nobody's failure: asynq runs it again
	case answer.gone || c.N >= len(pauses):
		n.o.Observe(GaveUp)
		return fmt.Errorf("webhook of export %s to %s given up: %w: %w", c.ID, address.Host, err, asynq.SkipRetry)
	}
	wait := max(spread(pauses[c.N]), answer.retryAfter) + time.Second // asynq runs tasks up to one early
	log.WarnContext(ctx, "webhook failed, to be tried again", "wait", wait, "error", err)
	n.o.Observe(PutOff)
	c.N++
	next, err := webhookTask(c, head.ID, t.Headers(), asynq.ProcessIn(wait))
	if err != nil {
		return err
	}
	if _, err := n.queue.EnqueueContext(ctx, next); err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
		return fmt.Errorf("put the webhook of export %s off: %w", c.ID, err)
	}
	return nil
}

// spread changes a pause by up to a tenth.
func spread(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64()))
}

// address returns where the export's webhook is.
func (n *Notifier) address(ctx context.Context, id string) (*url.URL, error) {
	r, err := n.o.Ledger.LoadHead(ctx, id)
	if errors.Is(err, ledger.ErrUnknown) {
		return nil, fmt.Errorf("export %s is no longer known, nor is the address of its webhook: %w", id, asynq.SkipRetry)
	}
	if err != nil {
		return nil, err
	}
	var to tasks.Notify
	if err := json.Unmarshal(r.Notify, &to); err != nil {
		return nil, fmt.Errorf("export %s names no webhook: %w", id, asynq.SkipRetry)
	}
	u, err := url.Parse(to.Webhook)
	if err != nil || u.Hostname() == "" {
		return nil, fmt.Errorf("export %s names no webhook: %w", id, asynq.SkipRetry)
	}
	return u, nil
}

// answer is what matters of a receiver's answer other than 2xx.
type answer struct {
	gone       bool
	retryAfter time.Duration
}

// post makes one call. The error never shows more of the address than its host.
func (n *Notifier) post(ctx context.Context, to *url.URL, eventID string, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, fmt.Errorf("no answer within %s", callTimeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return answer{}, errors.New("its address can't be requested")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "clipferry-webhook/1")
	sign(req.Header, n.secrets, eventID, n.now(), body)
	resp, err := n.http.Do(req)
	if err != nil {
		return answer{}, withoutAddress(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return answer{}, nil
	}
	return answer{gone: resp.StatusCode == http.StatusGone, retryAfter: retry.After(resp.Header, n.now(), maxRetryAfter)},
		fmt.Errorf("the receiver answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
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
