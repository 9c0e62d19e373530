package tasks

import (
	"testing"
	"time"
)

// TestATenantHasAQueueOnceWorkersHaveIt and shares the plain one before: no producer
// makes queues that nobody serves.
func TestATenantHasAQueueOnceWorkersHaveIt(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, address string) {
		c := newTestClient(t, address)
		in := func(id, account, tenant string) string {
			t.Helper()
			if _, err := c.Enqueue(t.Context(), Export{JobID: id, ProjectID: "p", Account: account, Tenant: tenant, Priority: PriorityLow}); err != nil {
				t.Fatal(err)
			}
			names, err := c.inspector.Queues()
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if info, err := c.inspector.GetTaskInfo(name, SubmitTaskID(id)); err == nil {
					return info.Queue
				}
			}
			return ""
		}
		if got := in("before", "", "news"); got != QueueSubmitLow {
			t.Errorf("%s", got)
		}
		if err := PublishServed(t.Context(), c.rdb, DefaultAccount, []string{"news"}, time.Now()); err != nil {
			t.Fatal(err)
		}
		c.servedAt = time.Time{} // what it knows is old
		for _, e := range [][4]string{
			{"news", "", "news", QueueSubmitLow + "@news"},
			{"other", "", "sport", QueueSubmitLow},
			{"default", "", DefaultTenant, QueueSubmitLow},
			{"eu", "eu", "news", QueueSubmitLow}, // no worker has the account
		} {
			if got := in(e[0], e[1], e[2]); got != e[3] {
				t.Errorf("%s is in %s, want %s", e[0], got, e[3])
			}
		}
		if err := PublishServed(t.Context(), c.rdb, "eu", []string{"sport"}, time.Now().Add(25*time.Hour)); err != nil {
			t.Fatal(err)
		}
		c.servedAt = time.Time{}
		if got := in("late", "", "news"); got != QueueSubmitLow {
			t.Errorf("a queue that no worker has had for a day still gets exports: %s", got)
		}
		if got := in("sport", "eu", "sport"); got != QueueSubmitLow+".eu@sport" {
			t.Errorf("%s", got)
		}
	})
}

func TestQueuesOfTenantsAreReadBack(t *testing.T) {
	for name, want := range map[string][3]string{
		"clipferry-submit": {"clipferry-submit", DefaultAccount, ""}, "clipferry-submit.eu": {"clipferry-submit", "eu", ""},
		"clipferry-submit@news": {"clipferry-submit", DefaultAccount, "news"}, "clipferry-submit-high.eu@news": {"clipferry-submit-high", "eu", "news"},
	} {
		kind, account, tenant := ParseQueue(name)
		if got := [3]string{kind, account, tenant}; got != want || TenantQueue(kind, account, tenant) != name {
			t.Errorf("%s: %v", name, got)
		}
	}
}
