package queue

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/hibiken/asynq"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/tasks"
)

// The types of the tasks that only clipferry itself adds.
const (
	TypePoll   = "export:poll"
	TypeMirror = "export:mirror"
	TypeSeal   = "export:seal"
	TypeNotify = "export:notify"
	// TypePassed reads a task that was passed through.
	TypePassed = "passed:read"
)

// The timeouts of the tasks. A poll waits for its turn inside the handler, and a
// transfer may be of any size.
const (
	pollTimeout   = 24 * time.Hour
	mirrorTimeout = 12 * time.Hour
	sealTimeout   = 10 * time.Minute
	notifyTimeout = 2 * time.Minute
	passedTimeout = time.Hour
)

// Task is a task of ours: its TaskID, its queue and what is in it. Asynq knows a
// task by queue and TaskID together.
type Task struct {
	ID    string
	Queue string
	build func() (*asynq.Task, error)
}

// Of returns the task of an export's step. Only the first one carries the
// request; the others carry the export's id and the number of the step, since
// the ledger knows the rest.
func Of(r *export.Record, s export.Step) Task {
	switch s.Kind {
	case export.StepSubmit:
		if s.N == 0 {
			return firstTask(r)
		}
		return resubmitTask(r, s)
	case export.StepPoll:
		return pollTask(r, s)
	case export.StepMirror:
		return mirrorTask(r, s)
	default:
		return sealTask(r, s)
	}
}

func firstTask(r *export.Record) Task {
	return Task{
		ID: tasks.SubmitTaskID(r.ID), Queue: orders(r, tasks.QueueFor(r.Priority), tasks.QueueFor(r.Priority)),
		build: func() (*asynq.Task, error) {
			e, err := tasks.ParseSent(r.Request)
			if err != nil {
				return nil, fmt.Errorf("the request of export %s: %w", r.ID, err)
			}
			e.Priority, e.Account, e.Tenant, e.Labels = r.Priority, r.Account, r.Tenant, r.Labels
			return tasks.NewTask(e, r.ID, r.Trace), nil
		},
	}
}

func resubmitTask(r *export.Record, s export.Step) Task {
	return newTask(tasks.TypeSubmit, resubmitPrefix+r.ID+":"+strconv.Itoa(s.N), orders(r, Front, tasks.QueueSubmitHigh),
		tasks.SubmitTimeout, s.At, resubmitPayload{r.ID, s.N}, r.Trace)
}

func pollTask(r *export.Record, s export.Step) Task {
	return newTask(TypePoll, "poll:"+r.ID+":"+strconv.Itoa(s.N), Poll,
		pollTimeout, s.At, pollPayload{r.ID, s.N}, r.Trace)
}

// bulkFrom is the index from which an export's clips wait apart: a large export
// has most of its clips there, and a small one none.
const bulkFrom = 64

func mirrorTask(r *export.Record, s export.Step) Task {
	in := Mirror
	switch c := r.Clips[s.Clip]; {
	case c != nil && c.Urgent:
		in = Urgent
	case s.Clip >= bulkFrom:
		in = Bulk
	}
	return newTask(TypeMirror, "mirror:"+r.ID+":"+strconv.Itoa(s.Clip)+":"+strconv.Itoa(s.N), in,
		mirrorTimeout, s.At, mirrorPayload{r.ID, s.Clip, s.N}, r.Trace)
}

func sealTask(r *export.Record, s export.Step) Task {
	return newTask(TypeSeal, "seal:"+r.ID+":"+strconv.Itoa(s.N), Seal,
		sealTimeout, s.At, sealPayload{r.ID, s.N}, r.Trace)
}

// NotifyTask returns the task of the nth call (from 0) of a webhook that is told of
// an event. A zero time means at once.
func NotifyTask(event string, n int, at time.Time, payload any, headers map[string]string) Task {
	return newTask(TypeNotify, "notify:"+event+":"+strconv.Itoa(n), Notify, notifyTimeout, at, payload, headers)
}

// PassedTask returns the task that reads, at that time, what was passed through.
func PassedTask(id string, at time.Time, payload any) Task {
	return newTask(TypePassed, "passed:"+id, Passed, passedTimeout, at, payload, nil)
}

func newTask(typename, id, in string, timeout time.Duration, at time.Time, payload any, headers map[string]string) Task {
	return Task{ID: id, Queue: in, build: func() (*asynq.Task, error) {
		text, err := compact(payload)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", id, err)
		}
		options := []asynq.Option{
			asynq.TaskID(id), asynq.Queue(in), asynq.MaxRetry(tasks.MaxRetry), asynq.Timeout(timeout),
		}
		if !at.IsZero() {
			options = append(options, asynq.ProcessAt(wholeSecond(at)))
		}
		return asynq.NewTaskWithHeaders(typename, text, headers, options...), nil
	}}
}

// compact is JSON as an operator reads it in Asynqmon, < and > as they are.
func compact(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

// wholeSecond rounds up: asynq truncates due times to seconds and would
// otherwise run the task early.
func wholeSecond(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); !whole.Equal(t) {
		return whole.Add(time.Second)
	}
	return t
}
