package archiveui

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/catalog"
)

const (
	pageSize  = 60
	maxFilter = 512 // bytes of one
)

// filter is what a view shows, as its address has it.
type filter struct {
	Text, Project, Tag, Label, Since, Until, Resolution, Ratio, Score, Order string
	Page                                                                     int
}

// fields are the parameters of the address, in its order.
func (f *filter) fields() []struct {
	name string
	at   *string
} {
	return []struct {
		name string
		at   *string
	}{
		{"q", &f.Text},
		{"project", &f.Project},
		{"tag", &f.Tag},
		{"label", &f.Label},
		{"since", &f.Since},
		{"until", &f.Until},
		{"resolution", &f.Resolution},
		{"ratio", &f.Ratio},
		{"score", &f.Score},
		{"sort", &f.Order},
	}
}

// orders are the ways to sort.
var orders = []choice{
	{Value: "", Name: "Newest first"},
	{Value: string(catalog.Oldest), Name: "Oldest first"},
	{Value: string(catalog.ByScore), Name: "Highest score"},
	{Value: string(catalog.Longest), Name: "Longest first"},
	{Value: string(catalog.Shortest), Name: "Shortest first"},
	{Value: string(catalog.ByTitle), Name: "Title, A to Z"},
}

// filterOf reads an address. What can't be understood is left out, so that an old
// or mistyped address still shows something.
func filterOf(q url.Values) filter {
	f := filter{Page: 1}
	for _, p := range f.fields() {
		if v := strings.TrimSpace(q.Get(p.name)); len(v) <= maxFilter {
			*p.at = v
		}
	}
	f.Text = shown(f.Text, maxFilter)
	for _, date := range []*string{&f.Since, &f.Until} {
		if _, err := time.Parse(time.DateOnly, *date); err != nil {
			*date = ""
		}
	}
	if n, err := strconv.ParseFloat(f.Score, 64); err != nil || !(n > 0) {
		f.Score = ""
	}
	if !slices.ContainsFunc(orders, func(c choice) bool { return c.Value == f.Order }) {
		f.Order = ""
	}
	if n, err := strconv.Atoi(q.Get("page")); err == nil && n > 1 && n < 1e6 {
		f.Page = n
	}
	return f
}

// values are the address's parameters again, without those that say nothing.
func (f filter) values() url.Values {
	q := url.Values{}
	for _, p := range f.fields() {
		if *p.at != "" {
			q.Set(p.name, *p.at)
		}
	}
	if f.Page > 1 {
		q.Set("page", strconv.Itoa(f.Page))
	}
	return q
}

func (f filter) query(v viewer) catalog.Query {
	q := catalog.Query{
		Text: f.Text, Tenant: v.tenant, Project: f.Project, Tag: f.Tag, Resolution: f.Resolution, Ratio: f.Ratio,
		Order: catalog.Order(f.Order), Offset: (f.Page - 1) * pageSize, Limit: pageSize,
	}
	if f.Label != "" {
		name, value, _ := strings.Cut(f.Label, "=")
		q.Labels = map[string]string{strings.TrimSpace(name): strings.TrimSpace(value)}
	}
	q.MinScore, _ = strconv.ParseFloat(f.Score, 64) // checked when it was read
	q.Since, _ = time.Parse(time.DateOnly, f.Since)
	if until, err := time.Parse(time.DateOnly, f.Until); err == nil {
		q.Before = until.AddDate(0, 0, 1)
	}
	return q
}

// chip is a filter that is set, with the address of the view without it.
type chip struct{ Name, Value, Without string }

func (f filter) chips(path string) []chip {
	names := map[string]string{
		"q": "Words", "project": "Project", "tag": "Tag", "label": "Label", "since": "Since", "until": "Until",
		"resolution": "Resolution", "ratio": "Ratio", "score": "Score at least",
	}
	words := map[string][]choice{"resolution": resolutions, "ratio": ratios}
	var chips []chip
	for _, p := range f.fields() {
		name, value := names[p.name], *p.at
		if value == "" || name == "" || path == projectPath && p.name == "project" {
			continue
		}
		without := f
		without.Page = 1
		for _, other := range without.fields() {
			if other.name == p.name {
				*other.at = ""
			}
		}
		chips = append(chips, chip{name, shown(nameOf(words[p.name], value), 80), without.href(path)})
	}
	return chips
}

const (
	allPath     = "/archive/"
	projectPath = "/archive/project"
)

