package worker

import (
	"sync"
	"time"

	"github.com/clipferry/clipferry/internal/export"
)

// unknownFor is for how long a task may be unknown to the provider while it knows no other
// of the account either: then its API, or what lies before it, is at fault.
const unknownFor = time.Hour

// unknownTasks are the exports of each account whose tasks the provider was found not to
// know by this worker, since it knew one.
type unknownTasks struct {
	mu sync.Mutex
	of map[string]map[string]bool
}

// add reports whether there are others besides the export.
func (u *unknownTasks) add(account, id string) (others bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.of == nil {
		u.of = map[string]map[string]bool{}
	}
	if u.of[account] == nil {
		u.of[account] = map[string]bool{}
	}
	u.of[account][id] = true
	return len(u.of[account]) > 1
}

// forget is for a task of the account that is known.
func (u *unknownTasks) forget(account string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.of, account)
}

// knowsNone reports whether the provider knows no task of the export's account, so that
// this one, which renders and has no link to go on by, is not given up for that.
func (w *Worker) knowsNone(r *export.Record) bool {
	if r.Imported() && r.Polls == 0 || r.Named { // a person may have named it wrong
		return false
	}
	others := w.unknown.add(w.accountName(r), r.ID)
	complete := len(r.Wanted) > 0 && r.ArchivedCount >= len(r.Wanted)
	return others && r.State == export.Rendering && r.ArchivedCount == r.ClipCount && !complete && !r.PastDeadline(w.now()) &&
		(r.Problem.Reason != export.ReasonTaskUnknown || w.now().Sub(r.Problem.Since) < unknownFor)
}
