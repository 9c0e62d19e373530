package catalog

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func search(t testing.TB, x *Index, q Query) Page {
	t.Helper()
	p, err := x.Search(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func titles(p Page) string {
	var all []string
	for _, l := range p.Clips {
		all = append(all, l.Title)
	}
	return strings.Join(all, "|")
}

func TestNormalize(t *testing.T) {
	for in, want := range map[string]string{
		"Hello  World ": "hello world", "ÉCOLE": "ecole", "Größe": "grosse", "ＡＢＣ１２": "abc12", "ｶﾞｷﾞ": "ガギ", "İstanbul": "istanbul",
		"Łódź Ærø": "lodz aero", "Ёлка": "елка", "한국": "한국", "שָׁלוֹם": "שלום", "مَرْحَبًا": "مرحبا", "हिन्दी": "हिन्दी",
		"a\u200bb\u202e\x00c\nd": "abc d", "ﬁn": "fin", "\xff": "", "": "", "ガ": "ガ", "Ꭰꭰ": "ꭰꭰ",
	} {
		if got := Normalize(in); got != want {
			t.Errorf("%q: %q instead of %q", in, got, want)
		}
	}
}

// Characters that are folded one by one give what the whole text gives.
func TestNormalizeOneByOne(t *testing.T) {
	some := rapid.StringOfN(rapid.OneOf(rapid.Rune(), rapid.RuneFrom([]rune("aA \u0301\u0308\u3099\uff9eｶかガ\u00b4\u11a8\u1161하각\u200døıßΣςﬁĳ\u0bc6\u0bbe\u09c7\u09be\u0323"))), 0, 20, -1)
	rapid.Check(t, func(t *rapid.T) {
		s := some.Draw(t, "text")
		if one, whole := Normalize(s), normalizeWhole(s); one != whole {
			t.Fatalf("%q: %q one by one, %q as a whole", s, one, whole)
		}
	})
	for r := range rune(0x20000) {
		if s := "x" + string(r) + "y"; Normalize(s) != normalizeWhole(s) {
			t.Fatalf("%q: %q one by one, %q as a whole", s, Normalize(s), normalizeWhole(s))
		}
	}
}

// Whatever a text is, each part of it is found, in whatever case; and what is
// normalised does not change any more.
func TestAnySubstringIsFound(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		title := rapid.String().Draw(rt, "title")
		if again := Normalize(Normalize(title)); again != Normalize(title) {
			rt.Fatalf("%q is %q, then %q", title, Normalize(title), again)
		}
		normal := []rune(Normalize(title))
		if len(normal) == 0 {
			return
		}
		from := rapid.IntRange(0, len(normal)-1).Draw(rt, "from")
		part := string(normal[from:rapid.IntRange(from+1, len(normal)).Draw(rt, "to")])
		x := NewIndex()
		x.Add(lineOf("e", 0, title), lineOf("e", 1, "another"))
		page, err := x.Search(context.Background(), Query{Text: part, Limit: 2})
		if err != nil || !strings.Contains(titles(page), title) {
			rt.Fatalf("%q is not found in %q", part, title)
		}
	})
}