func (f filter) href(path string) string {
	q := f.values()
	if path == projectPath {
		q.Set("id", q.Get("project"))
		q.Del("project")
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// card is a clip in a grid.
type card struct {
	Href, Poster         string
	Title, Length, Score string
	Project, Day         string
	At                   time.Time
	Tags                 []string
}

const maxTagsOnCard = 4

// cardOf is a clip under the address of its export.
func cardOf(l catalog.Line, base string) card {
	href := base + "/" + strconv.Itoa(l.Idx)
	c := card{
		Href: href, Title: titleOf(l), Length: clock(l.DurationMS), Project: shown(l.ProjectID, maxTitleShown),
		Day: day(l.ArchivedAt), At: l.ArchivedAt.UTC(), Score: scoreOf(l),
	}
	if l.Thumbnail != nil {
		c.Poster = href + "/poster"
	}
	for _, tag := range l.Tags {
		if tag = shown(tag, 60); tag != "" && len(c.Tags) < maxTagsOnCard {
			c.Tags = append(c.Tags, tag)
		}
	}
	return c
}

// scoreOf is the provider's score; empty where it gave none.
func scoreOf(l catalog.Line) string {
	if l.Score <= 0 {
		return ""
	}
	return decimal(l.Score)
}

// gridView is a page of a search.
type gridView struct {
	Path    string // of the form
	Filter  filter
	Heading string
	Total   int
	Cards   []card
	Chips   []chip
	Clear   string
	// More says that filters are set which are not shown when folded.
	More                        bool
	Orders, Resolutions, Ratios []choice
	Projects, Labels, Tags      []string // to choose from
	Exports                     []exportRow
	Sum                         string // of a project
	// Stale is when the list was last what the storage has, where that can't be said of now.
	Stale                          time.Time
	Previous, Next                 string
	First, Last, PageNo, PageCount int
}

func (u *UI) all(w http.ResponseWriter, r *http.Request, v visit) error {
	f := filterOf(r.URL.Query())
	view, err := u.search(r, v, f, allPath)
	if err != nil {
		return err
	}
	view.Heading = "All clips"
	if len(view.Chips) > 0 {
		view.Heading = "Clips found"
	}
	return u.render(w, r, http.StatusOK, v, "grid", view)
}

// project is the page of one project: its clips.
func (u *UI) project(w http.ResponseWriter, r *http.Request, v visit) error {
	q := r.URL.Query()
	q.Set("project", q.Get("id"))
	f := filterOf(q)
	if f.Project == "" {
		return errNotFound
	}
	view, err := u.search(r, v, f, projectPath)
	if err != nil {
		return err
	}
	exports := u.o.Clips.Project(v.viewer.tenant, f.Project)
	if len(exports) == 0 {
		return errNotFound
	}
	view.Heading = shown(f.Project, maxTitleShown)
	view.addExports(exports)
	return u.render(w, r, http.StatusOK, v, "grid", view)
}

func (u *UI) search(r *http.Request, v visit, f filter, path string) (gridView, error) {
	found, err := u.o.Clips.Search(r.Context(), f.query(v.viewer))
	if err != nil {
		return gridView{}, err
	}
	view := gridView{
		Path: path, Filter: f, Total: found.Total, Chips: f.chips(path),
		Orders: chosen(orders, f.Order), Resolutions: chosen(resolutions, f.Resolution), Ratios: chosen(ratios, f.Ratio),
		More: f.Tag != "" || f.Label != "" || f.Since != "" || f.Until != "" || f.Resolution != "" || f.Ratio != "" || f.Score != "" ||
			path == allPath && f.Project != "",
		PageNo: f.Page, PageCount: (found.Total + pageSize - 1) / pageSize,
		First: (f.Page-1)*pageSize + 1, Last: (f.Page-1)*pageSize + len(found.Clips),
	}
	clear := filter{Order: f.Order}
	if path == projectPath {
		clear.Project = f.Project
	}
	view.Clear = clear.href(path)
	for _, l := range found.Clips {
		view.Cards = append(view.Cards, cardOf(l, "/archive/exports/"+url.PathEscape(l.ExportID)))
		for _, tag := range l.Tags {
			if tag = shown(tag, 60); tag != "" && len(view.Tags) < pageSize && !slices.Contains(view.Tags, tag) {
				view.Tags = append(view.Tags, tag)
			}
		}
	}
	slices.Sort(view.Tags)
	if status := u.o.Clips.Status(); status.Err != nil {
		view.Stale = status.Synced
	}
	facets := u.o.Clips.Facets(v.viewer.tenant)
	view.Projects, view.Labels = mostFrequent(facets.Projects), mostFrequent(facets.Labels)
	turn := func(page int) string {
		f := f
		f.Page = page
		return f.href(path)
	}
	if f.Page > 1 {
		view.Previous = turn(f.Page - 1)
	}
	if f.Page < view.PageCount {
		view.Next = turn(f.Page + 1)
	}
	return view, nil
}

// maxChoices is how many values a field proposes; others can be typed.
const maxChoices = 100

func mostFrequent(facets []catalog.Facet) []string {
	var values []string
	for _, f := range facets[:min(len(facets), maxChoices)] {
		values = append(values, f.Value)
	}
	return values
}
