// Package archiveui is the archive for people: pages to find, watch, download and
// share clips, below /archive/. [New] returns their handler.
//
//	GET  /archive/                              all clips; filters and order are in the query
//	GET  /archive/projects                      the projects
//	GET  /archive/project?id=P                  one of them
//	GET  /archive/exports/{id}                  an export
//	GET  /archive/exports/{id}/zip?clip=N       its clips, or some of them, as a ZIP
//	GET  /archive/exports/{id}/{idx}            a clip
//	GET  /archive/exports/{id}/{idx}/play       302 to a link of S3's; so are download and poster
//	GET  /archive/exports/{id}/share?for=24h    makes a link that needs no login; of a clip below it
//	     /archive/shared/{grant}/…              what such a link shows: the same without the rest
//	     /archive/login, /archive/logout
//
// It shows what the catalog has, needs no Redis, and writes nothing. The pages
// are rendered here and work without JavaScript, apart from what only that can do.
// Whatever comes from a title, a tag or a description is text, never HTML.
package archiveui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/catalog"
	"github.com/clipferry/clipferry/internal/verification"
	"github.com/clipferry/clipferry/storage"
)

// Clips is the catalog; *catalog.Index is one.
type Clips interface {
	Search(ctx context.Context, q catalog.Query) (catalog.Page, error)
	Export(id string) []catalog.Line
	Project(tenant *string, id string) []catalog.Summary
	Facets(tenant *string) catalog.Facets
	Status() catalog.Status
}

// Files is the archive in S3; *storage.Archive is one.
type Files interface {
	// Presign and PresignHead make links to files, for a GET and a HEAD.
	Presign(ctx context.Context, key, filename string, ttl time.Duration) (string, error)
	PresignHead(ctx context.Context, key string, ttl time.Duration) (string, error)
	// IsFile reports whether a key is that of an archived clip or thumbnail: pages
	// lead to nothing else in the bucket, whatever a catalog says.
	IsFile(key string) bool
	// ReadFrom reads a file from an offset on.
	ReadFrom(ctx context.Context, key string, offset int64) (io.ReadCloser, error)
	ReadManifest(ctx context.Context, key string) (storage.Manifest, bool, error)
}

// DefaultLinkTTL is how long a link of S3's can be used that a page leads to.
const DefaultLinkTTL = 15 * time.Minute

// Options configures the pages. Clips, Files and Logger are required, and a way
// in: Users, Keys, Proxy or Local.
type Options struct {
	Clips  Clips
	Files  Files
	Logger *slog.Logger
	// Verified says what was verified when; nil where nothing is.
	Verified func(context.Context) (verification.State, error)

	// Users see all clips.
	Users []Credential
	// Keys are those of the HTTP API: the name is the user's, the key the password.
	Keys  []Key
	Proxy Proxy
	// Local lets requests in that it reports to be of a browser on this machine,
	// without a login; nil lets nobody in so.
	Local func(*http.Request) bool

	// Secrets sign shared links and sessions: the first signs, all are accepted. They
	// must be the same on all servers. Without any, nothing can be shared.
	Secrets []string
	// PublicURL is what shared links start with; empty takes it from each request.
	PublicURL string
	// LinkTTL is how long a link of S3's can be used; [DefaultLinkTTL] when zero. A
	// page asks for another one when it has ended.
	LinkTTL time.Duration

	Now func() time.Time
}

// Credential is a name with a password.
type Credential struct{ Name, Password string }

// LogValue is the name alone.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.Name) }

// Key is a key of the HTTP API.
type Key struct {
	Credential
	// Tenant is the one whose clips the key sees; nil sees those of all.
	Tenant *string
}

// Proxy is a proxy in front of the pages: what its requests, which come from its
// addresses alone, say in X-Forwarded-For is where a client is. One that authenticates
// names the user in a header; such users see all clips.
type Proxy struct {
	Header string // empty: it does not authenticate
	From   []netip.Prefix
}

// UI is the handler. Make one with [New].
type UI struct {
	o       Options
	log     *slog.Logger
	now     func() time.Time
	auth    *authenticator
	shares  *sharer
	mux     *http.ServeMux
	policy  string // Content-Security-Policy
	streams chan struct{}

	verified verified
}

// maxStreams bounds the ZIPs that are sent at once: each is a connection to S3.
const maxStreams = 64

