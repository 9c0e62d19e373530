package catalog

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Order is what a search is sorted by.
type Order string

// The orders. Clips that are equal in one come as in Newest.
const (
	Newest   Order = "newest" // archived last comes first; the default
	Oldest   Order = "oldest"
	ByTitle  Order = "title"
	ByScore  Order = "score" // highest first
	Longest  Order = "longest"
	Shortest Order = "shortest"
)

// Orders are all orders.
func Orders() []Order { return []Order{Newest, Oldest, ByTitle, ByScore, Longest, Shortest} }

// Query is a search. The zero value finds everything.
type Query struct {
	// Text are words that have to be in the title, the description or the tags of a
	// clip, all of them, as a part of any word; "quoted" ones stay together.
	Text string
	// Tenant is the one whose clips are searched; nil for those of all.
	Tenant *string
	// Project, Resolution and Ratio are compared as they are, Tag without case and
	// accents; empty for any.
	Project, Tag, Resolution, Ratio string
	// Labels have to be on the export; an empty value stands for any.
	Labels map[string]string
	// Since and Before bound when a clip was archived.
	Since, Before time.Time
	MinScore      float64
	Order         Order
	// Offset and Limit choose the page; Limit 0 counts only.
	Offset, Limit int
}

// Page is a part of what a search found.
type Page struct {
	Total int // of all pages
	Clips []Line
}

// Search returns the clips that q finds. The only error is that of ctx.
func (x *Index) Search(ctx context.Context, q Query) (Page, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	m, possible := x.matcher(q)
	if !possible || x.live == 0 {
		return Page{}, ctx.Err()
	}
	found, total := x.scan(ctx, m, q)
	if err := ctx.Err(); err != nil {
		return Page{}, err
	}
	page := Page{Total: total}
	for _, n := range found[min(max(0, q.Offset), len(found)):] {
		page.Clips = append(page.Clips, x.line(&x.rows[n]))
	}
	return page, nil
}

// portion is how many clips are scanned between two looks at the context.
const portion = 4096

// scan goes through all clips on all cores. It returns the first of those that
// match, up to the end of the page, in order, and how many match.
func (x *Index) scan(ctx context.Context, m *matcher, q Query) (first []uint32, total int) {
	want := max(0, q.Offset) + max(0, q.Limit)
	compare := x.comparison(q.Order)
	var next atomic.Int64
	var mu sync.Mutex
	var group sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(x.rows)/portion+1) {
		group.Go(func() {
			count := 0
			best := leading{want: want, compare: compare}
			for ctx.Err() == nil {
				from := int(next.Add(portion)) - portion
				if from >= len(x.rows) {
					break
				}
				for n := from; n < min(from+portion, len(x.rows)); n++ {
					if m.matches(&x.rows[n]) {
						count++
						best.add(uint32(n))
					}
				}
			}
			mu.Lock()
			defer mu.Unlock()
			total += count
			first = append(first, best.rows...)
		})
	}
	group.Wait()
	slices.SortFunc(first, compare)
	return first[:min(want, len(first))], total
}

// leading keeps the first of the rows that are added, as many as are wanted; more
// for a while, so that it need not sort each time.
type leading struct {
	want    int
	compare func(a, b uint32) int
	rows    []uint32
	full    bool // rows[want-1] is the last that counts
}

func (l *leading) add(n uint32) {
	if l.want == 0 || l.full && l.compare(n, l.rows[l.want-1]) > 0 {
		return
	}
	l.rows = append(l.rows, n)
	if len(l.rows) >= 2*l.want+64 {
		slices.SortFunc(l.rows, l.compare)
		l.rows = l.rows[:l.want]
		l.full = true
	}
}

