package worker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/observe"
	"github.com/clipferry/clipferry/internal/telemetry"
	"github.com/clipferry/clipferry/internal/verification"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// countedVerifier counts how many verify at the same time.
type countedVerifier struct {
	worker.Verifier
	running, most atomic.Int64
}

func (v *countedVerifier) Next(ctx context.Context) error {
	defer v.running.Add(-1)
	v.most.Store(max(v.most.Load(), v.running.Add(1)))
	return v.Verifier.Next(ctx)
}

type verificationObserver struct {
	worker.Observer
	seen chan observe.Verification
}

func (o verificationObserver) Verified(v observe.Verification) { o.seen <- v }

// The archive is verified by one worker of the fleet, and all show how far that is.
func TestAFleetVerifiesTheArchive(t *testing.T) {
	r := newRig(t)
	stop := r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	r.awaitState(id, export.Archived)
	stop()
	service := verification.New(r.archive)
	counted := &countedVerifier{Verifier: verification.NewRolling(service, 24*time.Hour, quiet())}
	r.options.Verifier = counted
	seen := make(chan observe.Verification, 10)
	r.options.Observer = verificationObserver{telemetry.New(telemetry.Options{}), seen}
	r.work()
	r.work()
	for range 2 {
		if v := <-seen; v.Every != 24*time.Hour || v.BadFiles != 0 {
			t.Errorf("%+v", v)
		}
	}
	r.await(id, "verified", func(rec *export.Record) bool {
		st, err := service.State(t.Context())
		must(t, err)
		at, bad := st.Of(rec.Manifest, rec.CreatedAt)
		return !at.IsZero() && bad == nil
	})
	if n := counted.most.Load(); n != 1 {
		t.Errorf("%d workers verified at once", n)
	}
}
