// Package status says what exports wait for and the state of the accounts. It reads
// the queues, the budgets and the fleet; it changes nothing and spends none of the
// provider's requests.
package status

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/units"
	"github.com/clipferry/clipferry/tasks"
)

// Account is an account at the provider as a Reader sees it.
type Account struct {
	Name   string
	Budget Budget
	Units  Units
}

// Budget is the budget of an account; *budget.Gate is one.
type Budget interface {
	Status(ctx context.Context) (budget.Status, error)
	Starts(ctx context.Context, ahead ...int) ([]time.Duration, error)
}

// Units knows what an account spent today; *units.Meter does.
type Units interface {
	Today(ctx context.Context, now time.Time) (units.Day, error)
}

// Reader reads what exports wait for and the state of the accounts. It costs a
// handful of round trips however many exports are asked about, and none of the
// provider's requests.
type Reader struct {
	rdb      redis.UniversalClient
	queue    *queue.Queue
	accounts func(name string) Account
	tenants  map[string]int // shares
	ledger   *ledger.Ledger
	now      func() time.Time

	mu       sync.Mutex
	served   queue.Fleet // who works
	servedAt time.Time
}

// NewReader returns a Reader. accounts returns the account of that name,
// known or not, and the default one for an empty name; equal names must give
// the same account.
func NewReader(rdb redis.UniversalClient, accounts func(name string) Account, now func() time.Time) *Reader {
	return &Reader{
		rdb: rdb, queue: queue.New(rdb), accounts: accounts,
		ledger: ledger.New(ledger.Options{Redis: rdb}), now: now,
	}
}

// WithTenants has the places in line reckoned with the shares of tenants that have
// queues of their own; all others have the share of [tasks.DefaultTenant], or 1.
func (l *Reader) WithTenants(shares map[string]int) *Reader {
	l.tenants = shares
	return l
}

// Snapshot is what a Reader saw.
type Snapshot struct {
	// WaitingFor says by export what it waits for; exports that wait for nothing
	// are missing.
	WaitingFor map[string]Waiting
	// Accounts are those of the exports, and those asked for, in that order.
	Accounts []AccountStatus
	// Outages are the workers that S3 fails, all they ask or the catalog alone.
	Outages []ledger.Outage
	// Fleet is what keeps the fleet as a whole from its work, one line for people
	// each: that no worker is running, or queues that are paused.
	Fleet []string
}

// AccountStatus is the state of an account.
type AccountStatus struct {
	Name   string
	Budget budget.Status
	Today  units.Day
	// Queued counts the exports in the account's queues, those that wait for
	// their turn in a worker included.
	Queued int
}

// Read looks at exports, and at accounts besides those of the exports.
func (l *Reader) Read(ctx context.Context, records []*export.Record, accounts ...string) (Snapshot, error) {
	seen, err := l.accountsOf(ctx, records, accounts)
	if err != nil {
		return Snapshot{}, err
	}
	line, err := l.readQueues(ctx, records, seen)
	if err != nil {
		return Snapshot{}, err
	}
	if err := l.estimate(ctx, records, seen, line); err != nil {
		return Snapshot{}, err
	}
	if line.outages, err = l.ledger.Outages(ctx, l.now()); err != nil {
		return Snapshot{}, err
	}
	out := Snapshot{WaitingFor: map[string]Waiting{}, Outages: line.outages, Fleet: line.blockers()}
	for _, r := range records {
		if !r.State.Final() {
			out.WaitingFor[r.ID] = waitingFor(r, seen[l.accounts(r.Account).Name], line, l.now())
		}
	}
	for _, name := range line.names {
		s := seen[name]
		s.Queued = line.queued(slices.Concat(slices.Collect(maps.Values(line.lanes[name]))...)...) + len(s.Budget.Line)
		out.Accounts = append(out.Accounts, *s)
	}
	return out, nil
}

