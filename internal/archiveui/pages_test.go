package archiveui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/clipferry/clipferry/internal/catalog"
	"github.com/clipferry/clipferry/internal/verification"
)

func TestEachPage(t *testing.T) {
	s := newSite(t)
	s.add("interview", "show-1", []clipOf{
		{Title: "Why night trains matter", Desc: "Where the talk turns.", Tags: []string{"travel", "history"}, Score: 81, Seconds: 42},
		{Title: "Second", Seconds: 3},
	})
	for _, c := range []struct {
		path   string
		status int
		want   []string
	}{
		{"/archive/", 200, []string{"All clips", "2 clips", "Why night trains matter", "0:42", "show-1", "travel", ">81<", `src="/archive/exports/interview/0/poster"`}},
		{"/archive/?q=TRAINS+n%C3%ACght", 200, []string{"1 clip<", "Why <"[:4], "Clips found", `href="/archive/"`}},
		{"/archive/?q=nothing+like+it", 200, []string{"No clip is like that"}},
		{"/archive/?tag=Travel&score=50&sort=title&since=2020-01-01", 200, []string{"1 clip<", "Tag: <bdi>Travel", `/archive/?score=50&amp;since=2020-01-01&amp;sort=title`}},
		{"/archive/?page=7", 200, []string{"past the end"}},
		{"/archive/?page=-1&sort=nonsense&since=yesterday&score=x", 200, []string{"2 clips"}},
		{"/archive/projects", 200, []string{"1 project<", `href="/archive/project?id=show-1"`}},
		{"/archive/projects?name=none", 200, []string{"No project is called so"}},
		{"/archive/project?id=show-1", 200, []string{"show-1", "1 export, 45 s, 25 units", `href="/archive/exports/interview"`}},
		{"/archive/project?id=other", 404, []string{"There is nothing here"}},
		{"/archive/exports/interview", 200, []string{"What was ordered", "1080p", "Captions show", "25 units", "a whole video file", `value="1"`, "interview/zip"}},
		{"/archive/exports/interview/0", 200, []string{`src="/archive/exports/interview/0/play"`, "42 s", "0:15 – 0:57", "Next clip", "SHA-256", `href="/archive/?tag=travel"`}},
		{"/archive/exports/interview/0/share", 200, []string{"/archive/shared/", "interview/0\"", "1 day"}},
		{"/archive/exports/interview/00", 404, nil},
		{"/archive/exports/interview/2", 404, nil},
		{"/archive/exports/interview/0/manifest.json", 404, nil},
		{"/archive/exports/other", 404, nil},
		{"/archive/nothing", 404, []string{"There is nothing here", "To all clips"}},
		{"/archive/static/archive.css", 200, []string{"--ground"}},
		{"/archive/static/none.css", 404, nil},
		{"/archive/static/..%2Fpages%2Fgrid.html", 404, nil},
	} {
		resp, body := s.get(c.path)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d", c.path, resp.StatusCode)
		}
		for _, want := range c.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %q:\n%s", c.path, want, body)
			}
		}
		if got := resp.Header.Get("Content-Security-Policy"); !strings.Contains(got, "media-src 'self' "+s.s3.Endpoint+";") || strings.Contains(got, "unsafe") {
			t.Errorf("%s: policy %s", c.path, got)
		}
	}
	if got := s.log.String(); strings.Contains(got, "failed") {
		t.Errorf("log:\n%s", got)
	}
}

// TestNothingIsHTML: whatever a provider calls its clips, pages keep their shape: the
// elements of a page with hostile texts are those of one with harmless ones, and no
// attribute but those of ours holds any of them.
func TestNothingIsHTML(t *testing.T) {
	s := newSite(t)
	clips := hostileClips()
	s.add("hostile", `"><script>alert(1)</script>`, clips)
	paths := []string{"/archive/", "/archive/projects", "/archive/project?id=%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/archive/exports/hostile"}
	for i := range clips {
		paths = append(paths, fmt.Sprintf("/archive/exports/hostile/%d", i), fmt.Sprintf("/archive/exports/hostile/%d/share", i))
	}
	for _, q := range hostile {
		paths = append(paths, "/archive/?"+filter{Text: q, Tag: q, Project: q, Label: q, Since: q, Score: q, Order: q}.values().Encode())
	}
	for _, path := range paths {
		resp, body := s.get(path)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
		root, err := html.Parse(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for n := range root.Descendants() {
			if n.Type != html.ElementNode {
				continue
			}
			if n.Data == "script" && n.FirstChild != nil || n.Data == "style" || n.Data == "iframe" || n.Data == "svg" && n.Parent.Data != "a" {
				t.Errorf("%s: <%s> in %s", path, n.Data, n.Parent.Data)
			}
			for _, a := range n.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
					t.Errorf("%s: %s=%q", path, a.Key, a.Val)
				}
				if (a.Key == "href" || a.Key == "src" || a.Key == "action") && !strings.HasPrefix(a.Val, "/archive/") && !strings.HasPrefix(a.Val, s.URL+"/archive/") && a.Val != "#main" {
					t.Errorf("%s: leads to %q", path, a.Val)
				}
			}
		}
		if !strings.Contains(path, "?") && strings.ContainsAny(body, "\x00\x07\x1b\u202e\u2066") {
			t.Errorf("%s holds a character that is not to be seen", path)
		}
	}
}

