// Package link reads export links: guarded addresses, byte ranges, stalls cut
// off, and what an answer proves about the bytes behind it.
//
// A link is foreign input. It may point into our own network, redirect there,
// stall, lie about its length, or serve an error page with status 200; every
// one of these ends as a *fault.Fault with a class that says what may be done. Only
// a file that is too large is final: what a link's server refuses may pass, and the
// provider may give another link. A Fault that wraps [ErrContent] means that the
// link answered, with the wrong bytes; one that wraps [ErrUnusable], that it was
// not asked.
//
// A proxy that the environment names is not used for links: it would connect in
// our place, to addresses that nobody has checked.
//
// The package reads what it is asked for. It does not retry, does not write
// anything, and knows nothing of S3: storage does.
package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/clipferry/clipferry/internal/egress"
)

// Defaults of [Options].
const (
	DefaultMaxSize        = 64 << 30
	DefaultStallTimeout   = 30 * time.Second
	DefaultConnectTimeout = 10 * time.Second
	DefaultMaxRedirects   = 5

	maxHeaderBytes = 64 << 10
)

// Options says how links are read. The zero value is a safe default.
type Options struct {
	// AllowedCIDRs are ranges that links may resolve to besides public
	// addresses; in them every port is open as well.
	AllowedCIDRs []netip.Prefix
	// MaxSize is the largest file read, in bytes.
	MaxSize int64
	// StallTimeout is how long a read may wait for the next 64 KiB, and how
	// long the answer's headers may take.
	StallTimeout time.Duration
	// ConnectTimeout bounds the name lookup with the connection, and the TLS
	// handshake, each.
	ConnectTimeout time.Duration
	// MaxRedirects is how many redirects are followed; each is checked like
	// the link itself. Negative means none.
	MaxRedirects int
	// UserAgent is sent with every request.
	UserAgent string
	// Resolver looks names up; nil is the system's.
	Resolver *net.Resolver
	// Logger logs redirects at debug level; nil is silent.
	Logger *slog.Logger
}

// Client reads export links. It is safe for concurrent use.
type Client struct {
	http    *http.Client
	opts    Options
	log     *slog.Logger
	closing func()
}

// New returns a Client. It fails only on options that contradict themselves.
func New(o Options) (*Client, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{
		Timeout:   o.ConnectTimeout,
		KeepAlive: 15 * time.Second,
		Resolver:  o.Resolver,
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // HTTP/2 would put all ranges on one connection
	transport := &http.Transport{
		Proxy:                  nil, // a proxy would connect for us, around the guard
		DialContext:            egress.New(o.AllowedCIDRs).Over(dialer),
		Protocols:              protocols,
		DisableCompression:     true,
		TLSHandshakeTimeout:    o.ConnectTimeout,
		ResponseHeaderTimeout:  o.StallTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConnsPerHost:    32,
		IdleConnTimeout:        30 * time.Second,
	}
	c := &Client{opts: o, log: o.Logger, closing: transport.CloseIdleConnections}
	c.http = &http.Client{Transport: transport, CheckRedirect: c.checkRedirect}
	return c, nil
}

func (o Options) withDefaults() (Options, error) {
	if o.MaxSize == 0 {
		o.MaxSize = DefaultMaxSize
	}
	if o.StallTimeout == 0 {
		o.StallTimeout = DefaultStallTimeout
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = DefaultConnectTimeout
	}
	switch {
	case o.MaxRedirects == 0:
		o.MaxRedirects = DefaultMaxRedirects
	case o.MaxRedirects < 0:
		o.MaxRedirects = 0
	}
	if o.UserAgent == "" {
		o.UserAgent = "clipferry"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if o.MaxSize < 0 {
		errs = append(errs, fmt.Errorf("max size: %d bytes is negative", o.MaxSize))
	}
	if o.StallTimeout < 0 || o.ConnectTimeout < 0 {
		errs = append(errs, errors.New("timeouts: must not be negative"))
	}
	for _, p := range o.AllowedCIDRs {
		if !p.IsValid() {
			errs = append(errs, errors.New("allowed CIDRs: holds an invalid prefix"))
		}
	}
	return o, errors.Join(errs...)
}

// MaxSize is the largest file the client reads, in bytes.
func (c *Client) MaxSize() int64 { return c.opts.MaxSize }

// Close drops idle connections. Reads under way go on.
func (c *Client) Close() { c.closing() }

// Open asks for the bytes rg of link, with a GET and never a HEAD, since signed
// links may be valid for GET only.
//
// The answer says which bytes came: a source without ranges, or one that has
// changed since rg.IfRange, sends the whole file from its start. The caller
// closes the Body; the context governs the whole read.
//
// A source that refuses ranges is asked for the whole once more, without one: it
// answers with less than that, or with any refusal at all, since what refuses a
// signed link's Range may say so in any way.
func (c *Client) Open(ctx context.Context, link string, rg Range) (*Body, error) {
	u, err := parseLink(link)
	if err != nil {
		return nil, err
	}
	body, status, err := c.ask(ctx, u, rg, rg.header())
	if err != nil && rg.whole() && refusesRanges(status) {
		body, _, err = c.ask(ctx, u, rg, "")
	}
	return body, err
}

// refusesRanges says whether the same request without a range may be answered
// better: an odd 206, or a refusal that is not about how much is asked.
func refusesRanges(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusTooEarly:
		return false
	case http.StatusPartialContent, http.StatusNotImplemented:
		return true
	}
	return status >= 400 && status < 500
}

// ask sends one request, without a Range header if that is empty.
func (c *Client) ask(ctx context.Context, u *url.URL, rg Range, header string) (_ *Body, status int, _ error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, 0, badLink("cannot be requested", scrub(err))
	}
	req.Header.Set("User-Agent", c.opts.UserAgent)
	req.Header.Set("Accept", "*/*")
	req.Header.Set("Accept-Encoding", "identity")
	if header != "" {
		req.Header.Set("Range", header)
	}
	if rg.IfRange != "" {
		req.Header.Set("If-Range", rg.IfRange)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		err = requestFault(ctx, u, err)
		cancel(nil)
		return nil, 0, err
	}
	body, err := c.accept(resp, rg)
	if err != nil {
		cancel(nil)
		_ = resp.Body.Close()
		return nil, resp.StatusCode, err
	}
	body.attach(ctx, cancel, resp.Body, c.opts.StallTimeout)
	return body, resp.StatusCode, nil
}
