package pace

import (
	"slices"
	"strconv"
)

// Exports of several tenants share the slots by weighted fair queueing. A tenant's
// exports of one priority are a flow, with its oldest first. Each export that is sent
// moves its flow's virtual time on by one over the tenant's share, and of those that
// wait the flow goes that is behind most: so a backlog of ten thousand delays the
// first export of another tenant by no more than its own share. What a tenant did not
// use is not saved up.
//
// Between priorities the place in line decides, as it does within one tenant: but of a
// flow it counts from when the flow last had its turn, for the oldest of a long backlog
// would come before everybody else's high ones for as long as it lasts.

// Shares is how far each flow is. It is empty until two tenants wait at the same time.
type Shares struct {
	// Now is the virtual time of each priority, from [Low] on.
	Now   [3]float64      `json:"v"`
	Flows map[string]flow `json:"f,omitempty"`
}

type flow struct {
	Finish float64 `json:"f"` // virtual time at the end of what was sent
	Last   Instant `json:"l"` // when something was last sent
}

// flowForgotten is after how long a flow is forgotten of which nothing was sent: after
// more than any [Priority.Shift], and it is no longer behind by then.
const flowForgotten = 6 * 60 * 60 * 1_000_000

func (w *Waiter) flow() string { return w.Tenant + "/" + strconv.Itoa(int(w.Priority)) }

// share is what the tenant counts for.
func (w *Waiter) share() float64 {
	if w.Share <= 0 {
		return 1
	}
	return float64(w.Share)
}

func (s *Shares) now(p Priority) *float64 { return &s.Now[max(Low, min(p, High))-Low] }

// start is the virtual time at which the flow's next export begins. One that has been
// idle may be behind by one export and no more.
func (s *Shares) start(w *Waiter) float64 {
	return max(s.Flows[w.flow()].Finish, *s.now(w.Priority)-1/w.share())
}

// sent notes that the waiter's export is sent at now.
func (s *Shares) sent(w *Waiter, now Instant) {
	start := s.start(w)
	v := s.now(w.Priority)
	*v = max(*v, start)
	flows := map[string]flow{w.flow(): {start + 1/w.share(), now}}
	for name, f := range s.Flows {
		if _, sent := flows[name]; !sent && f.Last+flowForgotten > now {
			flows[name] = f
		}
	}
	s.Flows = flows
}

// shared notes whose submit is sent, if there is anybody to share with.
func (s *State) shared(w *Waiter, now Instant) {
	if len(s.Shares.Flows) == 0 && !s.tenantsWait(w) {
		return
	}
	s.Shares.sent(w, now)
	s.touch(fieldShares, "")
}

// tenantsWait says whether an export of another tenant than w's waits.
func (s *State) tenantsWait(w *Waiter) bool {
	for _, other := range s.Waiters {
		if other.Kind == Submit && other.Tenant != w.Tenant && !Passed(other.Export) {
			return true
		}
	}
	return false
}

// fairest returns which of those that wait goes next, first being the one by place in
// line. taken counts by flow what has a slot already and is not sent.
func (s *State) fairest(first string, waiting []string, taken map[string]int) string {
	f := s.Waiters[first]
	rivals := slices.DeleteFunc(slices.Clone(waiting), func(id string) bool {
		w := s.Waiters[id]
		return s.holdsSlot(w) != s.holdsSlot(f) || Passed(w.Export) != Passed(f.Export)
	})
	if !slices.ContainsFunc(rivals, func(id string) bool { return s.Waiters[id].Tenant != f.Tenant }) {
		return first
	}
	heads := map[string]string{}
	for _, id := range rivals {
		name := s.Waiters[id].flow()
		if head := heads[name]; head == "" || s.before(id, head) {
			heads[name] = id
		}
	}
	priority := f.Priority
	earliest := Never
	for _, id := range heads {
		w := s.Waiters[id]
		if at := s.turnSince(w); at < earliest || at == earliest && w.Priority > priority {
			earliest, priority = at, w.Priority
		}
	}
	best, least := "", 0.0
	for name, id := range heads {
		w := s.Waiters[id]
		if w.Priority != priority {
			continue
		}
		tag := s.Shares.start(w) + float64(taken[name])/w.share()
		if best == "" || tag < least || tag == least && s.before(id, best) {
			best, least = id, tag
		}
	}
	return best
}

// turnSince is the place in line of a flow's first: since it came, or since the flow
// last had its turn.
func (s *State) turnSince(w *Waiter) Instant {
	last := s.Shares.Flows[w.flow()].Last
	if last == 0 {
		return w.place()
	}
	return max(w.place(), last.Add(w.Priority.Shift()))
}

// taken counts, by flow, the submits that have a slot and are not sent yet.
func (s *State) taken() map[string]int {
	taken := map[string]int{}
	for _, w := range s.Waiters {
		if w.Kind == Submit && w.Stage >= Preparing && s.Renders[w.Export] == nil {
			taken[w.flow()]++
		}
	}
	return taken
}

// fairLine puts waiting submits, in order of their places, into the order in which
// they go if nobody else comes.
func (s *State) fairLine(waiting []string, now Instant) []string {
	if len(waiting) == 0 || !slices.ContainsFunc(waiting, func(id string) bool { return s.Waiters[id].Tenant != s.Waiters[waiting[0]].Tenant }) {
		return waiting
	}
	shares := s.Shares // what is tried here must not stay
	defer func() { s.Shares = shares }()
	line := make([]string, 0, len(waiting))
	for rest := slices.Clone(waiting); len(rest) > 0; {
		next := s.fairest(rest[0], rest, nil)
		s.Shares.sent(s.Waiters[next], now)
		line = append(line, next)
		rest = slices.DeleteFunc(rest, func(id string) bool { return id == next })
	}
	return line
}

// Backlog is what waits of one tenant, and what it counts for.
type Backlog struct {
	Waiting int
	Share   int
}

// Before returns how many exports go before the one that has so many of its own
// tenant's before it, while others wait as well.
func Before(own, share int, others []Backlog) int {
	n := own
	for _, o := range others {
		n += min(o.Waiting, (own+1)*max(1, o.Share)/max(1, share))
	}
	return n
}
