package passthrough

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/storage"
)

// maxOrder bounds the body of an order, in bytes.
const maxOrder = 1 << 20

// order is a request that may make a task. It is sent at most once.
func (s *Service) order(ctx context.Context, c call, r Request) (Answer, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxOrder+1))
	switch {
	case err != nil:
		return Answer{}, &Refusal{Status: http.StatusBadRequest, Reason: "invalid_request", Message: "the body could not be read", Err: err}
	case len(body) > maxOrder:
		return Answer{}, &Refusal{Status: http.StatusRequestEntityTooLarge, Reason: "body_too_large", Message: fmt.Sprintf("the body is too large: at most %d bytes", maxOrder)}
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s?%s\n%s", r.Method, c.name, r.Query, body))
	o := &ordered{s: s, call: c, request: r, body: body, digest: hex.EncodeToString(sum[:]), slot: budget.PassedPrefix + rand.Text()}
	o.key = "key:" + hash(r.Tenant, cmp.Or(r.Key, o.slot))
	lease, err := s.leaseOf(ctx, o.key)
	switch {
	case ctx.Err() != nil:
		return Answer{}, ctx.Err()
	case errors.Is(err, ledger.ErrLeased):
		return Answer{}, &Refusal{
			Status: http.StatusConflict, Reason: "in_progress", RetryAfter: 5 * time.Second,
			Message: "a request with this Idempotency-Key is under way; its answer is given to the next one",
		}
	case err != nil:
		return Answer{}, notNow(err)
	}
	kept, stop := lease.Keep(context.WithoutCancel(ctx)) // a client that leaves doesn't end what was sent
	defer func() {
		stop()
		_ = lease.Release(context.WithoutCancel(ctx)) // else it ends by itself
	}()
	o.lease = lease
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(kept, cancel)()
	return o.once(ctx)
}

// keyLease is how long one who sends an order may give no sign of life.
const keyLease = 10 * time.Second

// leaseOf takes the lease of an Idempotency-Key. A repeat waits for the first one,
// whose answer it gets, or for the end of whoever died with it.
func (s *Service) leaseOf(ctx context.Context, key string) (*ledger.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Wait)
	defer cancel()
	for {
		lease, err := s.o.Ledger.FleetLease(ctx, "passed:"+key, s.keyLease)
		if !errors.Is(err, ledger.ErrLeased) || retry.Wait(ctx, lookEvery) != nil {
			return lease, err
		}
	}
}

// ordered is an order on its way.
type ordered struct {
	s       *Service
	call    call
	request Request
	body    []byte
	digest  string
	key     string        // where what becomes of it is kept, of its Idempotency-Key if it has one
	slot    string        // its name, and the token of its intent
	lease   *ledger.Lease // of the key: who has lost it touches nothing of who has it now
	intent  bool          // it is written ahead, or may be
}

// once sends the order unless its Idempotency-Key was used before: then its answer is
// given again, or it is said that there is none.
func (o *ordered) once(ctx context.Context) (Answer, error) {
	var before attempt
	known, err := o.s.store.get(ctx, o.key, &before)
	switch {
	case err != nil:
		return Answer{}, notNow(err)
	case !known:
		return o.send(ctx)
	}
	if before.Status == 0 {
		free, err := o.fromS3(ctx, &before)
		switch {
		case err != nil:
			return Answer{}, notNow(err)
		case free:
			return o.send(ctx)
		}
	}
	return o.again(ctx, before)
}

// again answers with what became of the order before.
func (o *ordered) again(ctx context.Context, before attempt) (Answer, error) {
	switch {
	case before.Digest != o.digest:
		return Answer{}, &Refusal{
			Status: http.StatusUnprocessableEntity, Reason: "idempotency_key_reused",
			Message: "this Idempotency-Key was used for another request",
		}
	case before.Status == 0:
		return Answer{}, &Refusal{
			Status: http.StatusConflict, Reason: "answer_lost",
			Message: "this request was sent at " + before.Sent.UTC().Format(time.RFC3339) + " and its answer was lost, so it is not sent again: " +
				"it may have been accepted and charged. Look for it on the provider's site; a new Idempotency-Key orders, and pays for, it once more",
		}
	}
	o.mend(ctx, before)
	return Answer{
		Status: before.Status, Header: before.Header, Body: before.Body, Age: max(0, o.s.now().Sub(before.Sent)), Again: true,
	}, nil
}

