// Package egress guards connections to addresses that others name: export links
// and webhooks. Without it, whoever names one could make this program connect
// to what only it can reach, such as a cloud's metadata or the operator's network.
//
// An address is judged when it is about to be dialed, after its name was looked
// up, so that a name which leads elsewhere the second time is judged again. A
// client under the guard must not use a proxy: that would connect for it, unguarded.
package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"code.dny.dev/ssrf"
)

// Guard lets connections through to public addresses on ports 80 and 443, and to
// the ranges that an operator has allowed, on every port.
type Guard struct {
	allowed []netip.Prefix
	public  *ssrf.Guardian
}

// New returns a Guard that allows the ranges besides public addresses.
func New(allowed []netip.Prefix) *Guard {
	return &Guard{allowed: allowed, public: ssrf.New()}
}

// BlockedError is a connection that was refused for where it leads.
type BlockedError struct {
	// Address is what would have been dialed.
	Address string
}

func (e *BlockedError) Error() string {
	return e.Address + " is not a public address on port 80 or 443"
}

// Over returns the DialContext of d under the guard. A name is refused, with a
// [BlockedError], only if all its addresses are bad: of one that has good ones as
// well, which did not answer, those are what failed.
func (g *Guard) Over(d *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var passed atomic.Bool
		guarded := *d
		guarded.ControlContext = func(_ context.Context, network, address string, _ syscall.RawConn) error {
			err := g.Check(network, address)
			if err == nil {
				passed.Store(true)
			}
			return err
		}
		conn, err := guarded.DialContext(ctx, network, address)
		var blocked *BlockedError
		if errors.As(err, &blocked) && passed.Load() {
			err = errors.New("no address answers, and " + blocked.Error())
		}
		return conn, err
	}
}

// Check decides on one address, "host:port" with a literal host, as a dialer's
// Control gives it. Its error is a *[BlockedError].
//
// An IPv6 address that contains an IPv4 one is judged by that, in whatever form:
// a network that has only IPv6 reaches every IPv4 server so (NAT64), and none of
// these forms is a way around the rules for IPv4.
func (g *Guard) Check(network, address string) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return &BlockedError{address}
	}
	outer := ap.Addr().Unmap()
	inner, form := embedded(outer)
	switch {
	case g.allows(outer):
		return nil
	case form == translated:
		outer = inner
	case form == beside && !g.good(network, inner, ap.Port()):
		return &BlockedError{address}
	}
	if !g.good(network, outer, ap.Port()) {
		return &BlockedError{address}
	}
	return nil
}

// good says that an address is allowed or public.
func (g *Guard) good(network string, addr netip.Addr, port uint16) bool {
	return g.allows(addr) || g.public.Safe(network, netip.AddrPortFrom(addr, port).String(), nil) == nil
}

func (g *Guard) allows(addr netip.Addr) bool {
	for _, p := range g.allowed {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// form says how an IPv6 address holds an IPv4 one.
type form int

const (
	plain      form = iota // it holds none
	translated             // it is the IPv4 address, as others write it
	beside                 // a host of an IPv6 network that has the IPv4 address as well
)

var (
	nat64  = ssrf.IPv6NAT64Prefix
	sixTo4 = netip.MustParsePrefix("2002::/16")
)

// embedded returns the IPv4 address that addr holds. Forms whose address is
// not known (a NAT64 prefix of the network's own) or that lead nowhere any more
// (Teredo, ::a.b.c.d) are plain: the guard of IPv6 refuses what is special of them.
func embedded(addr netip.Addr) (netip.Addr, form) {
	if !addr.Is6() {
		return netip.Addr{}, plain
	}
	b := addr.As16()
	switch last := netip.AddrFrom4([4]byte(b[12:])); {
	case nat64.Contains(addr):
		return last, translated
	case sixTo4.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), translated
	case b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP
		return last, beside
	}
	return netip.Addr{}, plain
}
