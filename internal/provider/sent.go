package provider

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
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

var errBodyTooLarge = errors.New("the answer is larger than any real one")

// readBody returns the body, or what came of it and why it isn't whole. It never
// holds much more than limit bytes, counted after decompression.
func readBody(resp *http.Response, limit int64) ([]byte, error) {
	if resp.ContentLength > limit {
		return nil, errBodyTooLarge
	}
	var body io.Reader = resp.Body
	switch enc := strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding"))); enc {
	case "", "identity":
	case "gzip", "x-gzip":
		// We ask for identity; who compresses all the same is still understood.
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, fmt.Errorf("decompress the answer: %w", err)
		}
		body = z
	default:
		return nil, errors.New("the answer has an encoding that nobody asked for")
	}
	text, err := io.ReadAll(io.LimitReader(body, limit+1))
	if int64(len(text)) > limit {
		return nil, errBodyTooLarge
	}
	if err != nil {
		return text, fmt.Errorf("read the answer: %w", err)
	}
	return text, nil
}