// comparison is how two rows compare in an order. No two are equal.
func (x *Index) comparison(o Order) func(a, b uint32) int {
	newest := func(a, b uint32) int {
		ra, rb := &x.rows[a], &x.rows[b]
		ea, eb := &x.exports[ra.export], &x.exports[rb.export]
		return cmp.Or(cmp.Compare(eb.archived, ea.archived), cmp.Compare(ea.id, eb.id), cmp.Compare(ra.idx, rb.idx))
	}
	by := func(compare func(a, b *row) int) func(a, b uint32) int {
		return func(a, b uint32) int { return cmp.Or(compare(&x.rows[a], &x.rows[b]), newest(a, b)) }
	}
	switch o {
	case Oldest:
		return func(a, b uint32) int { return newest(b, a) }
	case ByTitle:
		return func(a, b uint32) int {
			if c := bytes.Compare(x.title(&x.rows[a]), x.title(&x.rows[b])); c != 0 {
				return c
			}
			return newest(a, b)
		}
	case ByScore:
		return by(func(a, b *row) int { return cmp.Compare(b.score, a.score) })
	case Longest:
		return by(func(a, b *row) int { return cmp.Compare(b.durationMS, a.durationMS) })
	case Shortest:
		return by(func(a, b *row) int { return cmp.Compare(a.durationMS, b.durationMS) })
	}
	return newest
}

// title is the normalised one.
func (x *Index) title(r *row) []byte {
	text := x.texts.get(r.text)
	return text[:bytes.IndexByte(text, '\n')]
}

// matcher is a query against the index as it is.
type matcher struct {
	x        *Index
	exports  []bool // which of them match, nil for all
	terms    []term
	minScore float32
}

// matcher returns false where nothing can match.
func (x *Index) matcher(q Query) (*matcher, bool) {
	m := &matcher{x: x, minScore: float32(math.Inf(-1))}
	if q.MinScore != 0 {
		m.minScore = float32(q.MinScore)
	}
	for _, text := range termsOf(q.Text) {
		m.terms = append(m.terms, x.term(text))
	}
	if q.Tag != "" {
		m.terms = append(m.terms, x.term(tagMark+Normalize(q.Tag)+tagMark))
	}
	slices.SortFunc(m.terms, func(a, b term) int { return cmp.Compare(a.frequency, b.frequency) })
	byExport := q.Tenant != nil || q.Project != "" || q.Resolution != "" || q.Ratio != "" || len(q.Labels) > 0 || !q.Since.IsZero() || !q.Before.IsZero()
	if !byExport {
		return m, true
	}
	m.exports = make([]bool, len(x.exports))
	some := false
	for i := range x.exports {
		m.exports[i] = x.exportMatches(&x.exports[i], &q)
		some = some || m.exports[i]
	}
	return m, some
}

func (x *Index) exportMatches(e *exportRow, q *Query) bool {
	is := func(n uint32, want string) bool { return want == "" || x.interned[n] == want }
	if q.Tenant != nil && x.interned[e.tenant] != *q.Tenant ||
		!is(e.project, q.Project) || !is(e.resolution, q.Resolution) || !is(e.ratio, q.Ratio) {
		return false
	}
	for name, value := range q.Labels {
		if has, ok := x.labels[e.labels][name]; !ok || value != "" && has != value {
			return false
		}
	}
	return (q.Since.IsZero() || e.archived >= q.Since.UnixMilli()) && (q.Before.IsZero() || e.archived < q.Before.UnixMilli())
}

func (m *matcher) matches(r *row) bool {
	if r.gone || m.exports != nil && !m.exports[r.export] || r.score < m.minScore {
		return false
	}
	if len(m.terms) == 0 {
		return true
	}
	text := m.x.texts.get(r.text)
	for i := range m.terms {
		if !m.terms[i].in(text) {
			return false
		}
	}
	return true
}

// term is what a text has to contain. It is looked for by the byte of it that is the
// rarest in all texts: in most scripts the first one is in every word.
type term struct {
	text      []byte
	rarest    int // its place in text
	frequency int64
}

func (x *Index) term(text string) term {
	t := term{text: []byte(text), frequency: x.bytes[text[0]]}
	for i := range len(text) {
		if n := x.bytes[text[i]]; n < t.frequency {
			t.rarest, t.frequency = i, n
		}
	}
	return t
}

func (t *term) in(text []byte) bool {
	for at := t.rarest; at < len(text); at++ {
		next := bytes.IndexByte(text[at:], t.text[t.rarest])
		if next < 0 {
			return false
		}
		at += next
		if bytes.HasPrefix(text[at-t.rarest:], t.text) {
			return true
		}
	}
	return false
}
