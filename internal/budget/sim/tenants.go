package sim

import (
	"time"

	"github.com/clipferry/clipferry/internal/pace"
)

// Tenant is one of several that share the slots. Its exports come all at once.
type Tenant struct {
	Name    string
	Share   int
	Exports int
	At      time.Duration // after the run's start
}

// TenantFigures are what a run showed of one tenant.
type TenantFigures struct {
	First  float64 // seconds until its first export started
	Before int     // exports of others that started meanwhile
	Starts int
	// Times are when its exports started, in seconds after they came.
	Times []float64
}

// comeTenants makes the exports of each tenant come.
func (r *run) comeTenants() {
	r.figures.Tenants = map[string]*TenantFigures{}
	r.waiting = map[string][]*render{}
	for _, t := range r.Tenants {
		r.figures.Tenants[t.Name] = &TenantFigures{}
		r.after(t.At.Seconds(), func() {
			for range t.Exports {
				x := r.draw()
				x.tenant = t
				r.waiting[t.Name] = append(r.waiting[t.Name], x)
			}
			r.refillTenants()
			r.decide()
		})
	}
}

// refillTenants keeps two submits of each tenant in each worker's gate, as the workers
// do: the oldest first.
func (r *run) refillTenants() {
	for _, t := range r.Tenants {
		for len(r.waiting[t.Name]) > 0 && r.inGateOf(t.Name) < 2*r.Workers {
			x := r.waiting[t.Name][0]
			r.waiting[t.Name] = r.waiting[t.Name][1:]
			r.join(x, pace.Submit)
		}
	}
}

func (r *run) inGateOf(tenant string) int {
	n := 0
	for _, w := range r.state.Waiters {
		if w.Kind == pace.Submit && w.Tenant == tenant {
			n++
		}
	}
	return n
}

// startedFor counts the start for its tenant.
func (r *run) startedFor(x *render) {
	for name, f := range r.figures.Tenants {
		if name != x.tenant.Name && f.Starts == 0 && len(r.waiting[name])+r.inGateOf(name) > 0 {
			f.Before++
		}
	}
	f := r.figures.Tenants[x.tenant.Name]
	if f == nil {
		return
	}
	at := r.now.Sub(x.waitFrom).Seconds()
	if f.Starts == 0 {
		f.First = at
	}
	f.Starts++
	f.Times = append(f.Times, at)
}