// mend follows the task of the order before where nobody does: Redis was away when it
// was made, or whoever made it died.
func (o *ordered) mend(ctx context.Context, before attempt) {
	if before.Task == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), syncTime)
	defer cancel()
	var now task
	known, err := o.s.store.get(ctx, taskKey(before.Task.Call, before.Task.ID), &now)
	if known && now.Tenant != "" {
		return
	}
	var r storage.Receipt
	if err == nil {
		r, _, err = o.s.restore.follow(ctx, o.s.o.Account, before.made(o.body))
	}
	if err == nil {
		_, err = o.s.restore.Restore(ctx, r)
	}
	if err != nil {
		o.s.log.ErrorContext(ctx, "a task that was passed through has no record, and could get none", logkey.ExportTaskID, before.Task.ID, logkey.Error, err)
	}
}

func (o *ordered) send(ctx context.Context) (Answer, error) {
	s := o.s
	if err := s.checkOrders(ctx); err != nil {
		return Answer{}, err
	}
	place := hash(o.request.Tenant, o.request.Key, o.digest)
	since, err := s.store.since(ctx, place, s.now())
	if err != nil {
		return Answer{}, notNow(err)
	}
	s.sending.RLock()
	defer s.sending.RUnlock()
	turn, err := s.turn(ctx, o.request.Tenant, budget.Request{
		Export: o.slot, Project: o.slot, Kind: budget.Submit, Since: since, Resolution: class(o.call.name), Prepare: o.writeAhead,
	})
	if errors.Is(err, errSentBefore) {
		return o.restored(ctx)
	}
	if err != nil {
		o.takeBack(ctx)
		return Answer{}, s.notInTime(ctx, err, http.StatusTooManyRequests)
	}
	reply, err := s.send(ctx, turn, budget.Submit, o.call, provider.Forwarded{
		Method: o.request.Method, Path: o.request.Path, Query: o.request.Query, Header: o.request.Header,
		Body: bytes.NewReader(o.body), Length: int64(len(o.body)), Paid: true, Sent: o.body,
	}, o.outcome)
	ctx = context.WithoutCancel(ctx) // what was sent is recorded, whoever listens
	if err == nil && lost(reply) {
		err = reply.Failure
	}
	if err != nil {
		return Answer{}, o.unanswered(ctx, err)
	}
	_ = s.store.forget(ctx, "since:"+place) // else it ends by itself
	return o.answered(ctx, reply)
}

