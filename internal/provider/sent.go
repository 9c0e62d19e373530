package provider

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"sync/atomic"
)

// sentinel watches one request and knows whether its first byte may have left.
type sentinel struct {
	asked, got atomic.Bool
	// dead is set when the context was over before the request began.
	dead bool
}

func (s *sentinel) watch(ctx context.Context) context.Context {
	s.dead = ctx.Err() != nil
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { s.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { s.got.Store(true) },
	})
}

// provenUnsent reports whether the request that ended in err can't have been
// written, not even in part: it never had a connection. From the moment that it
// has one, the transport's own goroutine may write at any time, even after the
// caller has given up, so that a missing WroteHeaders proves nothing.
func (s *sentinel) provenUnsent(err error) bool {
	if s.got.Load() {
		return false
	}
	if s.asked.Load() || s.dead {
		return true
	}
	// A RoundTripper that doesn't trace has only its error to show.
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
