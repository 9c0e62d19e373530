package notify

import (
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/clipferry/clipferry/internal/egress"
)

// newHTTPClient returns a client under the guard of addresses. It follows no
// redirect: a receiver that has moved must be ordered at its new address.
func newHTTPClient(allowed []netip.Prefix) *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  nil, // it would connect for us, around the guard
			DialContext:            egress.New(allowed).Over(dialer),
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    5 * time.Second,
			ResponseHeaderTimeout:  callTimeout,
			MaxResponseHeaderBytes: 32 << 10,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        30 * time.Second,
		},
	}
}
