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
	known.done("q", "dies")
	at(20*time.Second, nil, dies, lives(5)) // for which nothing is left to do
	dies.Until++                            // taken anew
	at(24*time.Second, nil, dies, lives(6))
	at(33*time.Second, []string{"dies"}, dies, lives(7))
	at(36*time.Second, nil, lives(8))
	at(39*time.Second, nil, dies, lives(9)) // taken anew
}
