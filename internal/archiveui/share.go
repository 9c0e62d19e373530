package archiveui

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/secret"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// How long a shared link works.
const (
	defaultShare = 24 * time.Hour
	longestShare = 365 * 24 * time.Hour
)

// grant is what a shared link allows: to look at one export, or one of its clips,
// until it ends.
type grant struct {
	export string
	idx    int // allClips for the whole export
	until  time.Time
	token  string
}

const allClips = -1

// sharer makes and checks the links that need no login. All that they allow is in
// them, under a signature, so that nothing has to be kept; a secret that is taken
// away ends all links that it signed.
type sharer struct{ secrets [][]byte }

func newSharer(secrets []string) *sharer {
	return &sharer{secret.Derive(secrets, "clipferry archive shares v1")}
}

// grant returns a signed grant.
func (s *sharer) grant(export string, idx int, until time.Time) *grant {
	return &grant{export: export, idx: idx, until: until, token: token(s.secrets[0], export, idx, until)}
}

// token is the end in base 36 and the signature.
func token(secret []byte, export string, idx int, until time.Time) string {
	m := hmac.New(sha256.New, secret)
	fmt.Fprintf(m, "%d:%s %d %d", len(export), export, idx, until.Unix())
	return strconv.FormatInt(until.Unix(), 36) + "-" + base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:16])
}

// check returns the grant that a token is for an export or, where it has one, for its clip.
func (s *sharer) check(given, export string, idx int) (*grant, bool) {
	end, _, _ := strings.Cut(given, "-")
	seconds, err := strconv.ParseInt(end, 36, 64)
	if err != nil {
		return nil, false
	}
	until := time.Unix(seconds, 0)
	for _, secret := range s.secrets {
		for _, covered := range []int{allClips, idx} {
			if hmac.Equal([]byte(token(secret, export, covered, until)), []byte(given)) {
				return &grant{export: export, idx: covered, until: until, token: given}, true
			}
		}
	}
	return nil, false
}

// granted lets in who has a shared link.
func (u *UI) granted(next page) page {
	return func(w http.ResponseWriter, r *http.Request, v visit) error {
		idx := allClips
		if text := r.PathValue("idx"); text != "" {
			var ok bool
			if idx, ok = index(text); !ok {
				return errNotFound
			}
		}
		g, ok := u.shares.check(r.PathValue("grant"), r.PathValue("id"), idx)
		if !ok {
			return errNotShared
		}
		if !u.now().Before(g.until) {
			return errShareEnded
		}
		if err := u.loaded(); err != nil {
			return err
		}
		v.shared = g
		return next(w, r, v)
	}
}

// shareView is the page that makes a shared link.
type shareView struct {
	What    string // "clip" or "export"
	Title   string
	Back    string
	Off     bool
	Choices []choice
	Link    string
	Until   time.Time
}

// lifetimes are those that are offered.
var lifetimes = []struct {
	d    time.Duration
	name string
}{
	{time.Hour, "1 hour"},
	{defaultShare, "1 day"},
	{7 * 24 * time.Hour, "1 week"},
	{30 * 24 * time.Hour, "30 days"},
	{90 * 24 * time.Hour, "90 days"},
	{longestShare, "1 year"},
}

// share makes a link to an export or a clip that needs no login.
func (u *UI) share(w http.ResponseWriter, r *http.Request, v visit) error {
	view := shareView{What: "export", Title: exportTitle(v.clips[0]), Back: v.base(), Off: len(u.shares.secrets) == 0}
	idx, path := allClips, url.PathEscape(v.clips[0].ExportID)
	if r.PathValue("idx") != "" {
		idx = v.clip.Idx
		path += "/" + strconv.Itoa(idx)
		view.What, view.Title, view.Back = "clip", titleOf(v.clip), view.Back+"/"+strconv.Itoa(idx)
	}
	if view.Off {
		return u.render(w, r, http.StatusOK, v, "share", view)
	}
	lifetime := defaultShare
	if text := r.URL.Query().Get("for"); text != "" {
		var err error
		if lifetime, err = time.ParseDuration(text); err != nil || lifetime < time.Second || lifetime > longestShare {
			return errBadRequest.because("A shared link can be valid for a second to a year.")
		}
	}
	for _, l := range lifetimes {
		view.Choices = append(view.Choices, choice{Value: l.d.String(), Name: l.name, Chosen: l.d == lifetime})
	}
	g := u.shares.grant(v.clips[0].ExportID, idx, u.now().Add(lifetime).Truncate(time.Second))
	view.Until = g.until
	view.Link = u.origin(r) + "/archive/shared/" + g.token + "/" + path
	u.log.InfoContext(r.Context(), "shared link made", logkey.Client, v.viewer.name, logkey.Export, g.export, logkey.Clip, idx, logkey.Until, g.until)
	return u.render(w, r, http.StatusOK, v, "share", view)
}

// origin is what links to our pages start with.
func (u *UI) origin(r *http.Request) string {
	if u.o.PublicURL != "" {
		return u.o.PublicURL
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return (&url.URL{Scheme: scheme, Host: r.Host}).String()
}