// accountsOf reads the accounts that open exports belong to, and those named.
func (l *Reader) accountsOf(ctx context.Context, records []*export.Record, named []string) (map[string]*AccountStatus, error) {
	for _, r := range records {
		if !r.State.Final() {
			named = append(named, r.Account)
		}
	}
	seen := map[string]*AccountStatus{}
	for _, name := range named {
		a := l.accounts(name)
		if seen[a.Name] != nil {
			continue
		}
		status, err := a.Budget.Status(ctx)
		if err != nil {
			return nil, fmt.Errorf("look at the budget of account %s: %w", a.Name, err)
		}
		today, err := a.Units.Today(ctx, l.now())
		if err != nil {
			return nil, err
		}
		seen[a.Name] = &AccountStatus{Name: a.Name, Budget: status, Today: today}
	}
	return seen, nil
}

// queuesOf returns the queues whose exports are ordered with the account: its
// own and, for the default one whatever its name, the plain ones. Those that
// are served first come first.
func (l *Reader) queuesOf(account string) []string {
	if account == l.accounts("").Name {
		return queue.Orders("", account)
	}
	return queue.Orders(account)
}

// lines are the queues at one moment.
type lines struct {
	lanes   map[string]map[string][]string // by account and tenant, those served first coming first
	names   []string                       // accounts
	length  map[string]int
	paused  map[string]bool
	served  map[string]bool          // nil if nobody asked
	looked  map[string]bool          // by export: whether it was looked for
	place   map[string]int           // by export: how many go before it
	starts  map[string]time.Duration // by export: in about how long it starts
	workers map[string]bool
	outages []ledger.Outage
}

func (l *lines) queued(queues ...string) int {
	n := 0
	for _, q := range queues {
		n += l.length[q]
	}
	return n
}

// blockers are what keeps the whole fleet from its work.
func (l *lines) blockers() []string {
	var all []string
	if l.served != nil && len(l.served) == 0 {
		all = append(all, "NO WORKER is running; start `clipferry worker`")
	}
	var paused []string
	for _, q := range slices.Sorted(maps.Keys(l.paused)) {
		if l.paused[q] {
			paused = append(paused, q)
		}
	}
	if len(paused) > 0 {
		all = append(all, fmt.Sprintf("PAUSED, until `clipferry resume`: %s", strings.Join(paused, ", ")))
	}
	return all
}

// halted returns the outage of S3 that all workers have, nil if it lets some work.
func (l *lines) halted() *ledger.Outage {
	failing := 0
	for _, o := range l.outages {
		if !o.Catalog && l.workers[o.Worker] {
			failing++
		}
	}
	if failing == 0 || failing < len(l.workers) {
		return nil
	}
	first := slices.IndexFunc(l.outages, func(o ledger.Outage) bool { return !o.Catalog })
	return &l.outages[first]
}

// blocker says why nobody works on what is in the queues; empty if somebody may.
func (l *lines) blocker(queues ...string) Waiting {
	if l.served != nil && len(l.served) == 0 {
		return Waiting{WaitWorker, "no worker is running"}
	}
	for _, q := range queues {
		if l.paused[q] {
			return Waiting{WaitQueue, "queue " + q + " is paused"}
		}
	}
	return Waiting{}
}

// Looking for an export in a queue costs Redis a walk through it, so that many are only
// looked for near its ends, where those listed and those next are.
const (
	maxPlaces = 100  // exports that are looked for at once
	nearEnd   = 1000 // tasks that are gone through at either end
	maxWalks  = 5    // exports that a whole queue is gone through for
)

