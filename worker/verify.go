package worker

import (
	"context"
	"errors"
	"time"

	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/internal/observe"
	"github.com/clipferry/clipferry/internal/retry"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// How often a worker looks whether a part of the archive is due for verification, and
// how long the fleet takes a silent verifier for alive.
const (
	verifyLookEvery = 10 * time.Minute
	verifyLeaseFor  = 2 * time.Minute
)

// verifyLoop lets the archive be verified by one worker of the fleet at a time, and
// shows how far that is. A part that is cut off is begun again.
func (w *Worker) verifyLoop(ctx context.Context) {
	if w.o.Verifier == nil {
		return
	}
	for ctx.Err() == nil {
		if err := w.verifyNext(ctx); err != nil && ctx.Err() == nil {
			w.log.Error("the archive could not be verified; again in ten minutes", logkey.Error, err)
		}
		w.showVerification(ctx)
		_ = retry.Wait(ctx, verifyLookEvery) // the loop sees the end of ctx
	}
}

func (w *Worker) verifyNext(ctx context.Context) error {
	if w.o.Archive.Health().Open {
		return nil
	}
	lease, err := w.o.Ledger.FleetLease(ctx, "verify", verifyLeaseFor)
	if errors.Is(err, ledger.ErrLeased) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		defer cancel() // another worker verifies
		for retry.Wait(ctx, verifyLeaseFor/4) == nil && !errors.Is(lease.Renew(ctx), ledger.ErrLeased) {
		}
	}()
	err = w.o.Verifier.Next(ctx)
	cancel()
	<-kept
	_ = lease.Release(context.WithoutCancel(ctx)) // or it ends by itself
	return err
}

func (w *Worker) showVerification(ctx context.Context) {
	st, err := w.o.Verifier.State(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Error("the proofs of the archive cannot be read", logkey.Error, err)
		}
		return
	}
	w.watch.Verified(observe.Verification{Every: w.o.Verifier.Every(), Oldest: st.Oldest(), BadFiles: len(st.Bad())})
}
