package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// What else S3 does than pass and stall; each to a share of the requests.
const (
	fail500  mode = "500"
	slowDown mode = "503 SlowDown"
	cut      mode = "cut"  // the connection breaks within the request's body
	lost     mode = "lost" // it is done, and the answer does not come
)

// gateway is an HTTP proxy in front of S3.
type gateway struct {
	listener net.Listener
	server   *http.Server
	proxy    *httputil.ReverseProxy

	mu      sync.Mutex
	mode    mode
	share   float64
	changed chan struct{}
}

var errOrdered = errors.New("broken as ordered")

type loseAnswer struct{}

func newGateway(to string) (*gateway, error) {
	target, err := url.Parse(to)
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &gateway{listener: l, mode: pass, changed: make(chan struct{})}
	quiet := log.New(io.Discard, "", 0)
	g.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is part of what was signed
		},
		ModifyResponse: func(r *http.Response) error {
			if r.Request.Context().Value(loseAnswer{}) != nil {
				return errOrdered
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		Transport:    &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		ErrorLog:     quiet,
	}
	g.server = &http.Server{Handler: g, ErrorLog: quiet, ReadHeaderTimeout: time.Minute}
	go func() { _ = g.server.Serve(l) }() // ends with close
	return g, nil
}

func (g *gateway) url() string { return "http://" + g.listener.Addr().String() }

func (g *gateway) close() {
	g.set(reset, 1)
	_ = g.server.Close()
}

// set changes what happens to that share of the requests from now on.
func (g *gateway) set(m mode, share float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mode, g.share = m, share
	close(g.changed)
	g.changed = make(chan struct{})
}

// ServeHTTP is one request to S3.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	m, changed := g.mode, g.changed
	if m != pass && rand.Float64() >= g.share {
		m = pass
	}
	g.mu.Unlock()
	switch m {
	case stall:
		select {
		case <-changed:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	case reset:
		panic(http.ErrAbortHandler)
	case fail500:
		refuse(w, http.StatusInternalServerError, "InternalError")
		return
	case slowDown:
		refuse(w, http.StatusServiceUnavailable, "SlowDown")
		return
	case delay:
		time.Sleep(2 * lag)
	case cut:
		r.Body = &shortBody{r.Body, rand.Int64N(max(r.ContentLength, 1))}
	case lost:
		r = r.WithContext(context.WithValue(r.Context(), loseAnswer{}, true))
	}
	g.proxy.ServeHTTP(w, r)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as ordered</Message></Error>", code)
}

// shortBody breaks off after so many bytes.
type shortBody struct {
	io.ReadCloser
	left int64
}

func (b *shortBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errOrdered
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
