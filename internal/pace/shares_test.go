package pace

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// line is waiters in a state without limits of slots or requests but by turns.
type line struct {
	*State
	now Instant
	n   int
}

func newLine() *line {
	l := &line{State: NewState(Limits{PerMinute: 6000, Slots: 1}), now: Instant(1_700_000_000_000_000)}
	l.Create(l.now)
	l.now = l.now.Add(time.Hour)
	return l
}

// join puts an export in line that came so long ago.
func (l *line) join(tenant string, share int, p Priority, ago time.Duration) {
	l.n++
	id := fmt.Sprintf("%s-%d", tenant, l.n)
	l.Join(id, Waiter{Export: id, Kind: Submit, Tenant: tenant, Share: share, Priority: p, Since: l.now.Add(-ago)}, l.now)
}

// next sends the one whose turn it is, and ends its render.
func (l *line) next() Waiter {
	l.now = l.now.Add(time.Second)
	c := l.Next(l.now)
	if c.Waiter == "" {
		return Waiter{}
	}
	w := *l.Waiters[c.Waiter]
	t := l.Claim(c.Waiter, l.now)
	l.Finish(c.Waiter, t, Outcome{Result: Answered, Accepted: true}, l.now, 0)
	l.Release(w.Export)
	return w
}

// TestTheFirstOfAnotherTenantGoesNext whatever another has in line, and since when.
func TestTheFirstOfAnotherTenantGoesNext(t *testing.T) {
	l := newLine()
	for i := range 50 {
		l.join("news", 1, Normal, time.Duration(100-i)*time.Hour)
	}
	for range 20 { // alone so far
		l.next()
	}
	l.join("sport", 1, Normal, 0)
	order := []string{}
	for range 2 {
		order = append(order, l.next().Tenant)
	}
	if !slices.Contains(order, "sport") {
		t.Errorf("went: %v", order)
	}
	l.join("art", 1, Normal, 0) // now that shares are counted
	if w := l.next(); w.Tenant != "art" {
		t.Errorf("%s went", w.Tenant)
	}
}

// TestSharesHoldAtEveryMoment between tenants that always have work, to within one
// export of each, in whatever order they come.
func TestSharesHoldAtEveryMoment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLine()
		shares := map[string]int{}
		total := 0
		for i := range rapid.IntRange(2, 4).Draw(t, "tenants") {
			name := fmt.Sprint("t", i)
			shares[name] = rapid.IntRange(1, 5).Draw(t, "share")
			total += shares[name]
		}
		refill := func() {
			for name, share := range shares {
				l.join(name, share, Normal, time.Duration(rapid.IntRange(0, 9000).Draw(t, "ago"))*time.Second)
			}
		}
		refill()
		went := map[string]int{}
		for n := 1; n <= 60; n++ {
			w := l.next()
			went[w.Tenant]++
			l.join(w.Tenant, shares[w.Tenant], Normal, time.Duration(rapid.IntRange(0, 9000).Draw(t, "ago"))*time.Second)
			for name, share := range shares {
				due := float64(n*share) / float64(total)
				if off := float64(went[name]) - due; off > 2.01 || off < -2.01 {
					t.Fatalf("after %d, %s with %d of %d went %d times", n, name, share, total, went[name])
				}
			}
		}
	})
}

// TestWhatIsNotUsedIsNotSaved: a tenant that was away has no more than its share later.
func TestWhatIsNotUsedIsNotSaved(t *testing.T) {
	l := newLine()
	for range 200 {
		l.join("news", 1, Normal, time.Hour)
	}
	l.join("sport", 1, Normal, time.Hour)
	for range 100 {
		l.next()
	}
	for range 20 {
		l.join("sport", 1, Normal, 0)
	}
	sport := 0
	for range 20 {
		if l.next().Tenant == "sport" {
			sport++
		}
	}
	if sport < 9 || sport > 12 {
		t.Errorf("sport went %d of 20 times", sport)
	}
}

// TestPrioritiesHoldBetweenTenants: a high one is before another's backlog, however
// old that is, and a low one is not for ever behind.
func TestPrioritiesHoldBetweenTenants(t *testing.T) {
	l := newLine()
	for range 40 {
		l.join("news", 1, Normal, 10*time.Hour)
	}
	l.join("sport", 1, Normal, 0)
	l.next()
	l.next()
	l.join("sport", 1, High, 0)
	l.join("sport", 1, Low, 0)
	if w := l.next(); w.Priority != High {
		t.Errorf("%s's %d went before the high one", w.Tenant, w.Priority)
	}
	if w := l.next(); w.Tenant != "news" {
		t.Errorf("then %s", w.Tenant)
	}
	l.now = l.now.Add(3 * time.Hour)
	l.next() // each flow has waited for long by now
	low := 0
	for range 3 {
		if l.next().Priority == Low {
			low++
		}
	}
	if low != 1 {
		t.Error("the low one still waits")
	}
}

// TestTheLineIsInTheOrderInWhichTheyGo with tenants and priorities, if nobody comes.
func TestTheLineIsInTheOrderInWhichTheyGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLine()
		for range rapid.IntRange(1, 20).Draw(t, "waiters") {
			l.join(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "tenant"), 1, Normal,
				time.Duration(rapid.IntRange(0, 3600).Draw(t, "ago"))*time.Second)
		}
		want := l.Line(l.now)
		if set, _ := l.Changes(); set["shares"] != "" {
			t.Fatal("looking at the line has changed it")
		}
		for i, export := range want {
			if w := l.next(); w.Export != export {
				t.Fatalf("%d.: %s, of %v", i, w.Export, want)
			}
		}
	})
}

// TestSharesAreStored and read back, and nothing is where one tenant is alone.
func TestSharesAreStored(t *testing.T) {
	l := newLine()
	l.join("news", 1, Normal, 0)
	l.next()
	if _, stored := l.Fields()["shares"]; stored {
		t.Error("one tenant alone is counted")
	}
	for range 3 {
		l.join("news", 2, Normal, time.Hour)
		l.join("sport", 1, Normal, time.Hour)
	}
	l.next()
	l.next()
	back := NewState(l.Limits)
	if err := back.Load(l.Fields()); err != nil {
		t.Fatal(err)
	}
	if a, b := l.next(), back.Waiters[back.Next(l.now).Waiter]; b == nil || a.Export != b.Export {
		t.Errorf("%+v goes, of what is stored %+v", a, b)
	}
}

func TestBefore(t *testing.T) {
	for _, c := range []struct {
		own, share, want int
		others           []Backlog
	}{
		{0, 1, 0, nil},
		{5, 1, 5, nil},
		{0, 1, 1, []Backlog{{10_000, 1}}},
		{0, 1, 3, []Backlog{{10_000, 3}}},
		{9, 1, 12, []Backlog{{3, 1}}},
		{5, 3, 7, []Backlog{{10_000, 1}}},
	} {
		if got := Before(c.own, c.share, c.others); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
