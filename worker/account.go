package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/internal/units"
	"github.com/clipferry/clipferry/tasks"
)

// DefaultAccount is the account of exports that name none.
const DefaultAccount = tasks.DefaultAccount

// Account is one key at the provider with its budget. Its exports wait in
// queues of their own (see [tasks.AccountQueue]), which a server of their own
// serves: so the exports of an account whose slots are all taken wait without
// standing in the way of another's, each account is first come, first served,
// and nothing is taken out of a queue only to be put back.
type Account struct {
	// Name is kept with what is paid for, so that a key can become or cease to
	// be the default one; the key of [Options.Accounts] when empty.
	Name     string
	Provider Provider
	Gate     Gate
	Units    Units // may be nil: nothing is counted
}

// Units counts what an account is charged a day, see package units.
type Units interface {
	Add(ctx context.Context, task string, accepted time.Time, units float64) error
	// Wait returns when the day ends if its cap is reached, else the zero time.
	Wait(ctx context.Context, now time.Time) (time.Time, error)
}

// account returns the account of the export.
func (w *Worker) account(r *export.Record) (Account, error) {
	name := r.Account
	if name == "" {
		name = DefaultAccount
	}
	a, ok := w.o.Accounts[name]
	if !ok {
		return Account{}, fmt.Errorf("export %s is to be ordered with the account %q, which this worker does not have; "+
			"see CLIPFERRY_API_KEYS", r.ID, name)
	}
	return a, nil
}

// pin names the account in a record that is about to be paid for with it, where
// the default account has a name of its own.
func (a Account) pin(r *export.Record) {
	if a.Name != "" && a.Name != DefaultAccount {
		r.Account = a.Name
	}
}

// accountNames returns the accounts that have queues of their own.
func (w *Worker) accountNames() []string {
	var names []string
	for name := range w.o.Accounts {
		if name != DefaultAccount {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// submitQueues are the submit queues of an account, with how often each is
// looked into when all have something.
func submitQueues(account string) map[string]int {
	return map[string]int{
		tasks.AccountQueue(queue.Front, account):           64,
		tasks.AccountQueue(tasks.QueueSubmitHigh, account): 16,
		tasks.AccountQueue(tasks.QueueSubmit, account):     4,
		tasks.AccountQueue(tasks.QueueSubmitLow, account):  1,
	}
}

// queues are all that this worker serves.
func (w *Worker) queues() []string {
	return queue.All(w.accountNames()...)
}

// heldUntil returns when the account may spend again, the zero time for now.
func (a Account) heldUntil(ctx context.Context, now time.Time) (time.Time, error) {
	if a.Units == nil {
		return time.Time{}, nil
	}
	return a.Units.Wait(ctx, now)
}

// waitForUnits waits until the account may spend units. It waits in the
// handler, as for a slot, so that the others stay in line behind.
func (w *Worker) waitForUnits(ctx context.Context, account Account, r *export.Record) error {
	for told := false; ; told = true {
		until, err := account.heldUntil(ctx, w.now())
		if err != nil || until.IsZero() {
			return err
		}
		if !told {
			w.log.Warn("the account has spent its units of the day; its exports wait for the next one",
				logkey.Export, r.ID, logkey.Account, account.Name, "until", until)
		}
		_ = retry.Wait(ctx, min(units.Look, max(until.Sub(w.now()), time.Millisecond)))
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// charge counts what the provider charged. A count that fails now is made by
// the next read or the sweeper.
func (w *Worker) charge(ctx context.Context, r *export.Record) {
	if r.CostUsage <= 0 || r.ExportTaskID == "" {
		return
	}
	account, err := w.account(r)
	if err == nil && account.Units != nil {
		err = account.Units.Add(ctx, r.ExportTaskID, r.SubmittedAt, r.CostUsage)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		w.log.Warn("what an export cost could not be counted; trying again within a minute", logkey.Export, r.ID, logkey.Error, err)
	}
}
