package httpapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
)

// clipPath is where archived files are. The key of the object is in the link
// itself, under a signature, so that a link works for as long as the object is
// in S3: without the ledger, after the provider's deadline, after a loss of Redis.
const clipPath = "/clips/{signature}/{key...}"

// signatureLen is how much of the HMAC a link carries, in bytes.
const signatureLen = 16

// linker makes and checks the links to archived files.
type linker struct {
	signer
	publicURL string
}

// base is what a link starts with.
func (l *linker) base(r *http.Request) string {
	if l.publicURL != "" {
		return l.publicURL
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return (&url.URL{Scheme: scheme, Host: r.Host}).String()
}

// path is the path of the link to the object.
func (l *linker) path(key string) string {
	parts := strings.Split(key, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return "/clips/" + sign(l.links[0], key) + "/" + strings.Join(parts, "/")
}

func sign(secret []byte, key string) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(key))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:signatureLen])
}

// signed reports whether one of our keys signed the link.
func (l *linker) signed(key, signature string) bool {
	good := false
	for _, secret := range l.links {
		good = hmac.Equal([]byte(sign(secret, key)), []byte(signature)) || good
	}
	return good
}

// redirect is GET and HEAD /clips/{signature}/{key...}: a download or, with ?inline,
// what a browser plays.
func (a *API) redirect(w http.ResponseWriter, r *http.Request) error {
	key := r.PathValue("key")
	if a.o.Archive == nil || !a.o.Archive.IsFile(key) || !a.links.signed(key, r.PathValue("signature")) {
		return fail(http.StatusNotFound, "no such file; take the link from GET /api/v2/clips/export/{taskId} as it is")
	}
	var link string
	var err error
	switch {
	case r.Method == http.MethodHead: // which S3 refuses under a signature for a GET
		link, err = a.o.Archive.PresignHead(r.Context(), key, a.o.LinkTTL)
	case r.URL.Query().Has("inline"):
		link, err = a.o.Archive.PresignInline(r.Context(), key, a.o.LinkTTL)
	default:
		link, err = a.o.Archive.Presign(r.Context(), key, "", a.o.LinkTTL)
	}
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Location", link)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusFound)
	return nil
}
