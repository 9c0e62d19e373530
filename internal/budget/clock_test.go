package budget

import (
	"testing"
	"time"
)

func TestClockBounds(t *testing.T) {
	base := time.Now()
	at := func(ms int) time.Time { return base.Add(time.Duration(ms) * time.Millisecond) }
	// The store's clock is this one plus an hour.
	store := func(ms int) int64 { return at(ms).Add(time.Hour).UnixMicro() }
	var c clock
	check := func(ms, width int) {
		t.Helper()
		low, high, is := int64(c.low(at(ms))), int64(c.high(at(ms))), store(ms)
		if low > is || high < is || high-low > int64(width)*1000 {
			t.Fatalf("at %d ms: between %d and %d, is %d", ms, low-is, high-is, is)
		}
	}
	c.set(store(15), at(0), at(20)) // it was read somewhere on the way
	check(20, 20)
	check(5000, 20)
	c.set(store(6010), at(6000), at(6100)) // slower: the tighter one is kept
	check(6200, 20)
	c.set(store(7001), at(7000), at(7002))
	check(7100, 2)
	c.set(store(60050), at(60000), at(60100)) // slower, but the other is old
	check(60200, 100)
	// The clock jumps back: what was believed of it is no longer true.
	c.set(store(61000)-10_000_000, at(61000), at(61500))
	if low := int64(c.low(at(61500))); low > store(61500)-10_000_000 {
		t.Fatalf("still believes in the clock before it jumped: %d", low-store(61500))
	}
}
