package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/index"
)

// testListByLabels holds lists by every combination of what exports are found by to a
// plain look at each export, page by page.
func testListByLabels(t *testing.T, e *env) {
	ctx := t.Context()
	rnd := rand.New(rand.NewPCG(1, 2))
	var all []*export.Record
	for i := range 150 {
		r := newRecord(fmt.Sprintf("e%03d", i))
		r.CreatedAt = noon.Add(time.Duration(rnd.IntN(40)) * time.Millisecond)
		r.ProjectID, r.Tenant, r.Batch = fmt.Sprint("p", rnd.IntN(2)), []string{"", "news"}[rnd.IntN(2)], []string{"", "b"}[rnd.IntN(2)]
		r.Labels = map[string]string{"show": fmt.Sprint(rnd.IntN(3)), "lang": fmt.Sprint(rnd.IntN(2))}
		if _, err := e.Create(ctx, r); err != nil {
			t.Fatal(err)
		}
		if rnd.IntN(2) == 0 {
			if _, err := e.Update(ctx, r.ID, cancel); err != nil {
				t.Fatal(err)
			}
			r.State = export.Canceled
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *export.Record) int {
		if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
			return c
		}
		return slices.Compare([]byte(b.ID), []byte(a.ID))
	})
	one := func(values ...string) string { return values[rnd.IntN(len(values))] }
	for range 60 {
		f := Filter{
			State: export.State(one("", "queued", "canceled", "failed")), Project: one("", "p0", "p1", "none"),
			Tenant: one("", "news", "default", "none"), Batch: one("", "b"), Labels: map[string]string{}, Limit: 1 + rnd.IntN(200),
		}
		if v := one("", "1", "9"); v != "" {
			f.Labels["show"] = v
		}
		if v := one("", "0", "1"); v != "" {
			f.Labels["lang"] = v
		}
		var want, got []string
		for _, r := range all {
			if f.Takes(r) && (f.Batch == "" || r.Batch == f.Batch) {
				want = append(want, r.ID)
			}
		}
		for {
			page, err := e.List(ctx, f, nil)
			must(t, err)
			got = append(got, ids(page)...)
			if len(page) < f.Limit || len(got) > len(want) {
				break
			}
			last := page[len(page)-1]
			f.Before, f.BeforeID = last.CreatedAt, last.ID
		}
		if !slices.Equal(got, want) {
			t.Errorf("List(%+v):\n%v, want\n%v", f, got, want)
		}
	}
	must(t, e.rdb.Del(ctx, Key("e000")).Err())
	must(t, e.Tidy(ctx, "e000"))
	for _, key := range AttributesOf(all[slices.IndexFunc(all, func(r *export.Record) bool { return r.ID == "e000" })]).Keys() {
		if e.rdb.ZScore(ctx, key, "e000").Err() == nil {
			t.Errorf("forgotten, and still in %s", key)
		}
	}
	if e.rdb.HExists(ctx, index.Of("e000"), "e000").Val() {
		t.Error("forgotten, and what it is found by is not")
	}
}