// readQueues reads the queues of the accounts in one round trip, straight from
// the lists that asynq keeps: its Inspector can only page through them.
func (l *Reader) readQueues(ctx context.Context, records []*export.Record, seen map[string]*AccountStatus) (*lines, error) {
	line := &lines{
		length: map[string]int{}, paused: map[string]bool{}, looked: map[string]bool{}, place: map[string]int{},
		starts: map[string]time.Duration{}, lanes: map[string]map[string][]string{},
	}
	there, err := l.queue.Existing(ctx, tasks.SubmitQueues())
	if err != nil {
		return nil, err
	}
	lengths, paused, places := map[string]*redis.IntCmd{}, map[string]*redis.IntCmd{}, map[string][]*redis.IntCmd{}
	_, err = l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for name := range seen {
			line.names = append(line.names, name)
			line.lanes[name] = l.lanes(name, there)
			for _, q := range slices.Concat(slices.Collect(maps.Values(line.lanes[name]))...) {
				lengths[q] = p.LLen(ctx, queue.PendingKey(q))
				paused[q] = p.Exists(ctx, queue.PausedKey(q))
			}
		}
		for _, q := range queue.Work() {
			paused[q] = p.Exists(ctx, queue.PausedKey(q))
		}
		for _, r := range records {
			if r.State == export.Queued && len(places) < maxPlaces {
				q, task := taskOf(r)
				for _, rank := range []int64{-1, 1} {
					places[r.ID] = append(places[r.ID], p.LPos(ctx, queue.PendingKey(q), task, redis.LPosArgs{Rank: rank, MaxLen: nearEnd}))
				}
			}
		}
		return nil
	})
	if err == nil || errors.Is(err, redis.Nil) {
		err = l.walk(ctx, records, places, line)
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("look into the queues: %w", err)
	}
	slices.Sort(line.names)
	for q, n := range lengths {
		line.length[q] = int(n.Val())
	}
	for q, n := range paused {
		line.paused[q] = n.Val() > 0
	}
	for _, r := range records {
		if at := foundAt(places[r.ID]); at >= 0 { // asynq takes from the end
			q, _ := taskOf(r)
			line.place[r.ID] = line.before(line.lanes[l.accounts(r.Account).Name][r.Lane], q) + max(0, line.length[q]-1-at)
		}
	}
	fleet, err := l.fleet(ctx, len(seen) > 0)
	if err != nil {
		return nil, err
	}
	line.served, line.workers = fleet.Queues, fleet.Workers
	return line, nil
}

// walk goes through whole queues for a few of the exports that are not near an end, and
// notes which exports were looked for everywhere.
func (l *Reader) walk(ctx context.Context, records []*export.Record, places map[string][]*redis.IntCmd, line *lines) error {
	walks := 0
	_, err := l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, r := range records {
			at, looked := places[r.ID]
			if line.looked[r.ID] = looked; !looked || foundAt(at) >= 0 {
				continue
			}
			if walks++; walks > maxWalks {
				line.looked[r.ID] = false
				continue
			}
			q, task := taskOf(r)
			places[r.ID] = append(at, p.LPos(ctx, queue.PendingKey(q), task, redis.LPosArgs{Rank: -1}))
		}
		return nil
	})
	return err
}

// foundAt returns where a task is in its queue, -1 if no search has found it.
func foundAt(searches []*redis.IntCmd) int {
	for _, at := range searches {
		if at.Err() == nil {
			return int(at.Val())
		}
	}
	return -1
}

// taskOf returns the queue and the TaskID of a queued export's submit.
func taskOf(r *export.Record) (in, taskID string) {
	task := queue.Of(r, export.Step{Kind: export.StepSubmit, N: r.Round})
	return task.Queue, task.ID
}

// servedFor is how long it is believed which queues are served.
const servedFor = 10 * time.Second

func (l *Reader) fleet(ctx context.Context, wanted bool) (queue.Fleet, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !wanted || l.served.Queues != nil && l.now().Sub(l.servedAt) < servedFor {
		return l.served, nil
	}
	served, err := l.queue.Fleet(ctx)
	if err != nil {
		return queue.Fleet{}, err
	}
	l.served, l.servedAt = served, l.now()
	return served, nil
}

// estimate completes the places by those who wait in workers already, and says
// when each export starts: one round trip for each account.
func (l *Reader) estimate(ctx context.Context, records []*export.Record, seen map[string]*AccountStatus, line *lines) error {
	ids, places := map[string][]string{}, map[string][]int{}
	for _, r := range records {
		name := l.accounts(r.Account).Name
		s := seen[name]
		if r.State != export.Queued || s == nil {
			continue
		}
		if at := slices.Index(s.Budget.Line, r.ID); at >= 0 {
			line.place[r.ID] = at
		} else if _, queued := line.place[r.ID]; queued {
			line.place[r.ID] = l.ahead(r, line.place[r.ID], s, line)
		} else {
			continue
		}
		ids[name], places[name] = append(ids[name], r.ID), append(places[name], line.place[r.ID])
	}
	for name, ahead := range places {
		starts, err := l.accounts(name).Budget.Starts(ctx, ahead...)
		if err != nil {
			return fmt.Errorf("estimate when exports of account %s start: %w", name, err)
		}
		for i, id := range ids[name] {
			line.starts[id] = starts[i]
		}
	}
	return nil
}
