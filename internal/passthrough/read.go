package passthrough

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

const (
	// oldest is how old an answer may be that is given again for a task that holds a
	// slot: the budget reads each within that time. oldestElsewhere is the same for
	// others, whose reads have a share of the rate.
	oldest          = 2 * time.Minute
	oldestElsewhere = 5 * time.Minute
	// soonest is how soon after an answer one is asked for again where no slot's
	// reads tell when that is worth it.
	soonest = 15 * time.Second
	// quiet is for how long no more clips have appeared, of a task that renders them
	// after it has succeeded, until none is expected.
	quiet = 15 * time.Minute
	// linkLife is how old an answer may be whose links are given: the provider lets
	// them live for a day.
	linkLife = 20 * time.Hour
	// readLease is how long one who reads may give no sign of life.
	readLease = 30 * time.Second
	// lookEvery is how often one who waits for another's read looks for it.
	lookEvery = 250 * time.Millisecond
)

// results is a read of a task by a client. It costs a request only where the last
// answer is too old for what is known of the task.
func (s *Service) results(ctx context.Context, c call, r Request) (Answer, error) {
	t, err := s.own(ctx, c, r)
	switch {
	case err != nil:
		return Answer{}, err
	case t == nil: // what is read now is not kept, as whose it is would be lost
		answer, err := s.other(ctx, c, r)
		answer.Call, answer.TaskID = c.name, c.task
		return answer, err
	case t.Export != "" && !r.Unread, t.fresh(s.now()):
		return s.again(t), nil
	}
	if t.Slot != "" {
		_ = s.schedule(ctx, t) // its task may be lost; one that is there is left alone
	}
	wait, cancel := context.WithTimeout(ctx, s.o.Wait)
	defer cancel()
	got, err := s.readOrAwait(wait, t, c, r)
	switch {
	case err == nil:
		return s.again(got), nil
	case ctx.Err() != nil:
		return Answer{}, ctx.Err()
	case !t.At.IsZero() && s.now().Sub(t.At) < t.oldest():
		return s.again(t), nil
	case provider.KindOf(err) != "":
		return Answer{}, noAnswer(err)
	}
	return Answer{}, s.notInTime(ctx, err, http.StatusServiceUnavailable)
}

// own returns what is known of the task that the request is about, unless it is
// another tenant's. It is nil where S3 alone might know, which does not answer, and there
// is nobody whom the task is hidden from.
func (s *Service) own(ctx context.Context, c call, r Request) (*task, error) {
	t := &task{ID: c.task, Call: c.name, Path: r.Path}
	known, err := s.lookup(ctx, c.name, c.task, t)
	switch {
	case errors.Is(err, errNoReceipts) && (r.All || r.Alone) && ctx.Err() == nil:
		s.log.WarnContext(ctx, "a task is read without S3, which may know more of it", logkey.ExportTaskID, t.ID, logkey.Error, err)
		return nil, nil
	case err != nil:
		return nil, notNow(err)
	case known && t.Tenant != "" && t.Tenant != r.Tenant && !r.All:
		return nil, &Refusal{Status: http.StatusNotFound, Reason: "not_found", Message: "no such task"}
	}
	return t, nil
}

// fresh says whether the last answer is as good as another one.
func (t *task) fresh(now time.Time) bool {
	age := now.Sub(t.At)
	switch {
	case t.At.IsZero():
		return false
	case !t.ExpireAt.IsZero() && now.After(t.ExpireAt):
		return age < soonest
	case t.Slot != "":
		return age < oldest
	case t.Status != http.StatusOK: // it may be known a moment later
		return age < soonest
	case t.over(now):
		return age < linkLife
	}
	return age < soonest
}

// oldest is how old its last answer may be, where there is none in time.
func (t *task) oldest() time.Duration {
	if t.Slot != "" {
		return oldest
	}
	return oldestElsewhere
}

// over says whether nothing more will come of the task.
func (t *task) over(now time.Time) bool {
	return t.Ended && (!t.Inline || now.Sub(t.Changed) >= quiet)
}

func (s *Service) again(t *task) Answer {
	age := max(0, s.now().Sub(t.At))
	return Answer{Status: t.Status, Header: t.Header, Body: t.Body, Age: age, Again: age >= time.Second, Call: t.Call, TaskID: t.ID, Export: t.Export}
}

// readOrAwait reads the task, or waits for whoever does.
func (s *Service) readOrAwait(ctx context.Context, t *task, c call, r Request) (*task, error) {
	for {
		got, err := s.read(ctx, t, c, r)
		if !errors.Is(err, ErrBusy) {
			return got, err
		}
		if err := retry.Wait(ctx, lookEvery); err != nil {
			return nil, err
		}
		var now task
		if known, err := s.store.get(ctx, taskKey(t.Call, t.ID), &now); err == nil && known && now.At.After(t.At) {
			return &now, nil
		}
	}
}

