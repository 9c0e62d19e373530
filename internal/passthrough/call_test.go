package passthrough

import (
	"fmt"
	"testing"

	"github.com/clipferry/clipferry/internal/emulator"
)

// TestAPathHasOneSpelling: one that escapes what needs no escape, and so names the same
// resource, finds no way around whose the task is, nor around the limits of orders.
func TestAPathHasOneSpelling(t *testing.T) {
	r := newRig(t)
	_, made := r.must("web", "POST", "clips", talk)
	before := r.sent(emulator.RouteResults)
	for _, path := range []string{"%63lips/results/", "clips/%72esults/", "clips/result%73/", "%63lip%73/%72esults/"} {
		if f := r.refused("batch", "GET", path+made.Data.ID, ""); f.Status != 404 {
			t.Errorf("%s: %+v", path, f)
		}
	}
	for _, path := range []string{"%63lips", "clips/find%2Dmoments", "clips/find%2dmoments", "summ%61ries"} {
		if f := r.refused("batch", "POST", path, talk); f.Status != 404 {
			t.Errorf("%s: %+v", path, f)
		}
	}
	if reads, orders := r.sent(emulator.RouteResults)-before, len(r.emulator.State().Submits); reads != 0 || orders != 1 {
		t.Errorf("%d reads, %d orders", reads, orders)
	}
	escaped := fmt.Sprintf("%%%02X%s", made.Data.ID[0], made.Data.ID[1:])
	if f := r.refused("batch", "GET", "clips/results/"+escaped, ""); f.Status != 404 {
		t.Errorf("%s: %+v", escaped, f)
	}
	r.must("web", "GET", "clips/results/"+escaped, "")
}
