package worker

import (
	"cmp"
	"context"
	"time"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// A provider that fails is probed by reads, which cost nothing: an order that is
// sent into its failure may be paid for, and nobody would know.

const (
	// probeEvery is how often it is seen to that a probe waits for its turn while
	// an account is halted: in less than the four seconds that the gate leaves before the
	// first one at least, or an order would be it. probeTimeout is for how long a probe waits.
	probeEvery   = 2 * time.Second
	probeTimeout = 2 * time.Minute
	// anyTask is read where no task of the account is known: that the provider does
	// not know it is a good answer.
	anyTask = "clipferry-probe"
)

// probeAccounts has each account whose provider does not answer, or not in a way that is
// understood, or whose last orders are in doubt, probed by a read, also where no export
// waits for one.
func (w *Worker) probeAccounts(ctx context.Context) {
	for retry.Wait(ctx, probeEvery) == nil {
		for _, account := range w.o.Accounts {
			h, err := account.Gate.Health(ctx)
			if err != nil || !h.Probe {
				continue
			}
			if _, err := w.probe(ctx, account); err != nil && ctx.Err() == nil {
				w.log.Debug("no turn for a probe", logkey.Account, account.Name, logkey.Error, err)
			}
		}
	}
}

// answersSince reports whether the provider has answered well since the time; if
// nobody asked it, it is asked now.
func (w *Worker) answersSince(ctx context.Context, account Account, since time.Time) (bool, error) {
	h, err := account.Gate.Health(ctx)
	if err != nil {
		return false, err
	}
	if h.Read.After(since) || h.Accepted.After(since) {
		return true, nil
	}
	return w.probe(ctx, account)
}

// probe reads a task in the account's turn and reports whether that was answered well.
func (w *Worker) probe(ctx context.Context, account Account) (bool, error) {
	wait, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	wait, stop := w.untilStop(wait)
	defer stop()
	turn, err := account.Gate.Wait(wait, budget.Request{Export: anyTask, Kind: budget.Refresh})
	if err != nil {
		return false, err
	}
	ctx, end := w.detached(ctx)
	defer end()
	task, _ := w.lastRead.Load(account.Name)
	id, _ := task.(string)
	request, cancelRequest := context.WithTimeout(ctx, postTimeout)
	defer cancelRequest()
	_, err = account.Provider.Read(request, "", cmp.Or(id, anyTask))
	outcome := budget.Outcome{Result: budget.Answered}
	if err != nil {
		outcome = budget.OutcomeOf(err)
	}
	w.endTurn(ctx, turn, outcome)
	w.log.Info("the provider was probed by a read", logkey.Account, account.Name, logkey.Error, err)
	switch kind := provider.KindOf(err); kind {
	case provider.NotFound, provider.Rejected:
		return true, nil
	default:
		return err == nil, nil
	}
}
