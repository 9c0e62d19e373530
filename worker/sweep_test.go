package worker_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/clipferry/clipferry/worker"
)

// slotsGate counts how often its slots are listed.
type slotsGate struct {
	worker.Gate
	listed atomic.Int64
}

func (g *slotsGate) Slots(ctx context.Context) ([]string, error) {
	g.listed.Add(1)
	return g.Gate.Slots(ctx)
}

// An account that is the default one and has a name of its own is one account.
func TestASweepVisitsEachAccountOnce(t *testing.T) {
	r := newRig(t)
	r.account("eu", 1)
	a := r.options.Accounts["eu"]
	gate := &slotsGate{Gate: a.Gate}
	a.Gate = gate
	r.options.Accounts = map[string]worker.Account{"eu": a}
	r.options.Default = "eu"
	w, err := worker.New(r.options)
	must(t, err)
	must(t, w.Sweep(t.Context()))
	if n := gate.listed.Load(); n != 1 {
		t.Errorf("its slots were listed %d times", n)
	}
}
