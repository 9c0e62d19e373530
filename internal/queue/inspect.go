package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/index"
	"github.com/clipferry/clipferry/tasks"
)

// Asynq's inspector takes no context, so that each look asks for its end first.

// Depth is how much is in a queue.
type Depth struct {
	Pending, Active, Scheduled, Retry, Archived int
	Oldest                                      time.Duration // how long the oldest pending task has waited
	Paused                                      bool
}

// Depths returns how much is in each queue that exists.
func (q *Queue) Depths(ctx context.Context, kinds []string) (map[string]Depth, error) {
	names, err := q.Existing(ctx, kinds)
	if err != nil {
		return nil, err
	}
	depths := make(map[string]Depth, len(names))
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		info, err := q.inspector.GetQueueInfo(name)
		if err != nil {
			return nil, fmt.Errorf("look into queue %s: %w", name, err)
		}
		depths[name] = Depth{
			Pending: info.Pending, Active: info.Active, Scheduled: info.Scheduled, Retry: info.Retry,
			Archived: info.Archived, Oldest: info.Latency, Paused: info.Paused,
		}
	}
	return depths, nil
}

// Backlog returns how many exports wait to be ordered, of all accounts.
func (q *Queue) Backlog(ctx context.Context) (int, error) {
	depths, err := q.Depths(ctx, Orders())
	waiting := 0
	for _, d := range depths {
		waiting += d.Pending + d.Scheduled
	}
	return waiting, err
}

// Paused reports whether the queue is paused.
func (q *Queue) Paused(ctx context.Context, name string) (bool, error) {
	n, err := q.rdb.Exists(ctx, PausedKey(name)).Result()
	if err != nil {
		return false, fmt.Errorf("see whether %s is paused: %w", name, err)
	}
	return n > 0, nil
}

// Pause lets no worker take anything out of the queue until [Queue.Resume]; one
// that is paused already stays so.
func (q *Queue) Pause(ctx context.Context, name string) error {
	// asynq shows only queues that it knows, and a paused one must be seen.
	if err := tasks.PublishQueues(ctx, q.rdb, name); err != nil {
		return err
	}
	paused, err := q.Paused(ctx, name)
	if err != nil || paused {
		return err
	}
	if err := q.inspector.PauseQueue(name); err != nil {
		return fmt.Errorf("pause %s: %w", name, err)
	}
	return nil
}

// Resume ends what [Queue.Pause] has begun, and reports whether it was paused.
func (q *Queue) Resume(ctx context.Context, name string) (bool, error) {
	paused, err := q.Paused(ctx, name)
	if err != nil || !paused {
		return false, err
	}
	if err := q.inspector.UnpauseQueue(name); err != nil {
		return false, fmt.Errorf("resume %s: %w", name, err)
	}
	return true, nil
}

// Workers returns how many workers run just now.
func (q *Queue) Workers(ctx context.Context) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	servers, err := q.inspector.Servers()
	if err != nil {
		return 0, fmt.Errorf("look who works: %w", err)
	}
	workers := map[string]bool{} // each runs several of asynq's servers
	for _, s := range servers {
		workers[fmt.Sprintf("%s/%d", s.Host, s.PID)] = true
	}
	return len(workers), nil
}

// Fleet is who works just now.
type Fleet struct {
	Queues  map[string]bool // that some worker serves
	Workers map[string]bool // see [WorkerName]
}

// WorkerName is how asynq's server in a process is told from others.
func WorkerName(host string, pid int) string { return fmt.Sprintf("%s:%d", host, pid) }

// Fleet returns who works just now.
func (q *Queue) Fleet(ctx context.Context) (Fleet, error) {
	fleet := Fleet{Queues: map[string]bool{}, Workers: map[string]bool{}}
	if err := ctx.Err(); err != nil {
		return fleet, err
	}
	servers, err := q.inspector.Servers()
	if err != nil {
		return fleet, fmt.Errorf("look who works: %w", err)
	}
	for _, s := range servers {
		fleet.Workers[WorkerName(s.Host, s.PID)] = true
		for name := range s.Queues {
			fleet.Queues[name] = true
		}
	}
	return fleet, nil
}

// Order is an export's first task as it lies in a queue. Fault says that it is
// malformed; its Step may then name an export all the same.
type Order struct {
	Step
	Headers map[string]string
	Fault   error
}

// order reads a task; false if it is no export's first one.
func order(info *asynq.TaskInfo) (Order, bool) {
	if info.Type != tasks.TypeSubmit {
		return Order{}, false
	}
	s, err := Parse(info.ID, info.Type, info.Payload)
	s.Queue = info.Queue
	return Order{s, info.Headers, err}, s.RequestGiven || err != nil
}

// Find looks for an export's first task by its TaskID: waiting, or taken up by a
// worker and not yet finished with. Where a bare producer left the TaskID to
// asynq, and gave no job_id, it is the export's id. It looks through all queues, so
// that the time it takes tells nobody whether there is one.
func (q *Queue) Find(ctx context.Context, id string) (Order, bool, error) {
	names, err := q.Existing(ctx, tasks.SubmitQueues())
	if err != nil {
		return Order{}, false, err
	}
	var first Order
	found := false
	for _, name := range names {
		for _, taskID := range []string{tasks.SubmitTaskID(id), id} {
			o, is, err := q.look(ctx, name, taskID, id)
			if err != nil {
				return Order{}, false, err
			}
			if is && !found {
				first, found = o, true
			}
		}
	}
	return first, found, nil
}

