package archiveui

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/secret"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// viewer is who looks.
type viewer struct {
	name   string
	tenant *string // whose clips; nil for those of all
	// session says that the viewer signed in here, and so can sign out.
	session bool
}

// sees reports whether the viewer may see what is of the tenant.
func (v viewer) sees(tenant string) bool { return v.tenant == nil || *v.tenant == tenant }

const (
	sessionCookie   = "clipferry_archive"
	sessionLifetime = 12 * time.Hour
	// knownFor is how long a browser keeps a session that has ended: wrong logins of
	// others are not counted against who has one.
	knownFor = 30 * 24 * time.Hour
)

// authenticator says who a request comes from: by what a proxy says, by a session,
// or by a name and a password (or a key alone) as HTTP has it.
type authenticator struct {
	proxy     Proxy
	local     func(*http.Request) bool
	accounts  []account
	secrets   [][]byte // sessions
	publicTLS bool
	now       func() time.Time
	failures  failures
}

// account is a viewer with the hash of the secret.
type account struct {
	viewer
	hash   [sha256.Size]byte
	bearer bool // a key, which says whose it is without a name
}

func newAuthenticator(o Options) *authenticator {
	a := &authenticator{
		proxy: o.Proxy, local: o.Local, now: o.Now, publicTLS: strings.HasPrefix(o.PublicURL, "https:"),
		secrets: secret.Derive(o.Secrets, "clipferry archive sessions v1"),
	}
	if len(a.secrets) == 0 { // sessions end with the process
		a.secrets = secret.Derive([]string{rand.Text()}, "clipferry archive sessions v1")
	}
	for _, c := range o.Users {
		a.accounts = append(a.accounts, account{viewer: viewer{name: c.Name}, hash: sha256.Sum256([]byte(c.Password))})
	}
	for _, k := range o.Keys {
		a.accounts = append(a.accounts, account{viewer{name: k.Name, tenant: k.Tenant}, sha256.Sum256([]byte(k.Password)), true})
	}
	return a
}

// viewer returns who a request comes from; ok is false for who is not signed in.
func (a *authenticator) viewer(r *http.Request) (v viewer, ok bool) {
	if name := a.proxied(r); name != "" {
		return viewer{name: name}, true
	}
	if v, ok := a.ofSession(r); ok {
		return v, true
	}
	if acc, given := a.ofHeader(r); given {
		if acc == nil {
			return viewer{}, false
		}
		return acc.viewer, true
	}
	if a.local != nil && a.local(r) {
		return viewer{name: "local"}, true
	}
	return viewer{}, false
}

// proxied is the name that a trusted proxy gives; empty for none.
func (a *authenticator) proxied(r *http.Request) string {
	if a.proxy.Header == "" {
		return ""
	}
	if from, ok := parseAddr(r.RemoteAddr); ok && a.proxy.is(from) {
		return r.Header.Get(a.proxy.Header)
	}
	return ""
}

// ofHeader is the account that the Authorization header names; given is false where
// there is none.
func (a *authenticator) ofHeader(r *http.Request) (acc *account, given bool) {
	if name, password, ok := r.BasicAuth(); ok {
		return a.check(r, name, password), true
	}
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil, false
	}
	return a.check(r, "", strings.TrimSpace(key)), true
}

// check returns the account with the name and the password, nil for none. It
// compares them with all, so that the time it takes says nothing. Without a name a
// key of the HTTP API will do.
func (a *authenticator) check(r *http.Request, name, password string) *account {
	if a.tooMany(r, name) {
		return nil
	}
	hash := sha256.Sum256([]byte(password))
	found := -1
	for i, acc := range a.accounts {
		same := subtle.ConstantTimeCompare(acc.hash[:], hash[:])
		named := subtle.ConstantTimeCompare([]byte(acc.name), []byte(name))
		if name == "" && acc.bearer {
			named = 1
		}
		if same&named == 1 {
			found = i
		}
	}
	if found < 0 {
		a.failed(r, name)
		return nil
	}
	return &a.accounts[found]
}

// session is the cookie of an account: the end, the name, and a MAC of both and the
// password's hash, so that it ends with a changed password.
func (a *authenticator) session(r *http.Request, acc *account) *http.Cookie {
	until := a.now().Add(sessionLifetime)
	return &http.Cookie{
		Name: sessionCookie, Value: sealSession(a.secrets[0], acc, until), Path: "/archive/", Expires: until.Add(knownFor),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil || a.publicTLS,
	}
}