// read spends one request on the task, and records what it shows. One at a time.
func (s *Service) read(ctx context.Context, t *task, c call, r Request) (*task, error) {
	key := taskKey(t.Call, t.ID)
	lease, err := s.o.Ledger.FleetLease(ctx, "passed:"+key, readLease)
	switch {
	case errors.Is(err, ledger.ErrLeased):
		return nil, ErrBusy
	case err != nil:
		return nil, err
	}
	kept, stop := lease.Keep(ctx)
	defer func() {
		stop()
		_ = lease.Release(context.WithoutCancel(ctx)) // else it ends by itself
	}()
	var now task
	switch known, err := s.store.get(kept, key, &now); {
	case err != nil, known && now.At.After(t.At):
		return &now, err // somebody has just read it
	case !known: // or Redis has lost it since, and with it whose it is
		now = *t
	}
	if s.takeUp(kept, &now); now.Export != "" && t.Export == "" && now.Status != 0 {
		return &now, s.record(kept, &now)
	}
	var turn *budget.Turn
	request := budget.Request{Export: now.Slot, Kind: budget.Read, Since: now.Made, Resolution: class(now.Call)}
	if now.Slot != "" {
		turn, err = s.o.Gate.Wait(kept, request)
	} else {
		request = budget.Request{Export: budget.PassedPrefix + key, Kind: budget.Other, Tenant: r.Tenant}
		turn, err = s.turn(kept, r.Tenant, request)
	}
	if err != nil {
		return nil, err
	}
	reply, err := s.send(kept, turn, request.Kind, c, provider.Forwarded{Method: http.MethodGet, Path: now.Path, Header: r.Header}, progress)
	if err == nil {
		err = s.take(context.WithoutCancel(ctx), &now, reply)
	}
	if err != nil && now.Slot != "" {
		now.Faults++
	}
	if err := s.record(context.WithoutCancel(ctx), &now); err != nil {
		return nil, err
	}
	return &now, err
}

// record stores the task, and schedules its next read.
func (s *Service) record(ctx context.Context, t *task) error {
	if t.At.IsZero() && t.Slot == "" {
		return nil // nothing is known of it
	}
	keep := keepTask
	if t.Tenant == "" && t.Status != http.StatusOK {
		keep = keepUnknown
	}
	stored := s.store.set(ctx, taskKey(t.Call, t.ID), t, keep)
	if err := s.saveTask(ctx, t); err != nil {
		s.log.ErrorContext(ctx, "the receipt of a task that was passed through could not be written; it is tried again with its next answer",
			logkey.ExportTaskID, t.ID, logkey.Error, err)
	}
	if stored != nil || t.Slot == "" {
		return stored
	}
	return s.schedule(ctx, t)
}

// progress is what a read showed, for the budget.
func progress(r provider.Reply) budget.Outcome {
	gone := r.Failure != nil && r.Failure.Kind == provider.NotFound
	return budget.Outcome{
		Result: budget.Answered, Ended: gone || r.Task.Status.Ended(), Succeeded: r.Task.Status == provider.StatusSucceeded,
	}
}

// take takes an answer over. One that says nothing of the task, such as a refusal for
// the limit, leaves the last one that did.
func (s *Service) take(ctx context.Context, t *task, reply provider.Reply) error {
	answer, err := answerOf(reply)
	switch {
	case err != nil:
		return err
	case reply.Failure != nil && reply.Failure.Kind != provider.NotFound && reply.Failure.Kind != provider.Rejected:
		return reply.Failure
	}
	now := s.now()
	t.At, t.Status, t.Header, t.Body, t.Faults = now, answer.Status, answer.Header, answer.Body, 0
	t.Ended = reply.Task.Status.Ended() || reply.Failure != nil
	if ready := links(reply.Task); t.Changed.IsZero() || ready != t.Ready {
		t.Ready, t.Changed = ready, now
	}
	if !reply.Task.ExpireAt.IsZero() {
		t.ExpireAt = reply.Task.ExpireAt
	}
	mine := t.Slot != ""
	if t.Ended {
		t.Slot = ""
	}
	if t.Ended && t.Export != "" { // it is held under the name of who does not read it
		if err := s.o.Gate.Release(ctx, t.Export); err != nil {
			s.log.WarnContext(ctx, "a slot could not be freed; its lease ends it", logkey.Export, t.Export, logkey.Error, err)
		}
	}
	if cost := reply.Task.CostUsage; mine && cost > 0 && s.o.Units != nil {
		if err := s.o.Units.Add(ctx, t.ID, t.Made, cost); err != nil {
			s.log.WarnContext(ctx, "what a task cost could not be counted", logkey.ExportTaskID, t.ID, logkey.Error, err)
		}
	}
	return nil
}

