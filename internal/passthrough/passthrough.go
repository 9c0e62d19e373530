// Package passthrough carries calls of the provider's API that are not exports: a
// client sends them to our HTTP API, and they go on under our key, through the one
// budget. What may be sent, and when, is decided here; the answers are the provider's.
//
//	POST that makes a task   a request and a slot; sent at most once       order.go
//	GET …/results/{id}       one request for all who ask, remembered       read.go
//	everything else          a request, no slot                            here
//
// A task that was made here holds its slot until its results say that it is over.
// It is read to that end whether its client goes on asking or not: by a task in the
// queue, which any worker takes up ([Service.Step]), as often as the budget finds
// worth it. Clients are given the last answer again meanwhile.
//
// Redis holds, for one account under one hash tag:
//
//	clipferry:{passed:<account>}:task:<hash>   a task, its tenant, its last answer
//	clipferry:{passed:<account>}:key:<hash>    what became of an Idempotency-Key
//	clipferry:{passed:<account>}:since:<hash>  since when an order is tried
//
// Each paid request is written ahead in S3 (receipt.go): after a loss of Redis its key
// still says what became of it, and its task is still its tenant's.
//
// Links stay in those answers, which only the client gets: no log, no payload and no
// error holds any.
package passthrough

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/observe"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// Provider sends a request on; *provider.Client is one.
type Provider interface {
	Forward(ctx context.Context, f provider.Forwarded) (provider.Reply, error)
}

// Gate hands out the account's budget; *budget.Gate is one.
type Gate interface {
	Enter(tenant string) (leave func(), ok bool)
	Wait(ctx context.Context, r budget.Request) (*budget.Turn, error)
	Rename(ctx context.Context, from, to string) error
	Release(ctx context.Context, export string) error
	NextRead(ctx context.Context, export string) (time.Time, error)
	Health(ctx context.Context) (budget.Health, error)
	Starts(ctx context.Context, ahead ...int) ([]time.Duration, error)
}

// Units counts what the account is charged, see package units.
type Units interface {
	Add(ctx context.Context, task string, accepted time.Time, units float64) error
	Wait(ctx context.Context, now time.Time) (time.Time, error)
}

