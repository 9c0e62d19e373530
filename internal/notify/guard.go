package notify

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// newHTTPClient returns a client that judges each address when it is dialed,
// after the name was looked up, and follows no redirect: a receiver that has
// moved must be ordered at its new address.
func newHTTPClient(allowed []netip.Prefix) *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: guard(allowed)}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  nil, // a proxy would connect for us, around the guard
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    5 * time.Second,
			ResponseHeaderTimeout:  callTimeout,
			MaxResponseHeaderBytes: 32 << 10,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        30 * time.Second,
		},
	}
}

// guard lets through what is allowed, and public addresses on ports 80 and 443.
func guard(allowed []netip.Prefix) func(network, address string, c syscall.RawConn) error {
	public := ssrf.New()
	return func(network, address string, c syscall.RawConn) error {
		if ap, err := netip.ParseAddrPort(address); err == nil {
			for _, p := range allowed {
				if p.Contains(ap.Addr().Unmap()) {
					return nil
				}
			}
		}
		if err := public.Safe(network, address, c); err != nil {
			return fmt.Errorf("%s is not a public address on port 80 or 443; if it is meant, add its range to CLIPFERRY_WEBHOOK_ALLOWED_CIDRS", address)
		}
		return nil
	}
}
