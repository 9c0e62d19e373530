package pace

import (
	"fmt"
	"testing"
	"time"
)

// TestTenantsTakeTurnsAtRequestsWithoutASlot: however many one has in line, the next but
// few is another's.
func TestTenantsTakeTurnsAtRequestsWithoutASlot(t *testing.T) {
	l := newLine()
	ask := func(tenant string, n int) {
		for range n {
			l.n++
			id := fmt.Sprintf("%s-%d", tenant, l.n)
			l.Join(id, Waiter{Export: PassedPrefix + id, Kind: Other, Tenant: tenant}, l.now)
			l.now = l.now.Add(time.Millisecond)
		}
	}
	ask("news/imports", 50)
	for range 3 {
		l.next()
	}
	ask("news", 2)
	ask("sport", 1)
	went := map[string]int{}
	var first Waiter
	for range 4 {
		w := l.next()
		went[w.Tenant]++
		if w.Tenant == "news" && first.Export == "" {
			first = w
		}
	}
	if went["sport"] != 1 || went["news"] < 1 || first.Export != PassedPrefix+"news-51" {
		t.Errorf("went %v, of news first %s", went, first.Export)
	}
}
