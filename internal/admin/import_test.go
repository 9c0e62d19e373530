package admin_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
)

// TestATaskIsImportedByOne of those that ask at the same moment; to the other tenants
// there is no such task.
func TestATaskIsImportedByOne(t *testing.T) {
	d := newRig(t)
	const tasks, tenants = 20, 3
	for n := range tasks {
		var all sync.WaitGroup
		errs := make([]error, tenants)
		i := admin.Import{Kind: export.TaskExport, Task: fmt.Sprintf("task-%d", n), AccountName: "default"}
		for who := range tenants {
			all.Go(func() { _, _, errs[who] = d.For(fmt.Sprintf("tenant-%d", who)).Import(t.Context(), i) })
		}
		all.Wait()
		won := 0
		for who, err := range errs {
			switch {
			case err == nil:
				won++
				if _, known, err := d.For(fmt.Sprintf("tenant-%d", who)).Import(t.Context(), i); err != nil || !known {
					t.Errorf("imported again: %v, %v", known, err)
				}
			case !errors.Is(err, admin.ErrUnknown) && !errors.Is(err, export.ErrNotNow):
				t.Error(err)
			}
		}
		if won != 1 {
			t.Errorf("task %d has %d owners", n, won)
		}
	}
	if all, err := d.List(t.Context(), ledger.Filter{}); err != nil || len(all) != tasks {
		t.Errorf("%d exports, %v", len(all), err)
	}
}