func TestPagesOfMany(t *testing.T) {
	s := newSite(t)
	for e := range 5 {
		var clips []clipOf
		for i := range 26 {
			clips = append(clips, clipOf{Title: fmt.Sprintf("Clip %d-%d", e, i), Seconds: 10})
		}
		s.add(fmt.Sprintf("export-%d", e), "p", clips)
		s.pass(time.Minute)
	}
	seen := map[string]bool{}
	path := "/archive/"
	for range 4 {
		_, body := s.get(path)
		root, err := html.Parse(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		next := ""
		for n := range root.Descendants() {
			if n.Data != "a" {
				continue
			}
			attr := map[string]string{}
			for _, a := range n.Attr {
				attr[a.Key] = a.Val
			}
			if n.Parent.Data == "article" {
				seen[attr["href"]] = true
			}
			if attr["rel"] == "next" {
				next = attr["href"]
			}
		}
		if path = next; path == "" {
			break
		}
	}
	if len(seen) != 130 || path != "" {
		t.Errorf("%d clips on the pages, then %q", len(seen), path)
	}
}

// Until the catalog was read once there is nothing to show, and that is no empty archive.
func TestBeforeTheCatalogIsThere(t *testing.T) {
	s := newSite(t)
	s.add("e", "p", []clipOf{{Title: "A clip"}})
	link := s.shareLink("/archive/exports/e/0/share")
	for _, c := range []struct {
		status       catalog.Status
		page, shared int
		holds        string
	}{
		{catalog.Status{}, 503, 503, "The archive is being read"},
		{catalog.Status{Err: errors.New("no route")}, 503, 503, "The storage does not answer"},
		{catalog.Status{Loaded: true, Err: errors.New("no route"), Synced: time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC)}, 200, 200, "4 Mar 2026, 05:06 UTC"},
	} {
		s.is(c.status)
		resp, body := s.get("/archive/")
		shared, _ := s.get(link, nobody...)
		if resp.StatusCode != c.page || shared.StatusCode != c.shared || !strings.Contains(body, c.holds) || strings.Contains(body, "no route") {
			t.Errorf("%+v: %d, shared %d:\n%s", c.status, resp.StatusCode, shared.StatusCode, body)
		}
		if c.page == 503 && resp.Header.Get("Retry-After") == "" {
			t.Error("it does not say when to try again")
		}
	}
}

// A very large export comes in pages; a download of it is still the whole.
func TestAVeryLargeExport(t *testing.T) {
	s := newSite(t)
	lines := many(1)
	for i := 1; i < 450; i++ {
		l := lines[0]
		l.Idx, l.Title = i, fmt.Sprintf("Clip %d", i)
		lines = append(lines, l)
	}
	s.index.Add(lines...)
	for page, want := range map[string][]string{
		"":         {"1–200 of 450", ">Clip 199<", "?page=2", "450 clips"},
		"?page=3":  {"401–450 of 450", ">Clip 449<", "?page=2"},
		"?page=99": {"401–450 of 450"},
	} {
		resp, body := s.get("/archive/exports/exp_0" + page)
		if n := strings.Count(body, "<article"); resp.StatusCode != 200 || n == 0 || n > exportPageSize {
			t.Errorf("%q: %d, %d clips", page, resp.StatusCode, n)
		}
		for _, w := range want {
			if !strings.Contains(body, w) {
				t.Errorf("%q lacks %q", page, w)
			}
		}
	}
}

// The page of an export says when its files were last read again, and what was wrong.
func TestWhenAnExportWasVerified(t *testing.T) {
	var service *verification.Service
	s := newSite(t, func(o *Options) {
		o.Verified = func(ctx context.Context) (verification.State, error) { return service.State(ctx) }
	})
	service = verification.New(s.archive)
	m := s.add("e", "p", []clipOf{{Title: "First"}, {Title: "Second"}})
	page := func(want string) {
		t.Helper()
		s.pass(readVerifiedEvery)
		if _, body := s.get("/archive/exports/e"); !strings.Contains(body, want) {
			t.Errorf("no %q in:\n%s", want, body)
		}
	}
	page("<dt>Last verified</dt><dd>not yet</dd>")
	verify := func() {
		t.Helper()
		if _, err := service.Verify(t.Context(), verification.Part{Number: 1, Of: 1}, nil); err != nil {
			t.Fatal(err)
		}
	}
	verify()
	page("<dt>Last verified</dt><dd>" + time.Now().UTC().Format("2 Jan 2006, "))
	s.put(m.Clips[1].Key, "video/mp4", []byte("something else"))
	verify()
	page("clip-001-second.mp4 is not what was archived: it has 14 bytes instead of 11.")
	link := s.shareLink("/archive/exports/e/share")
	if _, body := s.get(link, nobody...); strings.Contains(body, "erified") || strings.Contains(body, "not what was archived") {
		t.Errorf("a shared page says what is for those who are signed in:\n%s", body)
	}
}

// The script stays small, and the pages load nothing from elsewhere.
func TestWhatIsEmbedded(t *testing.T) {
	script, err := embedded.ReadFile("static/archive.js")
	if err != nil || len(script) > 10_000 {
		t.Errorf("the script has %d bytes: %v", len(script), err)
	}
	for _, name := range []string{"static/archive.css", "static/archive.js"} {
		b, _ := embedded.ReadFile(name)
		if strings.Contains(string(b), "//cdn") || strings.Contains(string(b), "http:") || strings.Contains(string(b), "https:") || strings.Contains(string(b), "@import") {
			t.Errorf("%s loads something from elsewhere", name)
		}
	}
}