// New returns the handler.
func New(o Options) (*UI, error) {
	if o.LinkTTL == 0 {
		o.LinkTTL = DefaultLinkTTL
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.PublicURL = strings.TrimSuffix(o.PublicURL, "/")
	if o.Clips == nil || o.Files == nil || o.Logger == nil {
		return nil, errors.New("archive pages: clips, files and logger are required")
	}
	if o.Proxy.Header != "" && len(o.Proxy.From) == 0 {
		return nil, errors.New("archive pages: a proxy's header needs its addresses")
	}
	origin, err := originOf(o.Files)
	if err != nil {
		return nil, fmt.Errorf("archive pages: %w", err)
	}
	u := &UI{
		o: o, log: o.Logger, now: o.Now, mux: http.NewServeMux(), streams: make(chan struct{}, maxStreams),
		auth: newAuthenticator(o), shares: newSharer(o.Secrets), policy: policyFor(origin),
	}
	u.routes()
	return u, nil
}

// originOf is where links of S3's lead, for the Content-Security-Policy. Nothing is
// sent for it.
func originOf(f Files) (string, error) {
	link, err := f.Presign(context.Background(), "any", "", time.Minute)
	if err != nil {
		return "", err
	}
	at, err := url.Parse(link)
	if err != nil {
		return "", errors.New("S3 has an address that is no URL")
	}
	return at.Scheme + "://" + at.Host, nil
}

// policyFor allows what the pages do: their own style and script, pictures and
// videos from S3, forms to themselves, and nothing else.
func policyFor(origin string) string {
	return "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' " + origin +
		"; media-src 'self' " + origin + "; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

func (u *UI) routes() {
	signedIn := func(pattern string, h page) { u.mux.Handle(pattern, u.page(u.signedIn(h))) }
	signedIn("GET /archive/{$}", u.all)
	signedIn("GET /archive/projects", u.projects)
	signedIn("GET /archive/project", u.project)
	signedIn("GET /archive/exports/{id}", u.ofExport(u.export))
	signedIn("GET /archive/exports/{id}/zip", u.ofExport(u.zip))
	signedIn("GET /archive/exports/{id}/share", u.ofExport(u.share))
	signedIn("GET /archive/exports/{id}/{idx}", u.ofClip(u.clip))
	signedIn("GET /archive/exports/{id}/{idx}/share", u.ofClip(u.share))
	signedIn("GET /archive/exports/{id}/{idx}/{file}", u.ofClip(u.file))

	shared := func(pattern string, h page) {
		u.mux.Handle("GET /archive/shared/{grant}/"+pattern, u.page(u.granted(h)))
	}
	shared("{id}", u.ofExport(u.export))
	shared("{id}/zip", u.ofExport(u.zip))
	shared("{id}/{idx}", u.ofClip(u.clip))
	shared("{id}/{idx}/{file}", u.ofClip(u.file))

	sameSite := http.NewCrossOriginProtection()
	u.mux.Handle("GET /archive/login", u.page(u.loginPage))
	u.mux.Handle("POST /archive/login", sameSite.Handler(u.page(u.login)))
	u.mux.Handle("POST /archive/logout", sameSite.Handler(u.page(u.logout)))
	u.mux.HandleFunc("GET /archive/static/{file}", u.static)
	u.mux.Handle("GET /archive/", u.page(u.signedIn(func(http.ResponseWriter, *http.Request, visit) error { return errNotFound })))
}

// ServeHTTP serves one request below /archive/.
func (u *UI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", u.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	u.mux.ServeHTTP(w, r)
}

// visit is who looks at what.
type visit struct {
	viewer viewer
	// shared is what a shared link allows; nil for who is signed in.
	shared *grant
	// clips are those of the export that the path names, as far as the visitor may see
	// them; clip is the one that it names.
	clips []catalog.Line
	clip  catalog.Line
}

// page is a handler of one page. Its error becomes an error page.
type page func(w http.ResponseWriter, r *http.Request, v visit) error

func (u *UI) page(h page) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r, visit{}); err != nil {
			u.fail(w, r, visit{}, err)
		}
	})
}

// base is the address of the export that the visitor looks at, without its end.
func (v visit) base() string {
	if v.shared != nil {
		return "/archive/shared/" + v.shared.token + "/" + v.shared.export
	}
	return "/archive/exports/" + url.PathEscape(v.clips[0].ExportID)
}
