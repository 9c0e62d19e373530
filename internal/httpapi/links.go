package httpapi

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// clipPath is where archived files are. The key of the object is in the link
// itself, under a signature, so that a link works for as long as the object is
// in S3: without the ledger, after the provider's deadline, after a loss of Redis.
const clipPath = "/clips/{signature}/{key...}"

const (
	minLinkSecret = 16
	signatureLen  = 16 // bytes of the HMAC that a link carries
)

// linker signs the links to archived files. The first key signs, all are accepted.
type linker struct {
	keys      [][]byte
	publicURL string
}

func newLinker(o Options) (*linker, error) {
	l := &linker{publicURL: o.PublicURL}
	secrets := o.LinkSecrets
	for i, s := range secrets {
		if len(s) < minLinkSecret {
			return nil, fmt.Errorf("link secret %d: must have at least %d characters", i+1, minLinkSecret)
		}
	}
	if len(secrets) == 0 {
		for _, k := range o.Keys {
			secrets = append(secrets, k.Secret)
		}
	}
	for _, s := range secrets {
		key, err := hkdf.Key(sha256.New, []byte(s), nil, "clipferry clip links v1", sha256.Size)
		if err != nil {
			return nil, errors.New("link secret: no key can be derived from it")
		}
		l.keys = append(l.keys, key)
	}
	return l, nil
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
	return "/clips/" + sign(l.keys[0], key) + "/" + strings.Join(parts, "/")
}

func sign(secret []byte, key string) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(key))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:signatureLen])
}

// signed reports whether one of our keys signed the link.
func (l *linker) signed(key, signature string) bool {
	good := false
	for _, secret := range l.keys {
		good = hmac.Equal([]byte(sign(secret, key)), []byte(signature)) || good
	}
	return good
}

// isClip reports whether the key is that of a clip or its thumbnail. Where link
// keys are derived from API keys, whoever has one could sign any name: this
// keeps receipts, manifests and what else is in the bucket out of reach.
func isClip(key string) bool {
	return strings.HasPrefix(key[strings.LastIndexByte(key, '/')+1:], "clip-")
}

// redirect is GET and HEAD /clips/{signature}/{key...}.
func (a *API) redirect(w http.ResponseWriter, r *http.Request) error {
	key := r.PathValue("key")
	if a.o.Archive == nil || !isClip(key) || !a.links.signed(key, r.PathValue("signature")) {
		return fail(http.StatusNotFound, "no such file; take the link from GET /api/v2/clips/export/{taskId} as it is")
	}
	var link string
	var err error
	if r.Method == http.MethodHead { // which S3 refuses under a signature for a GET
		link, err = a.o.Archive.PresignHead(r.Context(), key, a.o.LinkTTL)
	} else {
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
