package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/index"
)

func testTrim(t *testing.T, e *env) {
	ctx := t.Context()
	old := noon.Add(-2 * DefaultRetention)
	at := func(id string, created time.Time) {
		r := newRecord(id)
		r.CreatedAt = created
		if strings.HasPrefix(id, "gone1") { // 11 of the 30
			r.State = export.Archived
		}
		if _, err := e.Create(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	for i := range pageSize + 50 { // many that are old and still there
		at(fmt.Sprintf("kept%03d", i), old)
	}
	for i := range 30 {
		at(fmt.Sprint("gone", i), old.Add(time.Hour))
		must(t, e.rdb.Del(ctx, Key(fmt.Sprint("gone", i))).Err())
	}
	at("young", noon)
	must(t, e.rdb.Del(ctx, Key("young")).Err())
	if n, err := e.Trim(ctx, noon, 20); n != 20 || err != nil {
		t.Fatalf("Trim = %d, %v; want its limit of 20", n, err)
	}
	if n, err := e.Trim(ctx, noon, 20); n != 10 || err != nil {
		t.Fatalf("the second Trim = %d, %v; want the other 10", n, err)
	}
	if n := e.rdb.ZCard(ctx, index.Rest).Val(); n != pageSize+50+1 {
		t.Errorf("%d entries are left, want %d", n, pageSize+50+1)
	}
	if n := e.rdb.ZCard(ctx, index.State("queued")).Val(); n != pageSize+50+1 {
		t.Errorf("%d entries are left among the queued, want %d", n, pageSize+50+1)
	}
	if n := e.rdb.ZCard(ctx, index.Archived).Val(); n != 0 {
		t.Errorf("%d entries are left among the archived", n)
	}
	if e.open(t, "gone0") {
		t.Error("a trimmed export is still among the open ones")
	}
}

func testList(t *testing.T, e *env) {
	ctx := t.Context()
	for i := range 10 {
		r := newRecord(fmt.Sprint("e", i))
		r.CreatedAt = noon.Add(time.Duration(i) * time.Second)
		r.ProjectID = fmt.Sprint("p", i%2)
		if _, err := e.Create(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range []int{3, 4, 7} {
		e.update(t, fmt.Sprint("e", i), accept)
	}
	must(t, e.rdb.Del(ctx, Key("e0")).Err()) // forgotten by Redis, not yet trimmed
	e.swapOnly(t, "e7", fail)                // and one whose index is behind
	for _, c := range []struct {
		filter Filter
		want   string
	}{
		{Filter{}, "[e9 e8 e7 e6 e5 e4 e3 e2 e1]"},
		{Filter{Limit: 3}, "[e9 e8 e7]"},
		{Filter{Project: "p1"}, "[e9 e7 e5 e3 e1]"},
		{Filter{Project: "p1", Limit: 2}, "[e9 e7]"},
		{Filter{State: export.Rendering}, "[e4 e3]"},
		{Filter{State: export.Rendering, Project: "p0"}, "[e4]"},
		{Filter{State: export.Archived}, "[]"},
		{Filter{Before: noon.Add(3 * time.Second)}, "[e2 e1]"},
		{Filter{Before: noon.Add(3 * time.Second), BeforeID: "e3"}, "[e2 e1]"},
		{Filter{State: export.Queued, Before: noon.Add(9 * time.Second), Limit: 2}, "[e8 e6]"},
		{Filter{Project: "none"}, "[]"},
	} {
		found, err := e.List(ctx, c.filter, nil)
		must(t, err)
		if got := fmt.Sprint(ids(found)); got != c.want {
			t.Errorf("List(%+v) = %s, want %s", c.filter, got, c.want)
		}
	}
}

// What is broken under one id, by whoever writes to the same Redis, is one entry of a
// list and not the end of it.
func testListWithBrokenRecords(t *testing.T, e *env) {
	ctx := t.Context()
	for i := range 4 {
		r := newRecord(fmt.Sprint("e", i))
		r.CreatedAt = noon.Add(time.Duration(i) * time.Second)
		if _, err := e.Create(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	must(t, e.rdb.Del(ctx, Key("e1")).Err())
	must(t, e.rdb.Set(ctx, Key("e1"), "not a record", 0).Err())
	must(t, e.rdb.HSet(ctx, Key("e2"), fieldDoc, `{"id":`).Err())
	for _, f := range []Filter{{}, {State: export.Queued}} {
		found, err := e.List(ctx, f, nil)
		must(t, err)
		if got := fmt.Sprint(ids(found)); got != "[e3 e2 e1 e0]" {
			t.Fatalf("List(%+v) = %s", f, got)
		}
		for _, r := range found[1:3] {
			if r.State != export.Unreadable || r.Problem.Reason != export.ReasonRecordUnreadable || r.Problem.Detail == "" || r.CreatedAt.IsZero() {
				t.Errorf("%s: %s, %+v", r.ID, r.State, r.Problem)
			}
		}
	}
	if found, err := e.List(ctx, Filter{Project: "p"}, nil); err != nil || len(found) > 2 {
		t.Errorf("of a project: %v, %v", ids(found), err)
	}
}

// A list holds no more of each export than it shows.
func testListIsLean(t *testing.T, e *env) {
	r := newRecord("e0")
	r.Notify, r.Trace = json.RawMessage(`{"webhook":"https://h/"}`), map[string]string{"traceparent": "x"}
	if _, err := e.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	found, err := e.List(t.Context(), Filter{}, nil)
	must(t, err)
	if len(found) != 1 || found[0].Request != nil || found[0].Notify != nil || found[0].Trace != nil {
		t.Errorf("%+v", found)
	}
}

func ids(records []*export.Record) []string {
	ids := []string{}
	for _, r := range records {
		ids = append(ids, r.ID)
	}
	return ids
}

// Pages hold every export once, in order: also where a border falls between
// exports of one millisecond, and while new ones come in.
func testPages(t *testing.T, e *env) {
	ctx := t.Context()
	const n = 2*pageSize + 37
	var want []string
	p := e.rdb.Pipeline()
	for i := range n {
		r := newRecord(fmt.Sprintf("e%04d", i))
		r.CreatedAt = noon.Add(time.Duration(i/(n-20)) * time.Millisecond) // all but the last few at once
		if i%50 == 0 {
			if _, err := e.Create(ctx, r); err != nil {
				t.Fatal(err)
			}
		} else { // the same, faster
			p.HSet(ctx, Key(r.ID), "ver", 1, "doc", asDoc(t, r))
			p.ZAdd(ctx, index.Rest, redis.Z{Score: created(r), Member: r.ID})
		}
		want = append(want, r.ID)
	}
	_, err := p.Exec(ctx)
	must(t, err)
	slices.Reverse(want)
	all, err := e.List(ctx, Filter{Limit: n + 1}, nil)
	must(t, err)
	if got := ids(all); !slices.Equal(got, want) {
		t.Fatalf("one list: %d of %d, or out of order", len(got), n)
	}
	for _, limit := range []int{33, pageSize} {
		var got []string
		f := Filter{Limit: limit}
		for {
			page, err := e.List(ctx, f, nil)
			must(t, err)
			got = append(got, ids(page)...)
			if len(page) < limit || len(got) > 2*n { // in circles
				break
			}
			last := page[len(page)-1]
			f.Before, f.BeforeID = last.CreatedAt, last.ID
			fresh := newRecord(fmt.Sprintf("new%d-%04d", limit, len(got)))
			fresh.CreatedAt = noon.Add(time.Hour)
			if _, err := e.Create(ctx, fresh); err != nil {
				t.Fatal(err)
			}
		}
		got = slices.DeleteFunc(got, func(id string) bool { return id[0] == 'n' }) // those of the round before
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %d of %d, or out of order", limit, len(got), n)
		}
	}
}

// A crash between index and record, or an id that is used again, may leave an
// export in the index elsewhere than its creation says: whoever goes on from page
// to page must come to the end all the same, with each export once.
func testPagesEnd(t *testing.T, e *env) {
	ctx := t.Context()
	put := func(id string, place, created time.Time) {
		r := newRecord(id)
		r.CreatedAt = created
		must(t, e.rdb.HSet(ctx, Key(id), "ver", 1, "doc", asDoc(t, r)).Err())
		must(t, e.rdb.ZAdd(ctx, index.Rest, redis.Z{Score: float64(place.UnixMilli()), Member: id}).Err())
	}
	put("a", noon, noon)
	put("b", noon.Add(time.Second), noon.Add(time.Hour)) // its cursor would lead back
	put("c", noon.Add(2*time.Second), noon.Add(2*time.Second))
	put("d", noon.Add(3*time.Second), noon.Add(-time.Hour)) // its cursor would lead past others
	must(t, e.rdb.ZAdd(ctx, index.Rest, redis.Z{Score: float64(noon.UnixMilli()), Member: ""}).Err())
	var got []string
	for f := (Filter{Limit: 1}); ; {
		within, cancel := context.WithTimeout(ctx, 10*time.Second)
		page, err := e.List(within, f, nil)
		cancel()
		must(t, err)
		got = append(got, ids(page)...)
		if len(page) == 0 || len(got) > 4 {
			break
		}
		f.Before, f.BeforeID = page[0].CreatedAt, page[0].ID
	}
	if want := []string{"d", "c", "b", "a"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The list shows an export where it was created, even if it was announced before
// by a worker that died, or under an id that an older one had.
func testPlacedByItsCreation(t *testing.T, e *env) {
	ctx := t.Context()
	r := newRecord("a")
	r.CreatedAt = noon
	must(t, e.enterOpen(ctx, r, 1))
	r.CreatedAt = noon.Add(time.Minute)
	if _, err := e.Create(ctx, r); err != nil {
		t.Fatal(err)
	}
	if got := e.rdb.ZScore(ctx, index.Rest, "a").Val(); got != created(r) {
		t.Errorf("it stands at %.0f, want %.0f", got, created(r))
	}
}

func asDoc(t *testing.T, r *export.Record) string {
	t.Helper()
	r.Clips = nil
	s := asJSON(t, r)
	return s[:len(s)-len("null")]
}

func testCounts(t *testing.T, e *env) {
	for i := range 7 {
		e.create(t, fmt.Sprint("e", i))
	}
	for i := range 3 {
		e.update(t, fmt.Sprint("e", i), accept)
	}
	e.update(t, "e0", fail)
	got, err := e.Counts(t.Context())
	must(t, err)
	maps.DeleteFunc(got, func(_ export.State, n int64) bool { return n == 0 })
	want := map[export.State]int64{export.Queued: 4, export.Rendering: 2, export.Failed: 1}
	if !maps.Equal(got, want) {
		t.Errorf("Counts = %v, want %v", got, want)
	}
}
