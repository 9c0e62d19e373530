package worker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/tasks"
	"github.com/clipferry/clipferry/worker"
)

// failingCatalog cannot be written for a number of times.
type failingCatalog struct {
	worker.Catalog
	failures atomic.Int64
}

func (c *failingCatalog) Add(ctx context.Context, key string) error {
	if c.failures.Add(-1) >= 0 {
		return errors.New("no")
	}
	return c.Catalog.Add(ctx, key)
}

// An export is archived whatever becomes of the catalog, and stays open in its receipt
// and for the sweeper until the catalog has it.
func TestACatalogThatCannotBeWritten(t *testing.T) {
	r := newRig(t)
	failing := &failingCatalog{Catalog: r.options.Catalog}
	failing.failures.Store(1000)
	r.options.Catalog = failing
	stop := r.work()
	id := r.enqueue(tasks.Export{ProjectID: "proj"})
	rec := r.awaitState(id, export.Archived)
	stop()
	if rec.Receipt != export.ReceiptOpen {
		t.Fatalf("the receipt is %s", rec.Receipt)
	}
	failing.failures.Store(0)
	w, err := worker.New(r.options)
	must(t, err)
	must(t, w.Sweep(t.Context()))
	if n := len(r.cataloged(id)); n != 2 {
		t.Errorf("%d clips are in the catalog", n)
	}
}
