package worker

import (
	"slices"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/queue"
)

// A worker is dead whose leases stay as they are for nine seconds, whatever its clock
// says, and only then.
func TestWhoseLeaseIsNotExtendedIsDead(t *testing.T) {
	known, began := holders{}, time.Now()
	at := func(d time.Duration, want []string, leases ...queue.Lease) {
		t.Helper()
		if got := known.silent("q", leases, began.Add(d)); !slices.Equal(got, want) {
			t.Errorf("after %v: %v are dead, want %v", d, got, want)
		}
	}
	lives := func(n float64) queue.Lease { return queue.Lease{TaskID: "lives", Until: n} }
	dies := queue.Lease{TaskID: "dies", Until: 99} // by a clock that is far off
	at(0, nil, dies, lives(1))
	at(4*time.Second, nil, dies, lives(2))
	at(8*time.Second, nil, dies, lives(2))
	at(12*time.Second, []string{"dies"}, dies, lives(3))
	at(16*time.Second, []string{"dies"}, dies, lives(4)) // as long as its task is there
	at(20*time.Second, nil, lives(5))
	at(24*time.Second, nil, dies, lives(6)) // taken anew
}
