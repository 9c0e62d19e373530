package tasks

import (
	"time"

	"github.com/hibiken/asynq"
)

// MaxRetry is asynq's count of retries for every task. It is only a margin for
// crashes and for Redis: what an export may suffer is counted in the ledger.
const MaxRetry = 25

// SubmitTimeout is that of an export's first task: it waits for its turn inside
// the handler.
const SubmitTimeout = 24 * time.Hour

// HeaderEnqueuedAt is the task header that says when a producer asked for the
// export, in milliseconds since 1970. It is short because every task that waits has it.
const HeaderEnqueuedAt = "enqueued-at"

// HeaderBatch is the task header that names the batch which the export is a member
// of.
const HeaderBatch = "clipferry-batch"

// NewTask makes the first task of an export, its request under that id, for a
// producer that enqueues by itself. Headers, which may be nil, survive retries and
// are not part of the payload: such as [HeaderEnqueuedAt] and traceparent.
//
// It goes into the plain queue, from which a worker moves it to one of its account's or
// tenant's own when its turn comes there. Name that with asynq.Queue([TenantQueue](…)) as
// you enqueue it if you know that workers serve it: in a queue of an account that none of
// them has, it would wait unseen.
func NewTask(e Export, id string, headers map[string]string) *asynq.Task {
	return newTask(e, id, headers, QueueFor(e.Priority))
}

func newTask(e Export, id string, headers map[string]string, queue string) *asynq.Task {
	return asynq.NewTaskWithHeaders(TypeSubmit, e.encode(func(*field) bool { return true }, nil), headers,
		asynq.TaskID(SubmitTaskID(id)), asynq.Queue(queue), asynq.MaxRetry(MaxRetry), asynq.Timeout(SubmitTimeout))
}
