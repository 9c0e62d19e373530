package catalog

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Facet is a value that clips have in common, and how many have it.
type Facet struct {
	Value string
	Clips int
}

// Facets are the values to filter by, the most frequent first.
type Facets struct {
	Projects, Resolutions, Ratios []Facet
	Labels                        []Facet // as name=value
}

// Facets are those of a tenant's clips; of everybody's for nil.
func (x *Index) Facets(tenant *string) Facets {
	x.mu.RLock()
	defer x.mu.RUnlock()
	projects, resolutions, ratios, labels := map[uint32]int{}, map[uint32]int{}, map[uint32]int{}, map[string]int{}
	for i := range x.exports {
		e := &x.exports[i]
		n := len(e.clips)
		if n == 0 || tenant != nil && x.interned[e.tenant] != *tenant {
			continue
		}
		projects[e.project] += n
		resolutions[e.resolution] += n
		ratios[e.ratio] += n
		for name, value := range x.labels[e.labels] {
			labels[name+"="+value] += n
		}
	}
	text := func(n uint32) string { return x.interned[n] }
	return Facets{ranked(projects, text), ranked(resolutions, text), ranked(ratios, text), ranked(labels, asIs)}
}

func ranked[K comparable](counts map[K]int, text func(K) string) []Facet {
	var all []Facet
	for k, n := range counts {
		if v := text(k); v != "" {
			all = append(all, Facet{v, n})
		}
	}
	slices.SortFunc(all, func(a, b Facet) int { return cmp.Or(b.Clips-a.Clips, cmp.Compare(a.Value, b.Value)) })
	return all
}

// Summary is an export without its clips.
type Summary struct {
	ExportID, ExportTaskID, ExportName, Tenant string
	Labels                                     map[string]string
	Resolution, Ratio                          string
	CostUsage                                  float64
	CreatedAt, ArchivedAt                      time.Time
	Manifest                                   string
	Clips                                      int
	DurationMS                                 int64
}

// Project returns the exports of a tenant's project, newest first; those of all
// tenants for nil.
func (x *Index) Project(tenant *string, id string) []Summary {
	x.mu.RLock()
	defer x.mu.RUnlock()
	project, known := x.internOf[id]
	if !known {
		return nil
	}
	var all []Summary
	for i := range x.exports {
		e := &x.exports[i]
		if e.project != project || len(e.clips) == 0 || tenant != nil && x.interned[e.tenant] != *tenant {
			continue
		}
		s := Summary{
			ExportID: e.id, ExportTaskID: e.task, ExportName: e.name, Tenant: x.interned[e.tenant],
			Labels: maps.Clone(x.labels[e.labels]), Resolution: x.interned[e.resolution], Ratio: x.interned[e.ratio],
			CostUsage: e.cost, CreatedAt: time.UnixMilli(e.created).UTC(), ArchivedAt: time.UnixMilli(e.archived).UTC(),
			Manifest: e.manifest, Clips: len(e.clips),
		}
		for _, n := range e.clips {
			s.DurationMS += int64(x.rows[n].durationMS)
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Summary) int {
		return cmp.Or(b.ArchivedAt.Compare(a.ArchivedAt), cmp.Compare(a.ExportID, b.ExportID))
	})
	return all
}