// Tenant returns whose project a task is that was made here; empty for another one, and
// where neither Redis knows it nor S3 says.
func (s *Service) Tenant(ctx context.Context, project string) (string, error) {
	var unknown []*task
	for _, name := range []string{"clips", "clips/find-moments"} {
		t := &task{ID: project, Call: name, Path: call{root: "/api/v2", name: name}.resultsPath(project)}
		known, err := s.store.get(ctx, taskKey(name, project), t)
		switch {
		case err != nil:
			return "", err
		case !known:
			unknown = append(unknown, t)
		case t.Tenant != "":
			return t.Tenant, nil
		}
	}
	var asked sync.WaitGroup // S3 may be slow
	for _, t := range unknown {
		asked.Go(func() {
			if _, err := s.lookup(ctx, t.Call, project, t); err != nil {
				s.log.WarnContext(ctx, "whose project it is, only S3 may know, which does not say", logkey.ProjectID, project, logkey.Error, err)
			}
		})
	}
	asked.Wait()
	for _, t := range unknown {
		if t.Tenant != "" {
			return t.Tenant, nil
		}
	}
	return "", nil
}

func links(t provider.Task) int {
	n := 0
	for _, c := range t.Clips {
		if c.ExportLink != "" {
			n++
		}
	}
	return n
}

// class is what the budget learns durations by, in place of a resolution.
func class(call string) string { return "passed:" + call }

// step is the payload of a task in the queue: read the task, if nobody has since.
type step struct {
	Call   string `json:"call"`
	ID     string `json:"id"`
	At     int64  `json:"at"` // milliseconds: of the last answer
	Faults int    `json:"faults,omitempty"`
}

func stepOf(t *task) step { return step{t.Call, t.ID, t.At.UnixMilli(), t.Faults} }

// schedule makes sure that the task is read again when that is worth a request.
func (s *Service) schedule(ctx context.Context, t *task) error {
	at := s.now()
	if t.Faults > 0 {
		at = at.Add(retry.Backoff(t.Faults, 2*time.Second, 2*time.Minute))
	}
	if next, err := s.o.Gate.NextRead(ctx, t.Slot); err == nil && next.After(at) {
		at = next
	}
	return addStep(ctx, s.queue, t, at)
}

func addStep(ctx context.Context, q *queue.Queue, t *task, at time.Time) error {
	p := stepOf(t)
	id := fmt.Sprintf("%s:%d:%d", hash(t.Call, t.ID), p.At, p.Faults)
	if err := q.Add(ctx, queue.PassedTask(id, at, p)); err != nil {
		return fmt.Errorf("enqueue the read of a task that was passed through: %w", err)
	}
	return nil
}

// ErrBusy means that the task is read by somebody else, who may die: the step is to
// be run again in a while.
var ErrBusy = errors.New("the task is being read")

// Step reads a task that holds a slot, as a task of [queue.TypePassed] asks for. It
// may run twice, and late. The next one is scheduled with what it shows.
func (s *Service) Step(ctx context.Context, payload []byte) error {
	var p step
	if err := json.Unmarshal(payload, &p); err != nil {
		return fmt.Errorf("%w: malformed payload: %w", queue.ErrGiveUp, err)
	}
	t := &task{}
	known, err := s.store.get(ctx, taskKey(p.Call, p.ID), t)
	if err != nil || !known || t.Slot == "" || stepOf(t) != p {
		return err
	}
	_, err = s.read(ctx, t, call{name: t.Call, known: true, task: t.ID}, Request{Header: versionHeader()})
	if err != nil && provider.KindOf(err) != "" {
		s.log.WarnContext(ctx, "a task that was passed through could not be read; it is tried again", logkey.ExportTaskID, t.ID, logkey.Error, err)
		return nil // its next step is scheduled
	}
	return err
}

// versionHeader is what the API wants with each request.
func versionHeader() http.Header {
	return http.Header{"X-Wayinvideo-Api-Version": {"v2"}, "Accept": {"application/json"}}
}

// done reports to the budget how a request ended. The turn ends by itself if that
// fails.
func (s *Service) done(ctx context.Context, turn *budget.Turn, o budget.Outcome) {
	if err := turn.Done(ctx, o); err != nil {
		s.log.WarnContext(ctx, "the budget could not record how a request ended; it waits for the turn's lease", logkey.Error, err)
	}
}
