package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"
)

// Monitor is Asynqmon under /monitor/.
//
// It has credentials of its own. Without them it is shown only if it was opened,
// read-only, where the server listens on a loopback address alone and has neither
// a public URL nor API keys, and only to a browser that asked for such an address
// itself: neither through a proxy nor by a name that somebody pointed at us. A
// proxy that adds no header looks like a browser: hence the opt-in.
type Monitor struct {
	// Redis is the queues' pool, which stays the caller's to close; nil leaves
	// Asynqmon out.
	Redis redis.UniversalClient
	// Username and Password are asked for by basic authentication. Both or none.
	Username, Password string
	// Writable lets queues and tasks be changed. It needs credentials.
	Writable bool
	// Open shows it without credentials.
	Open bool
	// Loopback says that the server listens on a loopback address only.
	Loopback bool
}

func (m Monitor) validate(o Options) error {
	var errs []error
	if (m.Username == "") != (m.Password == "") {
		errs = append(errs, errors.New("monitor: a user name needs a password, and a password a user name"))
	}
	if m.Password != "" && len(m.Password) < minMonitorPassword {
		errs = append(errs, errors.New("monitor: the password must have at least 8 characters"))
	}
	if m.Writable && m.Username == "" {
		errs = append(errs, errors.New("monitor: changing queues needs credentials"))
	}
	if m.Open && (o.PublicURL != "" || len(o.Keys) > 0) {
		errs = append(errs, errors.New("monitor: open without credentials only where there are neither a public URL nor API keys"))
	}
	return errors.Join(errs...)
}

const minMonitorPassword = 8

// on says whether /monitor/ can be shown at all, and if not, why.
func (m Monitor) on() (ok bool, why string) {
	switch {
	case m.Redis == nil:
		return false, "Asynqmon is switched off"
	case m.Username == "" && (!m.Open || !m.Loopback):
		return false, "Asynqmon is off: it needs credentials (CLIPFERRY_MONITOR_AUTH) or, for a browser on the same machine, CLIPFERRY_MONITOR_OPEN and a loopback address to listen on"
	}
	return true, ""
}

// asynqmonCSP allows what Asynqmon's own page does: scripts and styles in the
// page, and nothing from other hosts.
const asynqmonCSP = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; " +
	"img-src 'self' data:; font-src 'self' data:; frame-ancestors 'none'; base-uri 'self'; form-action 'none'"

func (m Monitor) handler(log *slog.Logger) http.Handler {
	if ok, why := m.on(); !ok {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, why, http.StatusForbidden) })
	}
	ui := asynqmon.New(asynqmon.Options{ // never closed: that would close the shared pool
		RootPath: "/monitor", RedisConnOpt: sharedPool{m.Redis}, ReadOnly: !m.Writable,
		PayloadFormatter: asynqmon.PayloadFormatterFunc(readable), ResultFormatter: asynqmon.ResultFormatterFunc(readable),
	})
	// A browser sends the credentials along with whatever another site makes it
	// send: such requests must not change queues.
	guarded := http.NewCrossOriginProtection().Handler(ui)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !m.admits(r) {
			if m.Username == "" {
				http.Error(w, "Asynqmon has no credentials (CLIPFERRY_MONITOR_AUTH), so it is shown only at a loopback address, without a proxy between", http.StatusForbidden)
				return
			}
			if r.Header.Get("Authorization") != "" {
				log.WarnContext(r.Context(), "wrong credentials for the monitor", logkey.Remote, r.RemoteAddr)
			}
			w.Header().Set("WWW-Authenticate", `Basic realm="clipferry monitor", charset="UTF-8"`)
			http.Error(w, "credentials needed", http.StatusUnauthorized)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", asynqmonCSP)
		h.Set("Cache-Control", "no-store")
		guarded.ServeHTTP(w, r)
	})
}

// admits reports whether the request may see Asynqmon.
func (m Monitor) admits(r *http.Request) bool {
	if m.Username == "" {
		return IsLocal(r)
	}
	user, password, _ := r.BasicAuth()
	sameUser := sameText(user, m.Username)
	samePassword := sameText(password, m.Password)
	return sameUser && samePassword
}

// IsLocal reports whether a request to a server on a loopback address alone is of a
// browser that asked for such an address itself: neither through a proxy nor by a
// name that somebody pointed at us.
func IsLocal(r *http.Request) bool { return isLoopbackHost(r.Host) && !proxied(r) }

// sameText compares in a time that does not depend on how far two texts are the same.
func sameText(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func isLoopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// ofBrowsers are the headers that a browser on the same machine sends by itself,
// and Asynqmon's page by it. Whatever else comes was added on the way: there are
// too many headers of proxies, in too many spellings, to list those.
var ofBrowsers = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Accept-Language": true, "Authorization": true, "Cache-Control": true,
	"Connection": true, "Content-Length": true, "Content-Type": true, "Cookie": true, "Dnt": true,
	"If-Modified-Since": true, "If-None-Match": true, "If-Range": true, "Origin": true, "Pragma": true, "Priority": true, "Purpose": true,
	"Range": true, "Referer": true, "Save-Data": true, "Te": true, "Upgrade-Insecure-Requests": true, "User-Agent": true,
}

// proxied reports whether a proxy shows itself: by a header of its own, whatever
// it holds, or by HTTP/1.0, which some speak and no browser does.
func proxied(r *http.Request) bool {
	if !r.ProtoAtLeast(1, 1) {
		return true
	}
	for name := range r.Header {
		if !ofBrowsers[name] && !strings.HasPrefix(name, "Sec-") {
			return true
		}
	}
	return false
}

// sharedPool hands a pool of ours to asynq's and Asynqmon's constructors.
type sharedPool struct{ rdb redis.UniversalClient }

func (p sharedPool) MakeRedisClient() any { return p.rdb }

var _ asynq.RedisConnOpt = sharedPool{}
