package worker

import (
	"context"
	"errors"
	"time"

	"github.com/clipferry/clipferry/internal/breaker"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/storage"
)

// While S3 is down nothing is fetched that could not be put there, and nothing
// is ordered that could not be archived: transfers, manifests and paid requests
// wait in their handlers for the fleet's breaker. What was paid for already is
// never kept waiting: its receipt is tried at once.

// waitForBucket returns when S3 is believed to answer, and whether it had to
// wait for that. It gives up with breaker.ErrHere where S3 answers other workers.
func (w *Worker) waitForBucket(ctx context.Context) (waited bool, err error) {
	return w.bucket.Wait(ctx, func(ctx context.Context) error {
		if err := w.o.Archive.Check(ctx); errors.Is(err, storage.ErrUnavailable) {
			return err
		}
		return nil // whatever it says, it speaks
	})
}

// waitToTransfer is waitForBucket for a transfer that must be over by a moment,
// zero for none: past that it is for the transfer itself to say so.
func (w *Worker) waitToTransfer(ctx context.Context, by time.Time) (waited bool, err error) {
	if by.IsZero() {
		return w.waitForBucket(ctx)
	}
	until, cancel := context.WithTimeout(ctx, by.Sub(w.now()))
	defer cancel()
	waited, err = w.waitForBucket(until)
	if ctx.Err() == nil && !errors.Is(err, breaker.ErrHere) {
		err = nil
	}
	return waited, err
}

// bucketDown reports whether S3 is believed not to answer.
func (w *Worker) bucketDown(ctx context.Context) bool {
	st, err := w.bucket.Status(ctx)
	return err == nil && st.Open
}

// bucketSaid tells the fleet what came of a request to S3.
func (w *Worker) bucketSaid(ctx context.Context, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	switch {
	case err == nil:
		w.bucket.Succeeded(ctx)
	case errors.Is(err, storage.ErrUnavailable):
		switch w.bucket.Failed(ctx, fault.RetryAfterOf(err)) {
		case breaker.OpenedForAll:
			w.log.Error("S3 fails whatever it is asked; transfers and paid requests wait until it answers again")
		case breaker.OpenedHere:
			w.log.Error("S3 fails this worker alone, whatever it is asked: see to its network, endpoint and clock; "+
				"it takes up no transfer and no paid request until S3 answers it", logkey.Error, fault.SentenceOf(err))
		}
	}
}
