package link

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/clipferry/clipferry/internal/egress"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/retry"
)

var (
	// ErrContent marks a link that answered with the wrong bytes: truncated,
	// not the kind of file expected, inconsistent with its own headers.
	ErrContent = errors.New("wrong content")
	// ErrChanged marks a file that is no longer the one asked for.
	ErrChanged = errors.New("the source has changed")
	// ErrUnusable marks a link that no request can be made for, or that leads where
	// none may: another link is needed, or another configuration.
	ErrUnusable = errors.New("unusable link")
)

// Range is what is asked of a link.
type Range struct {
	// From is the first byte, To the last one; a negative To means to the end.
	From, To int64
	// IfRange is the validator of the file that the range is of
	// ([Info.Validator]); a changed file is then sent whole.
	IfRange string
}

func (r Range) header() string {
	if r.To < 0 {
		return fmt.Sprintf("bytes=%d-", r.From)
	}
	return fmt.Sprintf("bytes=%d-%d", r.From, r.To)
}

// whole says that the range is all of the file, of whatever version.
func (r Range) whole() bool { return r.From == 0 && r.To < 0 && r.IfRange == "" }

// Info is what an answer says about the whole file.
type Info struct {
	// Size is the whole file's size in bytes, -1 when it was not announced.
	Size int64
	// Ranges says that the source answered with the range asked for.
	Ranges bool
	// ETag is the entity tag as sent when it is a strong one, else empty.
	ETag string
	// LastModified is the date as sent when it can serve as a strong validator, else empty.
	LastModified string
	// ContentType is the media type as sent.
	ContentType string
	// Digests are the hashes that the headers announce of the whole file.
	Digests []Digest
}

// Validator identifies this version of the file in If-Range; empty when the
// source gives nothing that a second request could be held to.
func (i Info) Validator() string {
	if i.ETag != "" {
		return i.ETag
	}
	return i.LastModified
}

// accept turns an answer's status line and headers into a Body without its
// stream, or into the fault that they mean.
func (c *Client) accept(resp *http.Response, rg Range) (*Body, error) {
	h := resp.Header
	if err := statusFault(resp); err != nil {
		return nil, err
	}
	b := &Body{Length: resp.ContentLength, limit: c.opts.MaxSize}
	b.Info = Info{
		Size:         resp.ContentLength,
		ETag:         strongETag(h.Get("ETag")),
		LastModified: strongDate(h.Get("Last-Modified"), h.Get("Date")),
		ContentType:  h.Get("Content-Type"),
	}
	whole := true
	if resp.StatusCode == http.StatusPartialContent {
		cr, err := parseContentRange(h.Get("Content-Range"))
		if err != nil {
			return nil, contentFault("the export link answered with a wrong Content-Range", err)
		}
		if err := cr.answers(rg, resp.ContentLength); err != nil {
			return nil, contentFault("the export link answered with another range than the one asked for", err)
		}
		b.From, b.Length = cr.first, cr.last-cr.first+1
		b.Info.Size, b.Info.Ranges = cr.total, true
		whole = cr.first == 0 && cr.last == cr.total-1
	}
	if b.Info.Size > c.opts.MaxSize {
		return nil, tooLarge(c.opts.MaxSize)
	}
	b.Info.Digests = parseDigests(h, whole)
	return b, nil
}

// statusFault returns the fault that a status means, nil for the good ones. A
// header says nothing of the bytes, Content-Encoding included: none was asked for,
// none is undone, and whether the bytes are the file is for their proof to say.
func statusFault(resp *http.Response) error {
	status := resp.StatusCode
	said := fmt.Sprintf("the export link answered %d %s", status, http.StatusText(status))
	switch status {
	case http.StatusOK, http.StatusPartialContent, http.StatusNonAuthoritativeInfo:
		return nil
	case http.StatusForbidden, http.StatusNotFound, http.StatusGone,
		// what some stores say of an expired or malformed signature
		http.StatusBadRequest, http.StatusUnauthorized:
		return fault.New(fault.LinkExpired, said, nil)
	case http.StatusRequestedRangeNotSatisfiable:
		return contentFault(said, ErrChanged)
	}
	f := fault.New(fault.Retry, said, nil)
	f.RetryAfter = retry.After(resp.Header, time.Now(), maxRetryAfter)
	return f
}

// proxyFor is where the environment would send a request; a variable for tests,
// since net/http reads the environment once.
var proxyFor = http.ProxyFromEnvironment

// proxyHint is for machines whose only way out is a proxy.
const proxyHint = "links are read directly, never through the proxy that the environment names: it would connect to addresses that nobody has checked"

// requestFault classes an error of the HTTP client.
func requestFault(ctx context.Context, u *url.URL, err error) error {
	var blocked *egress.BlockedError
	var f *fault.Fault
	switch {
	case errors.As(err, &blocked):
		return fault.New(fault.LinkExpired, fmt.Sprintf("the export link at %s is not read: %s", u.Hostname(), blocked), ErrUnusable).
			WithHint(allowHint)
	case errors.As(err, &f):
		return f
	case ctx.Err() != nil:
		return fault.New(fault.Retry, "reading the export link was interrupted", context.Cause(ctx))
	}
	f = fault.New(fault.Retry, fmt.Sprintf("the export link at %s cannot be reached", u.Hostname()), scrub(err))
	if proxy, _ := proxyFor(&http.Request{URL: u}); proxy != nil {
		f.Hint = proxyHint
	}
	return f
}

func tooLarge(limit int64) error {
	return fault.New(fault.Terminal, "the file behind the export link is larger than "+strconv.FormatInt(limit, 10)+" bytes", nil).
		WithHint("raise the size limit if it is meant")
}

func contentFault(message string, err error) *fault.Fault {
	if err == nil {
		err = ErrContent
	} else {
		err = fmt.Errorf("%w: %w", ErrContent, err)
	}
	return fault.New(fault.Retry, message, err)
}