func sealSession(secret []byte, acc *account, until time.Time) string {
	body := binary.BigEndian.AppendUint64(nil, uint64(until.Unix()))
	body = append(body, acc.name...)
	m := hmac.New(sha256.New, secret)
	m.Write(acc.hash[:])
	m.Write(body)
	return base64.RawURLEncoding.EncodeToString(append(m.Sum(nil), body...))
}

func (a *authenticator) ofSession(r *http.Request) (viewer, bool) {
	acc, until := a.opened(r)
	if acc == nil || !a.now().Before(until) {
		return viewer{}, false
	}
	v := acc.viewer
	v.session = true
	return v, true
}

// opened is whose session the request has, and when it ends or has ended; nil for
// nobody's.
func (a *authenticator) opened(r *http.Request) (*account, time.Time) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil, time.Time{}
	}
	raw, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil || len(raw) < sha256.Size+8 {
		return nil, time.Time{}
	}
	body := raw[sha256.Size:]
	until, name := time.Unix(int64(binary.BigEndian.Uint64(body)), 0), string(body[8:])
	for i := range a.accounts {
		acc := &a.accounts[i]
		if acc.name != name {
			continue
		}
		for _, secret := range a.secrets {
			if hmac.Equal([]byte(sealSession(secret, acc, until)), []byte(cookie.Value)) {
				return acc, until
			}
		}
	}
	return nil, time.Time{}
}

// signedIn lets viewers through, and shows the others where they sign in.
func (u *UI) signedIn(next page) page {
	return func(w http.ResponseWriter, r *http.Request, v visit) error {
		who, ok := u.auth.viewer(r)
		if !ok {
			return u.notSignedIn(w, r)
		}
		v.viewer = who
		err := u.loaded()
		if err == nil {
			err = next(w, r, v)
		}
		if err != nil {
			u.fail(w, r, v, err)
		}
		return nil
	}
}

func (u *UI) notSignedIn(w http.ResponseWriter, r *http.Request) error {
	given := r.Header.Get("Authorization") != ""
	if given {
		u.log.WarnContext(r.Context(), "wrong login to the archive", logkey.Remote, u.auth.proxy.client(r))
	}
	if name, _, basic := r.BasicAuth(); basic && u.auth.tooMany(r, name) {
		return errTooMany
	}
	if given || !strings.Contains(r.Header.Get("Accept"), "text/html") { // browsers get the form, not their own prompt
		w.Header().Set("WWW-Authenticate", `Basic realm="clipferry archive", charset="UTF-8"`)
	}
	return u.render(w, r, http.StatusUnauthorized, visit{}, "login", loginView{Next: r.URL.RequestURI(), Wrong: given})
}

// loginView is the page where people sign in.
type loginView struct {
	Next  string
	Name  string
	Wrong bool
}

func (u *UI) loginPage(w http.ResponseWriter, r *http.Request, v visit) error {
	return u.render(w, r, http.StatusOK, v, "login", loginView{Next: safeNext(r.URL.Query().Get("next"))})
}

func (u *UI) login(w http.ResponseWriter, r *http.Request, v visit) error {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if err := r.ParseForm(); err != nil {
		return errBadRequest
	}
	name, next := r.PostForm.Get("name"), safeNext(r.PostForm.Get("next"))
	who := u.auth.check(r, name, r.PostForm.Get("password"))
	if who == nil || name == "" {
		u.log.WarnContext(r.Context(), "wrong login to the archive", logkey.Remote, u.auth.proxy.client(r))
		if u.auth.tooMany(r, name) {
			return errTooMany
		}
		return u.render(w, r, http.StatusUnauthorized, v, "login", loginView{Next: next, Name: name, Wrong: true})
	}
	http.SetCookie(w, u.auth.session(r, who))
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

func (u *UI) logout(w http.ResponseWriter, r *http.Request, _ visit) error {
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/archive/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, "/archive/login", http.StatusSeeOther)
	return nil
}

// safeNext is a page of ours to go on to, whatever was asked for.
func safeNext(next string) string {
	at, err := url.Parse(next)
	if err != nil || at.Scheme != "" || at.Host != "" || !strings.HasPrefix(at.Path, "/archive/") || strings.HasPrefix(at.Path, "/archive/log") ||
		strings.ContainsAny(next, "\\\r\n") {
		return "/archive/"
	}
	return next
}
