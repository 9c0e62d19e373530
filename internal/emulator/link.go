package emulator

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// What a link leads to: the middle of its path.
const (
	kindClip      = "export"
	kindThumbnail = "thumb"
)

// link returns a fresh address: it works until LinkLifetime has passed, and not
// beyond the task's own end.
func (s *Server) link(base, kind string, t *task, idx int, now time.Time) string {
	ending := "mp4"
	if kind == kindThumbnail {
		ending = "jpg"
	}
	expires := now.Add(s.opts.LinkLifetime)
	if expires.After(t.expires) {
		expires = t.expires
	}
	path := fmt.Sprintf("/cdn/%s/%s/clip_%03d.%s", kind, t.id, idx, ending)
	until := strconv.FormatInt(expires.UnixMilli(), 10)
	q := url.Values{"expires": {until}, "signature": {s.sign(path, until)}}
	return base + path + "?" + q.Encode()
}

func (s *Server) sign(path, until string) string {
	mac := hmac.New(sha256.New, s.signing[:])
	fmt.Fprintf(mac, "%s\n%s", path, until)
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// alive says why the link that r follows doesn't work, or nothing.
func (s *Server) alive(r *http.Request, now time.Time) (fault string) {
	until, signature := r.URL.Query().Get("expires"), r.URL.Query().Get("signature")
	ms, err := strconv.ParseInt(until, 10, 64)
	switch {
	case err != nil || !hmac.Equal([]byte(signature), []byte(s.sign(r.URL.Path, until))):
		return "The signature does not match"
	case !now.Before(time.UnixMilli(ms)):
		return "Request has expired"
	}
	return ""
}

// base is what links begin with.
func (s *Server) base(r *http.Request) string {
	if s.opts.PublicURL != "" {
		return s.opts.PublicURL
	}
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