// look looks for an export's first task in one queue.
func (q *Queue) look(ctx context.Context, name, taskID, id string) (Order, bool, error) {
	if err := ctx.Err(); err != nil {
		return Order{}, false, err
	}
	info, err := q.inspector.GetTaskInfo(name, taskID)
	if errors.Is(err, asynq.ErrQueueNotFound) || errors.Is(err, asynq.ErrTaskNotFound) {
		return Order{}, false, nil
	}
	if err != nil {
		return Order{}, false, fmt.Errorf("look for export %s in %s: %w", id, name, err)
	}
	over := info.State == asynq.TaskStateCompleted || info.State == asynq.TaskStateArchived // nobody takes it up
	o, is := order(info)
	return o, is && o.ID == id && !over, nil
}

// FindAll looks for the first tasks of indexed exports, and leaves out those that
// are in no queue.
func (q *Queue) FindAll(ctx context.Context, ids []string) ([]Order, error) {
	names, err := q.Existing(ctx, tasks.SubmitQueues())
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	packed := make([]*redis.StringCmd, len(ids))
	_, err = q.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			packed[i] = p.HGet(ctx, index.Of(id), id)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("look up the tasks of %d exports: %w", len(ids), err)
	}
	taskIDs := make([]string, len(ids))
	for i, id := range ids {
		_, task := index.Unpack(packed[i].Val())
		taskIDs[i] = cmp.Or(task, tasks.SubmitTaskID(id))
	}
	there := map[string][]*redis.IntCmd{}
	_, err = q.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, name := range names {
			for _, task := range taskIDs {
				there[name] = append(there[name], p.Exists(ctx, "asynq:{"+name+"}:t:"+task))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for %d exports in the queues: %w", len(ids), err)
	}
	var orders []Order
	for i, id := range ids {
		for _, name := range names {
			if there[name][i].Val() == 0 {
				continue
			}
			o, found, err := q.look(ctx, name, taskIDs[i], id)
			if err != nil {
				return nil, err
			}
			if found {
				orders = append(orders, o)
				break
			}
		}
	}
	return orders, nil
}

// pageSize is how many tasks are asked for at once.
const pageSize = 200

type lister func(queue string, opts ...asynq.ListOption) ([]*asynq.TaskInfo, error)

// Waiting yields the orders that wait in a queue, from the newest on. A queue
// that moves meanwhile may show one twice.
func (q *Queue) Waiting(ctx context.Context, name string) iter.Seq2[Order, error] {
	return func(yield func(Order, error) bool) {
		info, err := q.inspector.GetQueueInfo(name)
		if err != nil {
			yield(Order{}, fmt.Errorf("look into queue %s: %w", name, err))
			return
		}
		for page := (info.Pending + pageSize - 1) / pageSize; page > 0; page-- { // the last page is the newest
			if n, on := q.yieldPage(ctx, q.inspector.ListPendingTasks, name, page, yield); !on || n < 0 {
				return
			}
		}
	}
}

// TakenUp yields the orders that workers have in hand.
func (q *Queue) TakenUp(ctx context.Context, name string) iter.Seq2[Order, error] {
	return func(yield func(Order, error) bool) {
		for page := 1; ; page++ {
			if n, on := q.yieldPage(ctx, q.inspector.ListActiveTasks, name, page, yield); !on || n < pageSize {
				return
			}
		}
	}
}

// yieldPage yields the orders of one page. It returns how many tasks there were,
// -1 after a fault, and whether to go on.
func (q *Queue) yieldPage(ctx context.Context, list lister, name string, page int, yield func(Order, error) bool) (int, bool) {
	err := ctx.Err()
	var infos []*asynq.TaskInfo
	if err == nil {
		infos, err = list(name, asynq.Page(page), asynq.PageSize(pageSize))
	}
	if err != nil {
		return -1, yield(Order{}, fmt.Errorf("list queue %s: %w", name, err))
	}
	for _, info := range infos {
		if o, is := order(info); is && !yield(o, nil) {
			return len(infos), false
		}
	}
	return len(infos), true
}

// Deadline returns when a task that waits must have been begun, as its producer
// said; zero if it did not, or if the task is not there.
func (q *Queue) Deadline(name, taskID string) time.Time {
	info, err := q.inspector.GetTaskInfo(name, taskID)
	if err != nil {
		return time.Time{}
	}
	return info.Deadline
}

// NotifyCall is a call of a webhook as it lies in the queue.
type NotifyCall struct {
	N       int // calls of the same event before
	Payload []byte
	Next    *time.Time // when it is due, where that is later
	Why     string     // asynq's last error
	Dead    bool       // it is not made again by itself
}

// LastNotify returns the last call of an event that is in the queue, of at most so many.
func (q *Queue) LastNotify(ctx context.Context, event string, calls int) (NotifyCall, bool, error) {
	id := func(n int) string { return NotifyTask(event, n, time.Time{}, nil, nil).ID }
	there := make([]*redis.IntCmd, calls)
	_, err := q.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for n := range there {
			there[n] = p.Exists(ctx, "asynq:{"+Notify+"}:t:"+id(n))
		}
		return nil
	})
	if err != nil {
		return NotifyCall{}, false, fmt.Errorf("look for calls of %s: %w", event, err)
	}
	for n := calls - 1; n >= 0; n-- {
		if there[n].Val() == 0 {
			continue
		}
		info, err := q.inspector.GetTaskInfo(Notify, id(n))
		if errors.Is(err, asynq.ErrTaskNotFound) {
			continue // made meanwhile
		}
		if err != nil {
			return NotifyCall{}, false, fmt.Errorf("look at a call of %s: %w", event, err)
		}
		c := NotifyCall{N: n, Payload: info.Payload, Why: info.LastErr, Dead: info.State == asynq.TaskStateArchived}
		if !info.NextProcessAt.IsZero() {
			c.Next = &info.NextProcessAt
		}
		return c, true, nil
	}
	return NotifyCall{}, false, nil
}
