package archiveui

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/storage"
)

var sharedLink = regexp.MustCompile(`value="(http://[^"]+/archive/shared/[^"]+)"`)

// shareLink is the link that the page at path makes.
func (s *site) shareLink(path string) string {
	s.t.Helper()
	_, body := s.get(path)
	m := sharedLink.FindStringSubmatch(body)
	if m == nil {
		s.t.Fatalf("no link in:\n%s", body)
	}
	return m[1]
}

// TestSharing: a shared link shows what it is for, without a login, until its end,
// and nothing else.
func TestSharing(t *testing.T) {
	s := newSite(t)
	s.add("e", "secret-project", []clipOf{{Title: "First", Seconds: 5}, {Title: "Second", Seconds: 6}}, func(m *storage.Manifest) { m.Labels = map[string]string{"budget": "moon-shot"} })
	s.add("other", "p", []clipOf{{Title: "Other"}})
	clip, export := s.shareLink("/archive/exports/e/0/share?for=2h"), s.shareLink("/archive/exports/e/share")
	see := func(link string, want int, holds ...string) string {
		t.Helper()
		resp, body := s.get(link, nobody...)
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", link, resp.StatusCode, want)
		}
		for _, h := range holds {
			if !strings.Contains(body, h) {
				t.Errorf("%s lacks %q:\n%s", link, h, body)
			}
		}
		return body
	}
	for _, body := range []string{see(clip, 200, "First", "/0/play", "This link works until"), see(export, 200, "First", "Second", "Download all"), see(export+"/1", 200, "Second", "/1/play")} {
		for _, inside := range []string{"Projects", ">secret-project", "moon-", "/archive/exports", "/archive/project", "/archive/?", "units", "Share<"} {
			if strings.Contains(body, inside) {
				t.Errorf("a shared page holds %q:\n%s", inside, body)
			}
		}
	}
	for _, file := range []string{"play", "poster", "download"} {
		resp, _ := s.get(clip+"/"+file, nobody...)
		got, _ := s.get(resp.Header.Get("Location"), nobody...)
		if resp.StatusCode != 302 || got.StatusCode != 200 {
			t.Errorf("%s: %d, then %d", file, resp.StatusCode, got.StatusCode)
		}
	}
	see(export+"/zip", 200)
	see(clip[:len(clip)-1]+"1", 404)         // another clip
	see(strings.TrimSuffix(clip, "/0"), 404) // its export
	see(strings.TrimSuffix(clip, "/0")+"/zip", 404)
	see(strings.Replace(export, "/e", "/other", 1), 404)
	see(export+"/7", 404)
	see(export+"/0/share", 404)
	see(regexp.MustCompile(`shared/[a-z0-9]+-`).ReplaceAllString(export, "shared/zzzzzz-"), 404) // a later end
	see(export[:len(export)-3]+"x/e", 404)

	s.pass(2*time.Hour - 2*time.Second)
	see(clip, 200)
	s.pass(3 * time.Second)
	see(clip, 410, "This link has ended")
	see(clip+"/play", 410)
	see(export, 200)
	s.pass(22 * time.Hour)
	see(export, 410)
	see(export+"/zip", 410)
}

// The links of S3's that a shared link leads to don't outlive it.
func TestASharedLinkEndsWithItsFiles(t *testing.T) {
	s := newSite(t)
	s.add("e", "p", []clipOf{{Title: "First"}})
	link := s.shareLink("/archive/exports/e/0/share?for=90s")
	resp, _ := s.get(link+"/play", nobody...)
	if got := resp.Header.Get("Location"); !strings.Contains(got, "X-Amz-Expires=89") && !strings.Contains(got, "X-Amz-Expires=90") {
		t.Errorf("leads to %s", got)
	}
	resp, _ = s.get("/archive/exports/e/0/play")
	if got := resp.Header.Get("Location"); !strings.Contains(got, "X-Amz-Expires=900") {
		t.Errorf("leads to %s", got)
	}
}

func TestHowLongALinkCanBe(t *testing.T) {
	s := newSite(t)
	s.add("e", "p", []clipOf{{Title: "First"}})
	for lifetime, want := range map[string]int{"": 200, "1s": 200, "8760h": 200, "8760h1s": 400, "0s": 400, "-1h": 400, "forever": 400} {
		if resp, _ := s.get("/archive/exports/e/share?for=" + lifetime); resp.StatusCode != want {
			t.Errorf("%q: %d", lifetime, resp.StatusCode)
		}
	}
	off := newSite(t, func(o *Options) { o.Secrets = nil })
	off.add("e", "p", []clipOf{{Title: "First"}})
	if resp, body := off.get("/archive/exports/e/share"); resp.StatusCode != http.StatusOK || !strings.Contains(body, "Sharing is switched off") {
		t.Errorf("without a secret: %d\n%s", resp.StatusCode, body)
	}
	if _, body := off.get("/archive/exports/e"); strings.Contains(body, "/share") {
		t.Error("a page leads to what is switched off")
	}
	if resp, _ := off.get("/archive/shared/zzzzzz-AAAAAAAAAAAAAAAAAAAAAA/e", nobody...); resp.StatusCode != 404 {
		t.Errorf("a link without a secret: %d", resp.StatusCode)
	}
}