// takeBack forgets that it was about to be sent: it was not, or came to nothing.
func (o *ordered) takeBack(ctx context.Context) {
	if !o.intent {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := o.lease.Renew(ctx)
	if err == nil {
		err = o.settle(ctx)
	}
	if err == nil {
		err = o.s.store.forget(ctx, o.key)
	}
	if err != nil {
		o.s.log.WarnContext(ctx, "a request that was not sent counts as one whose answer was lost", logkey.Client, o.request.Tenant, logkey.Error, err)
	}
}

// outcome is what the budget counts of an answer. The slot stays where a task was made,
// or may have been by a call that makes them.
func (o *ordered) outcome(r provider.Reply) budget.Outcome {
	made := r.Failure == nil && r.Task.ExportTaskID != ""
	if r.Failure == nil && !made && o.call.known {
		return budget.Outcome{Result: budget.NotUnderstood}
	}
	return budget.Outcome{Result: budget.Answered, Accepted: made}
}

// lost says whether what came is no answer of the service to the order: something
// between says that it got none. Its own are passed on: a 500 of its own, and whatever
// it says below that, such as a conflict.
func lost(r provider.Reply) bool {
	switch {
	case r.Failure == nil || r.Failure.Kind != provider.InDoubt:
		return false
	case r.Failure.Foreign || r.Status > http.StatusInternalServerError:
		return true
	}
	return r.Status == http.StatusInternalServerError && r.Failure.TraceID == ""
}

// unanswered is an order whose answer did not come.
func (o *ordered) unanswered(ctx context.Context, err error) error {
	if provider.KindOf(err) == provider.NotSent || provider.KindOf(err) == provider.Rejected { // it did not leave
		o.takeBack(ctx)
		return noAnswer(err)
	}
	o.s.log.ErrorContext(ctx, "a paid request was passed on and its answer lost", logkey.Client, o.request.Tenant, logkey.Route, o.call.name, logkey.Error, err)
	return &Refusal{
		Status: http.StatusBadGateway, Reason: "answer_lost", Err: err,
		Message: "the request was sent to the provider and its answer was lost, so nobody here knows whether it was accepted and charged; " +
			"it is not sent again. Look for it on the provider's site before you repeat it",
	}
}

// answered records the answer, and follows the task if one was made.
func (o *ordered) answered(ctx context.Context, reply provider.Reply) (Answer, error) {
	answer, err := answerOf(reply)
	refused := provider.Kind("")
	if reply.Failure != nil {
		refused = reply.Failure.Kind
	}
	switch refused {
	case provider.RateLimited:
		o.takeBack(ctx)
		return Answer{}, &Refusal{
			Status: http.StatusTooManyRequests, Reason: "rate_limited", RetryAfter: max(reply.Failure.RetryAfter, 15*time.Second),
			Message: "the provider refuses more at the moment, so other programs use the same key; try again",
		}
	case provider.Forbidden, provider.OutOfUnits: // the account's: it may be sent once that is mended
		o.takeBack(ctx)
		return answer, err
	}
	kept := attempt{Digest: o.digest, Sent: o.s.now(), Status: reply.Status, Header: reply.Header, Body: reply.Body}
	if id := reply.Task.ExportTaskID; reply.Failure == nil && id != "" {
		kept.Task = &task{
			ID: id, Call: o.call.name, Path: o.call.resultsPath(id), Tenant: o.request.Tenant,
			Made: kept.Sent, Inline: inline(o.body), Slot: o.slot,
		}
	}
	var both sync.WaitGroup
	if err == nil {
		both.Go(func() { o.remember(ctx, kept, reply.Failure) })
	}
	if t := kept.made(o.body); t != nil {
		o.s.follow(ctx, t)
	}
	both.Wait()
	return answer, err
}

// remember keeps the answer for those who repeat the order.
func (o *ordered) remember(ctx context.Context, kept attempt, refused *provider.Error) {
	s := o.s
	s.insist(ctx, "the answer to a paid request could not be kept", func() error { return s.store.set(ctx, o.key, kept, keepKey) })
	s.insist(ctx, "the receipt of a paid request could not be written: without Redis it counts as one whose answer was lost", func() error {
		switch {
		case kept.Task != nil:
			return o.accepted(ctx, kept)
		case refused != nil && refused.Kind != provider.InDoubt:
			return o.settle(ctx)
		}
		return nil // it may have been charged for
	})
}

// follow records the task that was made, and has it read to its end.
func (s *Service) follow(ctx context.Context, t *task) {
	if s.o.TakeUp != nil {
		t.Due = t.accepted(s.o.Account)
	}
	s.insist(ctx, "a task that was passed through could not be recorded", func() error {
		s.takeUp(ctx, t)
		return s.record(ctx, t)
	})
	s.log.InfoContext(ctx, "task passed through", logkey.Client, t.Tenant, logkey.Route, t.Call, logkey.ExportTaskID, t.ID, logkey.Export, t.Export)
}

// takeUp has the task's clips archived by an export, if that is due and wanted. What
// fails stays due.
func (s *Service) takeUp(ctx context.Context, t *task) {
	if t.Due == nil || s.o.TakeUp == nil {
		return
	}
	id, err := s.o.TakeUp(ctx, *t.Due)
	if err != nil {
		s.log.ErrorContext(ctx, "the clips of a task that was passed through are not archived yet; it is tried again", logkey.ExportTaskID, t.ID, logkey.Error, err)
		return
	}
	t.Due, t.Export = nil, id
	if id == "" || t.Slot == "" {
		return
	}
	if err := s.o.Gate.Rename(ctx, t.Slot, id); err != nil {
		s.log.WarnContext(ctx, "a slot is held twice, until its lease ends", logkey.Export, id, logkey.Error, err)
	}
	t.Slot = ""
}

// insist tries a few times what must not be lost.
func (s *Service) insist(ctx context.Context, failed string, do func() error) {
	var err error
	for try := range 4 {
		if err = do(); err == nil {
			return
		}
		if retry.Wait(ctx, retry.Backoff(try, 100*time.Millisecond, 2*time.Second)) != nil {
			break
		}
	}
	s.log.ErrorContext(ctx, failed, logkey.Error, err)
}

// inline says whether the order asks for its clips to be rendered at once.
func inline(body []byte) bool {
	var said struct {
		EnableExport bool `json:"enable_export"`
	}
	return json.Unmarshal(body, &said) == nil && said.EnableExport
}
