package main

import (
	"context"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/retry"
)

// operator does with held exports what their error says: it looks for the
// export on the provider's side, names the task where there is one, and has it
// submitted where there is none.
type operator struct {
	h             *house
	taken, resent int // to be read after the stop
}

func (o *operator) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for retry.Wait(ctx, time.Second) == nil {
			held, err := o.h.admin.List(ctx, ledger.Filter{State: export.Held})
			if err != nil {
				continue // Redis is killed at the moment
			}
			for _, r := range held {
				o.decide(ctx, r)
			}
		}
	}()
	return func() { cancel(); <-done }
}

func (o *operator) decide(ctx context.Context, r *export.Record) {
	var found string
	for _, s := range o.h.provider.State().Submits {
		if s.ProjectID == r.ProjectID {
			found = s.TaskID
		}
	}
	if _, err := o.h.admin.Retry(ctx, r.ID, export.RetryOptions{SubmittedAs: found, PayAgain: found == ""}); err != nil {
		return // Redis again, or another answer came in late: the next look tells
	}
	if found != "" {
		o.taken++
	} else {
		o.resent++
	}
}
