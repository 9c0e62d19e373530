package worker_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// closedTo is a gate at which first reads of imports get no turn.
type closedTo struct {
	worker.Gate
	mu      sync.Mutex
	kinds   map[budget.Kind]bool
	tenants map[string]bool
}

func (g *closedTo) Wait(ctx context.Context, r budget.Request) (*budget.Turn, error) {
	if !strings.HasPrefix(r.Export, "import-") {
		return g.Gate.Wait(ctx, r)
	}
	g.mu.Lock()
	g.kinds[r.Kind], g.tenants[r.Tenant] = true, true
	g.mu.Unlock()
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestManyImportsHoldNobodyUp: tasks that perhaps there are not wait behind what is known,
// and leave room for its reads.
func TestManyImportsHoldNobodyUp(t *testing.T) {
	r := newRig(t)
	gate := &closedTo{Gate: r.options.Accounts[worker.DefaultAccount].Gate, kinds: map[budget.Kind]bool{}, tenants: map[string]bool{}}
	r.options.Accounts = map[string]worker.Account{worker.DefaultAccount: {Provider: r.provider, Gate: gate}}
	r.options.ReadConcurrency = 8
	for i := range 20 {
		r.imports(export.TaskExport, fmt.Sprintf("bogus-%d", i))
	}
	r.work()
	r.awaitState(r.enqueue(tasks.Export{ProjectID: "proj"}), export.Archived)
	gate.mu.Lock()
	defer gate.mu.Unlock()
	if len(gate.kinds) != 1 || !gate.kinds[budget.Other] || !gate.tenants["default/imports"] {
		t.Errorf("asked for %v as %v", gate.kinds, gate.tenants)
	}
	for i := range 20 { // however long they wait
		r.await(fmt.Sprintf("import-bogus-%d", i), "a receipt", func(rec *export.Record) bool { return rec.Receipt == export.ReceiptOpen })
	}
}
