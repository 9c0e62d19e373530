package budget

import "sync"

// clientPlaces is how many clients of one process wait for an account's turns: each is
// known to the whole fleet while it waits.
const clientPlaces = 128

// Places bounds how many wait at a time. No tenant may have more of them than it leaves
// free, so one is left for each that comes.
type Places struct {
	all int

	mu    sync.Mutex
	taken int
	of    map[string]int
}

// NewPlaces returns so many places, one at least.
func NewPlaces(all int) *Places { return &Places{all: max(1, all), of: map[string]int{}} }

// Enter takes a place until leave is called; ok is false if the tenant gets none.
func (p *Places) Enter(tenant string) (leave func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of[tenant] >= p.all-p.taken {
		return nil, false
	}
	p.taken++
	p.of[tenant]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.taken--
		if p.of[tenant]--; p.of[tenant] == 0 {
			delete(p.of, tenant)
		}
	}, true
}
