package httpapi

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

var slashes = regexp.MustCompile(`/{2,}`)

// canonical returns the request under the path that the provider takes it for:
// //api/… and a trailing slash, as a base URL that ends in one makes them, are the
// same path. net/http would answer with a redirect, after which a POST is a GET.
func canonical(r *http.Request) *http.Request {
	path := r.URL.EscapedPath()
	clean := slashes.ReplaceAllString(path, "/")
	switch trimmed := strings.TrimSuffix(clean, "/"); {
	case trimmed == "/healthz", trimmed == "/readyz", trimmed == "/metrics":
		clean = trimmed
	case !strings.HasPrefix(clean, "/api/") && !strings.HasPrefix(clean, "/open/"):
		return r
	case strings.Count(trimmed, "/") > 1:
		clean = trimmed
	}
	plain, err := url.PathUnescape(clean)
	if err != nil || clean == path {
		return r
	}
	out := r.WithContext(r.Context())
	u := *r.URL
	u.Path, u.RawPath = plain, clean
	out.URL = &u
	return out
}
