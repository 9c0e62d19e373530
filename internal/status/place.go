package status

import (
	"cmp"
	"slices"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/pace"
	"github.com/clipferry/clipferry/tasks"
)

// lanes returns whose queues there are of the account: the plain ones, of an empty
// name, and those of tenants that have their own.
func (l *Reader) lanes(account string, there []string) map[string][]string {
	plain := l.queuesOf(account)
	lanes := map[string][]string{"": plain}
	for _, name := range there {
		kind, as, tenant := tasks.ParseQueue(name)
		if tenant != "" && slices.Contains(plain, tasks.AccountQueue(kind, as)) {
			lanes[tenant] = append(lanes[tenant], name)
		}
	}
	return lanes
}

// before counts the exports in the queues that are served before this one. They are
// looked into by weight, so it is a rough measure.
func (l *lines) before(queues []string, q string) int {
	n := 0
	for _, earlier := range queues {
		if earlier == q {
			break
		}
		n += l.length[earlier]
	}
	return n
}

// ahead returns how many go before an export that has so many of its own tenant's
// before it in their queues: of those and of the others' the gate takes by their shares.
func (l *Reader) ahead(r *export.Record, own int, s *AccountStatus, line *lines) int {
	lanes := line.lanes[s.Name]
	mine := cmp.Or(r.Lane, tasks.DefaultTenant)
	var others []pace.Backlog
	for lane, queues := range lanes {
		name := cmp.Or(lane, tasks.DefaultTenant)
		if name == mine {
			own += s.Budget.Lines[name]
			continue
		}
		others = append(others, pace.Backlog{Waiting: line.queued(queues...) + s.Budget.Lines[name], Share: l.tenants[name]})
	}
	return pace.Before(own, l.tenants[mine], others)
}
