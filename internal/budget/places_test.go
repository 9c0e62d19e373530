package budget

import (
	"fmt"
	"testing"
)

// TestATenantLeavesPlacesToOthers: to each that comes, however many there are and however
// much each wants.
func TestATenantLeavesPlacesToOthers(t *testing.T) {
	p := NewPlaces(128)
	var all []func()
	enter := func(tenant string) (n int) {
		for leave, ok := p.Enter(tenant); ok; leave, ok = p.Enter(tenant) {
			all = append(all, leave)
			n++
		}
		return n
	}
	if n := enter("web"); n != 64 {
		t.Errorf("the first has %d places", n)
	}
	for i := range 6 {
		if n := enter(fmt.Sprintf("tenant-%d", i)); n == 0 {
			t.Errorf("tenant %d has no place", i)
		}
	}
	if enter("web") > 0 {
		t.Error("the first gets more meanwhile")
	}
	for _, leave := range all {
		leave()
	}
	if n := enter("web"); n != 64 || len(p.of) != 1 {
		t.Errorf("afterwards it has %d places, %v", n, p.of)
	}
	if _, ok := NewPlaces(0).Enter("web"); !ok {
		t.Error("the only place is given to nobody")
	}
}
