// Package freeport gives servers of tests ports to listen on.
package freeport

import (
	"context"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
)

// count is how many ports of a range are used, tries how many are looked at.
const count, tries = 6_000, 100

// given begins anywhere, so that processes that run side by side are far apart, and
// counts on, so that no two servers of one process have a port in common: what is free
// now may be looked at by somebody else the moment that the server takes it.
var given atomic.Uint32

func init() { given.Store(rand.Uint32N(count)) }

// Take returns a loopback port from first on that nobody listened on a moment ago. Below
// the range of outgoing connections none of those can take it before the server does, or
// while the server is restarted.
func Take(t testing.TB, first int) int {
	t.Helper()
	var err error
	for range tries {
		port := first + int(given.Add(1)%count)
		var l net.Listener
		if l, err = new(net.ListenConfig).Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal(err)
	return 0
}