// Options configures a Service.
type Options struct {
	Redis  redis.UniversalClient
	Ledger *ledger.Ledger
	// Receipts is where each paid request is written ahead.
	Receipts Receipts
	Logger   *slog.Logger
	// Account is whose key is used, with what is used for it.
	Account  string
	Provider Provider
	Gate     Gate
	Units    Units // may be nil
	// Wait is how long a client waits for its turn at the most; 25 s when zero.
	Wait time.Duration
	// Requested hears of every request to the provider; may be nil.
	Requested func(ctx context.Context, r observe.Request)
	// TakeUp is called once with each task that was made here, before anything reads
	// it; may be nil. It returns the id of the export that archives the task's clips,
	// empty if none does. Such a task is read by that export alone, under whose id
	// its slot is held from then on, and answered from it (see [Answer.Export]).
	TakeUp func(ctx context.Context, t Accepted) (export string, err error)
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Accepted is a task that a client has made here.
type Accepted struct {
	Account, Tenant string
	Call            string // clips, find-moments, summaries, transcripts, or another path
	TaskID          string
	Request         json.RawMessage
	// Inline says that the clips are rendered with it (enable_export).
	Inline bool
	At     time.Time
}

// Service carries the calls. It is safe for concurrent use.
type Service struct {
	o     Options
	log   *slog.Logger
	now   func() time.Time
	store store
	queue *queue.Queue

	restore Restorer

	keyLease, receiptWait time.Duration // see the constants
	silentUntil           atomic.Int64  // nanoseconds: S3 is not asked for whose a task is before

	sending sync.RWMutex    // read-locked by each order until its answer is recorded
	stopped context.Context // ends when nothing new is sent
	stop    context.CancelFunc
}

// DefaultWait is how long a client waits for its turn.
const DefaultWait = 25 * time.Second

// New returns a Service.
func New(o Options) (*Service, error) {
	if o.Redis == nil || o.Ledger == nil || o.Receipts == nil || o.Logger == nil || o.Provider == nil || o.Gate == nil || o.Account == "" {
		return nil, errors.New("passthrough: Redis, Ledger, Receipts, Logger, Account, Provider and Gate are needed")
	}
	if o.Wait == 0 {
		o.Wait = DefaultWait
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Requested == nil {
		o.Requested = func(context.Context, observe.Request) {}
	}
	s := &Service{
		o: o, log: o.Logger, now: o.Now, store: newStore(o.Redis, o.Account), queue: queue.New(o.Redis),
		keyLease: keyLease, receiptWait: receiptWait,
	}
	s.restore = Restorer{Redis: o.Redis, Receipts: o.Receipts, TakeUp: o.TakeUp, Rename: s.rename, Now: o.Now}
	s.stopped, s.stop = context.WithCancel(context.Background())
	return s, nil
}

func (s *Service) rename(ctx context.Context, _, from, to string) error {
	return s.o.Gate.Rename(ctx, from, to)
}

// Stop sends nothing more from now on: who waits is sent away. It returns when what
// was sent has its answer, and that is recorded.
func (s *Service) Stop() {
	s.stop()
	s.sending.Lock()
	s.sending.Unlock() //nolint:staticcheck // those before are through
}

// Wait is how long a client waits for its turn at the most. Its request may take as
// long again at the provider.
func (s *Service) Wait() time.Duration { return s.o.Wait }

// Request is one of a client.
type Request struct {
	// Tenant is whose the tasks are that it makes. A client with All may read those
	// of all tenants; that of the only tenant is Alone, and hides its tasks from nobody.
	Tenant string
	All    bool
	Alone  bool
	Method string
	// Path is escaped and begins with the API's root; Query follows the question mark.
	Path, Query string
	Header      http.Header
	Body        io.Reader
	Length      int64
	// Key is the Idempotency-Key, empty without one.
	Key string
	// Unread says that the task which is asked for, and which an export has taken up,
	// is not read in time by that one: no worker may be running.
	Unread bool
}

// Answer is the provider's.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	// Age is how long ago the provider gave it.
	Age time.Duration
	// Again says that it was given before.
	Again bool
	// Call and TaskID are set for the results of a task, and Export for those of one
	// that an export has taken up: its record says more than Body, which is the
	// answer to the order.
	Call, TaskID, Export string
}

// Refusal is an answer of our own.
type Refusal struct {
	Status          int
	Reason, Message string
	RetryAfter      time.Duration
	Err             error // what we know and the client need not
}

// Error is for logs.
func (r *Refusal) Error() string {
	if r.Err != nil {
		return r.Message + ": " + r.Err.Error()
	}
	return r.Message
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// Do carries one request. An error of its own is a *[Refusal].
func (s *Service) Do(ctx context.Context, r Request) (Answer, error) {
	c, err := callOf(r.Method, r.Path)
	switch {
	case err != nil:
		return Answer{}, err
	case c.order:
		return s.order(ctx, c, r)
	case c.task != "" && r.Query == "":
		return s.results(ctx, c, r)
	case c.task != "": // what the query means, only the provider knows
		if _, err := s.own(ctx, c, r); err != nil {
			return Answer{}, err
		}
	}
	return s.other(ctx, c, r)
}

// other is a request that makes no task: it takes no slot, and nothing remembers it.
func (s *Service) other(ctx context.Context, c call, r Request) (Answer, error) {
	turn, err := s.turn(ctx, r.Tenant, budget.Request{Export: budget.PassedPrefix + c.name, Kind: budget.Other, Tenant: r.Tenant})
	if err != nil {
		return Answer{}, s.notInTime(ctx, err, http.StatusServiceUnavailable)
	}
	reply, err := s.send(ctx, turn, budget.Other, c, provider.Forwarded{
		Method: r.Method, Path: r.Path, Query: r.Query, Header: r.Header, Body: r.Body, Length: r.Length,
	}, nil)
	if err != nil {
		return Answer{}, noAnswer(err)
	}
	return answerOf(reply)
}

// turn waits for one, no longer than a client does, in a place of the tenant.
func (s *Service) turn(ctx context.Context, tenant string, r budget.Request) (*budget.Turn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Wait)
	defer cancel()
	defer context.AfterFunc(s.stopped, cancel)()
	leave, ok := s.o.Gate.Enter(tenant)
	if !ok {
		return nil, context.DeadlineExceeded
	}
	defer leave()
	return s.o.Gate.Wait(ctx, r)
}

// send spends the turn. From here on nothing of the client's ends it: what was sent
// is counted, and its answer recorded.
func (s *Service) send(ctx context.Context, turn *budget.Turn, kind budget.Kind, c call, f provider.Forwarded, ended func(provider.Reply) budget.Outcome) (provider.Reply, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTimeout)
	defer cancel()
	began := s.now()
	reply, err := s.o.Provider.Forward(ctx, f)
	o := outcomeOf(c, reply, err, ended)
	s.o.Requested(ctx, observe.Request{
		Account: s.o.Account, Passed: true, Kind: kind, Result: o.Result, Waited: turn.Waited(), Took: s.now().Sub(began), Err: err,
	})
	s.done(ctx, turn, o)
	if reply.Failure != nil {
		s.log.InfoContext(ctx, "the provider refuses what was passed through", logkey.Route, c.name, logkey.Status, reply.Status,
			logkey.TraceID, reply.Failure.TraceID, logkey.Why, reply.Failure.Message)
	}
	return reply, err
}

// sendTimeout is within the turn's lease.
const sendTimeout = 35 * time.Second

// outcomeOf is what the budget counts; ended adds what the answer says of the task. How a
// call is refused says nothing of the account where nobody here knows the call, or where
// it is the service's own answer to an order.
func outcomeOf(c call, reply provider.Reply, err error, ended func(provider.Reply) budget.Outcome) budget.Outcome {
	if err != nil {
		return budget.PassedOutcomeOf(err)
	}
	o, neutral := budget.Outcome{Result: budget.Answered}, false
	if f := reply.Failure; f != nil {
		neutral = f.Kind != provider.RateLimited && (!c.known || f.Kind == provider.InDoubt && !lost(reply))
		if !neutral {
			o = budget.PassedOutcomeOf(f)
			neutral = o.Neutral
		}
	}
	if o.Result == budget.Answered && ended != nil {
		o = ended(reply)
	}
	o.Neutral = neutral
	return o
}

// noAnswer is what is answered where the provider did not, to a request that costs
// nothing.
func noAnswer(err error) error {
	return &Refusal{
		Status: http.StatusServiceUnavailable, Reason: "provider_unavailable", RetryAfter: 10 * time.Second, Err: err,
		Message: "the provider does not answer at the moment; try again",
	}
}

// answerOf passes the provider's answer on. A redirect is not: it would take the
// client away from us, with a key that nobody else knows.
func answerOf(r provider.Reply) (Answer, error) {
	if r.Status < 200 || r.Status >= 300 && r.Status < 400 {
		return Answer{}, &Refusal{Status: http.StatusBadGateway, Reason: "not_understood", Message: "the provider answers with a redirect, which is not passed on"}
	}
	return Answer{Status: r.Status, Header: r.Header, Body: r.Body}, nil
}
