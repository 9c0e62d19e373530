package httpapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
)

// archived returns the id of an export with one archived clip, and the path of its link.
func (f *fixture) archived() (id, path string) {
	f.t.Helper()
	id = f.submit(`{"project_id":"proj_1"}`)
	f.takeUp(id)
	f.change(id, func(r *export.Record, now time.Time) error { return r.Accept(now, "t", "", "CREATED") })
	f.answer(id, "ONGOING", providerClips(true, 1))
	f.archive(id, 0)
	return id, strings.TrimPrefix(f.read(id).Clips[0].ExportLink, f.URL)
}

func TestALinkRedirects(t *testing.T) {
	f := newFixture(t)
	_, path := f.archived()
	got := f.call("GET", path, "", "Authorization", "", versionHeader, "")
	if got.status != 302 || !strings.HasPrefix(got.header.Get("Location"), f.bucket.URL+"/exports/proj_1/task_1/clip-000-") {
		t.Fatalf("%d %v", got.status, got.header)
	}
	if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("%v", got.header)
	}
	if got := f.call("HEAD", path, ""); got.status != 302 || !strings.HasSuffix(got.header.Get("Location"), "&method=HEAD") {
		t.Errorf("HEAD: %d %v: S3 signs the method, too", got.status, got.header)
	}
	if strings.Contains(got.header.Get("Location"), "inline") {
		t.Errorf("a download is shown: %s", got.header.Get("Location"))
	}
	if got := f.call("GET", path+"?inline", ""); got.status != 302 || !strings.HasSuffix(got.header.Get("Location"), "&disposition=inline") {
		t.Errorf("?inline: %d %v", got.status, got.header)
	}
	if got := f.call("DELETE", path, ""); got.status != 405 || got.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("DELETE: %d %v", got.status, got.header)
	}
	f.bucket.err = errors.New("no credentials for AKIAEXAMPLE")
	if got := f.call("GET", path, ""); got.status != 503 || strings.Contains(got.body, "AKIA") {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestALinkCannotBeMadeUp(t *testing.T) {
	f := newFixture(t)
	_, path := f.archived()
	parts := strings.SplitN(path, "/", 4) // "", clips, signature, key
	other := parts[2][:len(parts[2])-1] + map[bool]string{true: "B", false: "A"}[parts[2][21] == 'A']
	for what, made := range map[string]string{
		"another key":         "/clips/" + parts[2] + "/exports/proj_1/task_1/clip-001.mp4",
		"another signature":   "/clips/" + other + "/" + parts[3],
		"an empty signature":  "/clips//" + parts[3],
		"no key":              "/clips/" + parts[2] + "/",
		"an encoded slash":    "/clips/" + parts[2] + "/" + strings.Replace(parts[3], "proj_1/", "proj_1%2f..%2f", 1),
		"a longer signature":  "/clips/" + parts[2] + "A/" + parts[3],
		"a receipt, signed":   f.api.links.path("exports/_receipts/x.json"),
		"a manifest, signed":  f.api.links.path("exports/p/t/manifest.json"),
		"another file signed": f.api.links.path("backups/clip-/dump.sql"),
		"another archive's":   f.api.links.path("others/p/t/clip-000.mp4"),
	} {
		if got := f.call("GET", made, ""); got.status == 302 || got.header.Get("Location") != "" && got.status != 301 && got.status != 307 {
			t.Errorf("%s: %d %s", what, got.status, got.header.Get("Location"))
		}
	}
}

// TestLinksOutliveRotation: a link works as long as the secret that signed it is
// among the configured ones, on every server and after every restart.
func TestLinksOutliveRotation(t *testing.T) {
	const key = "exports/p/t/clip-000.mp4"
	old, fresh := "an-old-secret-of-the-length-needed", "a-fresh-secret-of-the-length-needed"
	for what, c := range map[string]struct {
		made, used []string
		want       bool
	}{
		"restart":  {[]string{old}, []string{old}, true},
		"rotation": {[]string{old}, []string{fresh, old}, true},
		"removed":  {[]string{old}, []string{fresh}, false},
	} {
		made, used := linker{signer: newSigner(c.made)}, linker{signer: newSigner(c.used)}
		if used.signed(key, strings.Split(made.path(key), "/")[2]) != c.want {
			t.Errorf("%s: not %v", what, c.want)
		}
	}
}

// TestTheAPINeedsASecret: links that were signed with an API key would let anyone
// who has one test keys without asking us.
func TestTheAPINeedsASecret(t *testing.T) {
	_, err := New(Options{Logger: slog.New(slog.DiscardHandler), Keys: []Key{{Name: "web", Secret: webSecret}}})
	if err == nil || !strings.Contains(err.Error(), "secrets: required where there are keys") {
		t.Errorf("without one: %v", err)
	}
}

func TestTheBaseOfLinks(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "http://10.0.0.7:8080/x", nil)
	if got := (&linker{}).base(r); got != "http://10.0.0.7:8080" {
		t.Error(got)
	}
	r = httptest.NewRequest(http.MethodGet, "https://clips.example.com/x", nil)
	if got := (&linker{}).base(r); got != "https://clips.example.com" {
		t.Error(got)
	}
	if got := (&linker{publicURL: "https://p"}).base(r); got != "https://p" {
		t.Error(got)
	}
}

func TestWrongOptionsAreAllNamed(t *testing.T) {
	_, err := New(Options{
		Keys:      []Key{{Name: "a b", Secret: "short"}, {Name: "web", Secret: webSecret}, {Name: "again", Secret: webSecret}, {Name: "utf", Secret: "ünprintable-secret"}},
		PublicURL: "https://user@host", LinkTTL: 8 * 24 * time.Hour, MaxWaiting: 1, Retention: -1,
		Monitor: Monitor{Username: "ops", Writable: true}, Secrets: []string{"short", "a-secret-with-a\nline-break-and-of-length"},
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"logger: required", "exports, queue, archive: required", "public URL", "link TTL", "waiting: required", "retention",
		"key 1: its name", "key 3 (again): its secret is given twice", "key 4 (utf): its secret must be printable", "monitor: a user name needs a password",
		"secret 1: must have at least 32", "secret 2: must be printable",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not named: %s", want)
		}
	}
	if strings.Contains(err.Error(), webSecret) || strings.Contains(err.Error(), "short") {
		t.Errorf("a secret is in %v", err)
	}
	for _, shown := range []string{fmt.Sprint(Key{Name: "web", Secret: webSecret}), fmt.Sprintf("%+v", []Key{{Name: "web", Secret: webSecret}}), fmt.Sprintf("%#v", Key{Name: "web", Secret: webSecret}), slog.AnyValue(Key{Name: "web", Secret: webSecret}).Resolve().String()} {
		if strings.Contains(shown, webSecret) {
			t.Errorf("shown as %s", shown)
		}
	}
}
