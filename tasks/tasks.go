package tasks

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/hibiken/asynq"
)

// MaxRetry is asynq's count of retries for every task. It is only a margin for
// crashes and for Redis: what an export may suffer is counted in the ledger.
const MaxRetry = 25

// The timeouts of the tasks. Submits and polls wait for their turn inside the
// handler, and a transfer may be of any size.
const (
	SubmitTimeout = 24 * time.Hour
	PollTimeout   = 24 * time.Hour
	MirrorTimeout = 12 * time.Hour
	SealTimeout   = 10 * time.Minute
)

// TaskOption changes a task that is being made.
type TaskOption func(*draft)

// WithHeaders adds headers to the task, such as traceparent. They survive
// retries and are not part of the payload.
func WithHeaders(headers map[string]string) TaskOption {
	return func(d *draft) { d.headers = headers }
}

// HeaderEnqueuedAt is the task header that says when a producer asked for the
// export, in RFC 3339.
const HeaderEnqueuedAt = "clipferry-enqueued-at"

// EnqueuedAt returns when the task with these headers was enqueued. It is zero
// where that is not known: a bare Asynq producer need not say it.
func EnqueuedAt(headers map[string]string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, headers[HeaderEnqueuedAt])
	if err != nil {
		return time.Time{}
	}
	return t
}

// draft is a task that is being made.
type draft struct {
	typename string
	taskID   string
	queue    string
	timeout  time.Duration
	at       time.Time
	payload  any
	headers  map[string]string
}

// NewSubmit makes the first task of an export: its request under that id, to be
// run at once.
func NewSubmit(e Export, id string, opts ...TaskOption) *asynq.Task {
	return draft{
		typename: TypeSubmit, taskID: SubmitTaskID(id), queue: AccountQueue(QueueFor(e.Priority), e.Account),
		timeout: SubmitTimeout, payload: e,
	}.task(opts)
}

// NewResubmit makes a later submit of an export whose request is in the ledger.
// The queue is usually [QueueFront] of its account. A zero time means at once.
func NewResubmit(id string, round int, queue string, at time.Time, opts ...TaskOption) *asynq.Task {
	return draft{
		typename: TypeSubmit, taskID: ResubmitTaskID(id, round), queue: queue,
		timeout: SubmitTimeout, at: at, payload: resubmitPayload{ID: id, Round: round},
	}.task(opts)
}

// NewPoll makes the nth read of an export. A zero time means at once.
func NewPoll(id string, n int, at time.Time, opts ...TaskOption) *asynq.Task {
	return draft{
		typename: TypePoll, taskID: PollTaskID(id, n), queue: QueuePoll,
		timeout: PollTimeout, at: at, payload: Poll{ID: id, N: n},
	}.task(opts)
}

// NewMirror makes the transfer of one clip. The queue is [QueueMirror],
// [QueueUrgent] or [QueueBulk]. A zero time means at once.
func NewMirror(id string, idx, round int, queue string, at time.Time, opts ...TaskOption) *asynq.Task {
	return draft{
		typename: TypeMirror, taskID: MirrorTaskID(id, idx, round), queue: queue,
		timeout: MirrorTimeout, at: at, payload: Mirror{ID: id, Idx: idx, Round: round},
	}.task(opts)
}

// NewSeal makes the task that writes the manifest, to be run at once.
func NewSeal(id string, round int, opts ...TaskOption) *asynq.Task {
	return NewSealAt(id, round, time.Time{}, opts...)
}

// NewSealAt is [NewSeal] for a later time.
func NewSealAt(id string, round int, at time.Time, opts ...TaskOption) *asynq.Task {
	return draft{
		typename: TypeSeal, taskID: SealTaskID(id, round), queue: QueueSeal,
		timeout: SealTimeout, at: at, payload: Seal{ID: id, Round: round},
	}.task(opts)
}

func (d draft) task(opts []TaskOption) *asynq.Task {
	for _, opt := range opts {
		opt(&d)
	}
	payload := compact(d.payload)
	asynqOpts := []asynq.Option{
		asynq.TaskID(d.taskID), asynq.Queue(d.queue), asynq.MaxRetry(MaxRetry), asynq.Timeout(d.timeout),
	}
	if !d.at.IsZero() {
		asynqOpts = append(asynqOpts, asynq.ProcessAt(wholeSecond(d.at)))
	}
	return asynq.NewTaskWithHeaders(d.typename, payload, d.headers, asynqOpts...)
}

// compact is JSON as an operator reads it in Asynqmon, < and > as they are.
func compact(v any) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		// Our own flat structs always encode; a change that breaks this is a bug.
		panic("tasks: " + err.Error())
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// wholeSecond rounds up: asynq truncates due times to seconds and would
// otherwise run the task early.
func wholeSecond(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); !whole.Equal(t) {
		return whole.Add(time.Second)
	}
	return t
}
