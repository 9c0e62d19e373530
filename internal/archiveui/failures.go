package archiveui

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// failures counts wrong logins, so that nobody tries passwords by the thousand.
type failures struct {
	mu    sync.Mutex
	since time.Time
	by    map[string]int
}

const (
	maxFailures       = 30 // of a user from an address, in a minute
	maxFailingClients = 4096
)

// tooMany reports whether no password is compared for the user any more, the right one
// included, before the minute is over.
func (a *authenticator) tooMany(r *http.Request, name string) bool {
	f, by, now := &a.failures, a.countedBy(r, name), a.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	return now.Sub(f.since) < time.Minute && f.by[by] >= maxFailures
}

func (a *authenticator) failed(r *http.Request, name string) {
	f, by, now := &a.failures, a.countedBy(r, name), a.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.since) >= time.Minute || len(f.by) >= maxFailingClients {
		f.since, f.by = now, map[string]int{}
	}
	if by != "" {
		f.by[by]++
	}
}

// countedBy is what the wrong logins of a request are counted by: the user and the
// address, so that those at one address who sign in as others are not shut out with
// whoever tries passwords there; and a session that has ended, for who was signed in
// as the same user. Empty for a key, which nobody finds by trying, and which the HTTP
// API compares as often as it is asked.
func (a *authenticator) countedBy(r *http.Request, name string) string {
	if name == "" {
		return ""
	}
	if acc, until := a.opened(r); acc != nil && acc.name == name {
		return fmt.Sprint("session ", acc.name, until.Unix())
	}
	sum := sha256.Sum256([]byte(name))
	return fmt.Sprint(a.proxy.client(r), " ", sum[0]) // of made-up names there are not more than these
}

// is reports whether a request from the address is the proxy's.
func (p Proxy) is(from netip.Addr) bool {
	for _, prefix := range p.From {
		if prefix.Contains(from) {
			return true
		}
	}
	return false
}

// client is the address that a request comes from, without the port, by what the proxy
// says of its own. It is the last one that is no proxy's: those before are the client's
// to make up. Of IPv6 it is the network, since a client has all of its addresses.
func (p Proxy) client(r *http.Request) string {
	from, ok := parseAddr(r.RemoteAddr)
	if !ok {
		return r.RemoteAddr
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && p.is(from); i-- {
		hop, ok := parseAddr(strings.TrimSpace(hops[i]))
		if !ok {
			break
		}
		from = hop
	}
	if from.Is6() {
		if network, err := from.WithZone("").Prefix(64); err == nil {
			return network.String()
		}
	}
	return from.String()
}

// parseAddr reads an address with or without a port.
func parseAddr(s string) (netip.Addr, bool) {
	if at, err := netip.ParseAddrPort(s); err == nil {
		return at.Addr().Unmap(), true
	}
	addr, err := netip.ParseAddr(s)
	return addr.Unmap(), err == nil
}
