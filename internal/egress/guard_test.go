package egress

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	g := New([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32")})
	for address, good := range map[string]bool{
		"8.8.8.8:80": true, "8.8.8.8:443": true, "8.8.8.8:8080": false, "[2606:4700::1111]:443": true, "[2606:4700::1111]:22": false,
		"127.0.0.1:80": false, "169.254.169.254:80": false, "100.64.0.1:80": false, "192.168.1.1:80": false, "0.0.0.0:80": false,
		"[::1]:80": false, "[fd00::1]:80": false, "[fe80::1%lo]:80": false, "[ff02::1]:80": false,
		// what the operator allows, on each port
		"10.1.2.3:80": true, "10.1.2.3:8080": true, "10.2.0.1:80": false, "[fd00:1::1]:9000": true,
		// IPv4 in other forms: mapped, NAT64, 6to4, ISATAP
		"[::ffff:8.8.8.8]:80": true, "[::ffff:127.0.0.1]:80": false, "[::ffff:10.1.2.3]:8080": true, "[::ffff:8.8.8.8]:8080": false,
		"[64:ff9b::808:808]:80": true, "[64:ff9b::808:808]:8080": false, "[64:ff9b::7f00:1]:80": false,
		"[64:ff9b::a9fe:a9fe]:80": false, "[64:ff9b::a00:1]:80": false, "[64:ff9b::a01:203]:8080": true,
		"[2002:808:808::1]:80": true, "[2002:7f00:1::]:80": false, "[2002:c0a8:101::1]:80": false, "[2002:a01:203::1]:80": true,
		"[2606:4700::5efe:808:808]:80": true, "[2606:4700::5efe:a00:1]:80": false, "[2606:4700::200:5efe:7f00:1]:80": false,
		"[fd00::5efe:808:808]:80": false,
		// forms that lead nowhere, or whose address is not known
		"[::808:808]:80": false, "[::ffff:0:808:808]:80": false, "[64:ff9b:1::808:808]:80": false, "[2001:0:808:808::f7f7:f7f7]:80": false,
		"8.8.8.8": false, "localhost:80": false, "": false,
	} {
		err := g.Check("tcp4", address)
		if (err == nil) != good {
			t.Errorf("%s: %v", address, err)
		}
		var blocked *BlockedError
		if err != nil && !errors.As(err, &blocked) {
			t.Errorf("%s: %v is no refusal of the guard", address, err)
		}
	}
	if g.Check("udp4", "8.8.8.8:80") == nil {
		t.Error("UDP is let through")
	}
	listed := New([]netip.Prefix{netip.MustParsePrefix("64:ff9b::/96")})
	if err := listed.Check("tcp6", "[64:ff9b::a00:1]:8080"); err != nil {
		t.Errorf("the operator allowed this range itself: %v", err)
	}
}

// TestNoFormOpensMore: whatever an IPv6 address holds, it opens nothing that the
// IPv4 address would not.
func TestNoFormOpensMore(t *testing.T) {
	g := New(nil)
	for _, v4 := range []string{"10.0.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"} {
		b := netip.MustParseAddr(v4).As4()
		for _, form := range []string{"::ffff:%", "64:ff9b::%", "::%", "::ffff:0:%", "2606:4700::5efe:%", "2606:4700::200:5efe:%"} {
			address := strings.Replace(form, "%", v4, 1)
			if g.Check("tcp6", net.JoinHostPort(address, "80")) == nil {
				t.Errorf("%s is let through", address)
			}
		}
		six := [16]byte{0x20, 0x02, b[0], b[1], b[2], b[3]}
		if g.Check("tcp6", net.JoinHostPort(netip.AddrFrom16(six).String(), "80")) == nil {
			t.Errorf("6to4 of %s is let through", v4)
		}
	}
}

func TestDialIsGuarded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var blocked *BlockedError
	if _, err := New(nil).Over(&net.Dialer{})(t.Context(), "tcp", l.Addr().String()); !errors.As(err, &blocked) {
		t.Errorf("%v", err)
	}
	conn, err := New([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}).Over(&net.Dialer{})(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}