func TestFilters(t *testing.T) {
	news := "news"
	x := NewIndex()
	x.Add(
		lineOf("a", 0, "Winter training", func(l *Line) {
			l.Desc, l.Tags, l.Score, l.DurationMS = "how climbers prepare", []string{"Économie", "sport"}, 80, 10_000
			l.Labels, l.Tenant, l.ProjectID = map[string]string{"show": "42"}, news, "p1"
		}),
		lineOf("b", 0, "Summer training", func(l *Line) {
			l.Tags, l.Score, l.DurationMS = []string{"sports"}, 90, 20_000
			l.ArchivedAt, l.Ratio, l.Resolution = archived.Add(time.Hour), "RATIO_9_16", "UHD_4K"
			l.Labels = map[string]string{"show": "43"}
		}),
		lineOf("c", 0, "autumn", func(l *Line) { l.ArchivedAt, l.DurationMS = archived.Add(2*time.Hour), 5_000 }),
	)
	for _, c := range []struct {
		q    Query
		want string
	}{
		{Query{}, "autumn|Summer training|Winter training"},
		{Query{Order: Oldest}, "Winter training|Summer training|autumn"},
		{Query{Order: ByTitle}, "autumn|Summer training|Winter training"},
		{Query{Order: ByScore}, "Summer training|Winter training|autumn"},
		{Query{Order: Longest}, "Summer training|Winter training|autumn"},
		{Query{Order: Shortest}, "autumn|Winter training|Summer training"},
		{Query{Text: "TRAIN winter"}, "Winter training"},
		{Query{Text: `"r tra"`}, "Summer training|Winter training"},
		{Query{Text: "“r tra”"}, "Summer training|Winter training"},
		{Query{Text: "„r tra“ «winter t»"}, "Winter training"},
		{Query{Text: `"training winter"`}, ""},
		{Query{Text: "climb"}, "Winter training"},
		{Query{Text: "econ"}, "Winter training"},
		{Query{Tag: "economie"}, "Winter training"},
		{Query{Tag: "sport"}, "Winter training"},
		{Query{Tenant: &news}, "Winter training"},
		{Query{Project: "p1"}, "Winter training"},
		{Query{Project: "P1"}, ""},
		{Query{Labels: map[string]string{"show": ""}}, "Summer training|Winter training"},
		{Query{Labels: map[string]string{"show": "43"}}, "Summer training"},
		{Query{Ratio: "RATIO_9_16"}, "Summer training"},
		{Query{Resolution: "UHD_4K", Text: "winter"}, ""},
		{Query{MinScore: 85}, "Summer training"},
		{Query{Since: archived.Add(time.Hour)}, "autumn|Summer training"},
		{Query{Before: archived.Add(time.Hour)}, "Winter training"},
		{Query{Offset: 1, Limit: 1}, "Summer training"},
		{Query{Offset: 9}, ""},
	} {
		if c.q.Limit == 0 {
			c.q.Limit = 10
		}
		if got := titles(search(t, x, c.q)); got != c.want {
			t.Errorf("%+v: %s", c.q, got)
		}
	}
	if f := x.Facets(nil); len(f.Projects) != 2 || f.Projects[0] != (Facet{"p", 2}) || len(f.Labels) != 2 || len(f.Ratios) != 1 {
		t.Errorf("%+v", f)
	}
	if f := x.Facets(&news); len(f.Projects) != 1 || f.Labels[0] != (Facet{"show=42", 1}) {
		t.Errorf("%+v", f)
	}
	if p := x.Project(nil, "p"); len(p) != 2 || p[0].ExportID != "c" || p[0].DurationMS != 5_000 {
		t.Errorf("%+v", p)
	}
	if p := x.Project(&news, "p"); p != nil {
		t.Errorf("another tenant's: %+v", p)
	}
}

// The pages of a search are together all that it finds, each once, in any order.
func TestPages(t *testing.T) {
	x := NewIndex()
	x.Add(corpus(10_000)...)
	for _, order := range Orders() {
		whole := search(t, x, Query{Text: "mountain", Order: order, Limit: 10_000})
		var paged []Line
		for offset := 0; offset < whole.Total; offset += 997 {
			p := search(t, x, Query{Text: "mountain", Order: order, Offset: offset, Limit: 997})
			if p.Total != whole.Total {
				t.Fatalf("%s: %d, then %d", order, whole.Total, p.Total)
			}
			paged = append(paged, p.Clips...)
		}
		if whole.Total < 1000 || !slices.EqualFunc(paged, whole.Clips, func(a, b Line) bool { return a.Key == b.Key }) {
			t.Errorf("%s: %d clips in pages of %d", order, len(paged), whole.Total)
		}
	}
}

func TestACanceledSearch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	x := NewIndex()
	x.Add(lineOf("e", 0, "t"))
	if _, err := x.Search(ctx, Query{}); err == nil {
		t.Error("no error")
	}
}
