// Package provider is the Clips Export API as a client: it submits an export, reads
// how far it has come, and says of every failure what it means.
//
// It makes exactly one request a call. When to call, how often, and what to do
// after a failure is for the caller, who shares the provider's budget with the
// whole fleet. The request's own rules (which fields, which values) are package
// tasks'; here its body is sent as given.
//
// The one thing that must never be guessed is whether a submit reached the
// provider, because a submit costs money and can't be taken back. So a failed
// submit is [NotSent] only where that is proven, and [InDoubt] otherwise:
//
//   - every submit has a connection of its own. A kept one may be closed by the
//     other side while the request is on its way, which looks the same as
//     an answer that was lost; and net/http sends nothing twice on a fresh one;
//   - redirects are not followed, for reads neither;
//   - HTTP/2 is off, since its transport may send a request again.
//
// Answers are foreign: they are read through a limit, each string is cut to a few
// KB, our key is taken out of texts, numbers may come as strings,
// and whatever is wrong in one clip costs that clip only (see [Task].Warnings).
package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/secret"
)

// DefaultBaseURL is the provider's own.
const DefaultBaseURL = "https://wayinvideo-api.wayin.ai"

const (
	apiVersion = "v2"
	apiRoot    = "/api/v2"
	exportPath = "/clips/export"

	defaultTimeout = 25 * time.Second
	// maxErrorBody is how much of a refusal is read for its message.
	maxErrorBody = 1 << 20
	// maxHeader bounds the answer's header, in bytes.
	maxHeader = 64 << 10
	// maxIDLen bounds a task id, in bytes; the page's own are about 20 long.
	maxIDLen = 512
)

// Options configure a Client.
type Options struct {
	// BaseURL is the provider's address, DefaultBaseURL if empty. "/api/v2" is
	// added to it, unless its path already ends in "/v2" (as in ".../open/v2").
	BaseURL string
	// Key is the API key; required.
	Key secret.String
	// HTTPClient is used instead of one of our own. Its *http.Transport (or the
	// default one) is cloned and hardened as the package describes; any other
	// RoundTripper is used as it is.
	HTTPClient *http.Client
	// Timeout bounds one call, from dialing to the answer's last byte; 25 s if zero.
	Timeout time.Duration
	// MaxBody bounds an answer's body, in bytes after decompression; 32 MiB if
	// zero. Of each of its strings, the first 8 KiB are kept.
	MaxBody int64
	// UserAgent is sent with each request; "clipferry" if empty.
	UserAgent string
}

// Client talks to the Clips Export API. It is safe for concurrent use.
type Client struct {
	root string
	// key is behind a pointer because fmt reads a field that isn't exported
	// without asking its methods.
	key       *secret.String
	reads     *http.Client
	submits   *http.Client
	timeout   time.Duration
	maxBody   int64
	userAgent string
}

// New returns a Client, or an error that names every option that is wrong.
func New(o Options) (*Client, error) {
	root, err := rootURL(o.BaseURL)
	errs := []error{err}
	if o.Key == "" {
		errs = append(errs, errors.New("provider: key: required"))
	}
	if strings.ContainsFunc(o.Key.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		errs = append(errs, errors.New("provider: key: holds a space, a line break or another character that no key has"))
	}
	if o.Timeout < 0 || o.MaxBody < 0 {
		errs = append(errs, errors.New("provider: timeout and max body: must not be negative"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c := &Client{root: root, key: &o.Key, timeout: o.Timeout, maxBody: o.MaxBody, userAgent: o.UserAgent}
	if c.timeout == 0 {
		c.timeout = defaultTimeout
	}
	if c.maxBody == 0 {
		c.maxBody = defaultMaxBody
	}
	if c.userAgent == "" {
		c.userAgent = "clipferry"
	}
	c.reads = httpClient(o.HTTPClient, false)
	c.submits = httpClient(o.HTTPClient, true)
	return c, nil
}

// rootURL returns the address that exportPath is appended to.
func rootURL(base string) (string, error) {
	if base == "" {
		base = DefaultBaseURL
	}
	u, err := url.Parse(base)
	if err != nil {
		// url.Error repeats the address, which may hold a password.
		return "", errors.New("provider: base url: not a valid URL")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return "", errors.New("provider: base url: must start with https:// or http://")
	case u.Host == "":
		return "", errors.New("provider: base url: has no host")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", errors.New("provider: base url: must not hold a user, a query or a fragment")
	}
	root := strings.TrimRight(u.Scheme+"://"+u.Host+u.EscapedPath(), "/")
	if !strings.HasSuffix(root, "/"+apiVersion) {
		root += apiRoot
	}
	return root, nil
}

// httpClient returns given (or a new client) hardened. fresh gives each request
// a connection of its own.
func httpClient(given *http.Client, fresh bool) *http.Client {
	c := &http.Client{}
	if given != nil {
		*c = *given
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	var t *http.Transport
	switch given := c.Transport.(type) {
	case nil:
		t = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout: 10 * time.Second,
			IdleConnTimeout:     60 * time.Second,
		}
	case *http.Transport:
		t = given.Clone()
	default:
		return c
	}
	t.DisableKeepAlives = fresh
	t.DisableCompression = true
	t.MaxResponseHeaderBytes = maxHeader
	t.ForceAttemptHTTP2 = false
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.TLSNextProto = nil
	if t.TLSClientConfig != nil { // a client that once spoke HTTP/2 would still offer it
		t.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	c.Transport = t
	return c
}

// Close drops the connections that are kept for reads.
func (c *Client) Close() {
	c.reads.CloseIdleConnections()
	c.submits.CloseIdleConnections()
}

// Submit asks the provider to render an export and returns the task that it
// created. body is the request as JSON, sent as it is.
//
// A submit is charged as soon as the provider accepts it. An error is a
// *fault.Fault around an *Error; its kind says whether the submit may have been
// accepted.
func (c *Client) Submit(ctx context.Context, body json.RawMessage) (Task, error) {
	if !json.Valid(body) {
		return Task{}, faultOf(&Error{Kind: Rejected, Op: opSubmit, Specific: true, Message: "the request is not JSON and was not sent"})
	}
	ans, e := c.roundTrip(ctx, opSubmit, c.root+exportPath, body)
	if e != nil {
		return Task{}, faultOf(e)
	}
	task, e := c.submitted(ans, body)
	if e != nil {
		return Task{}, faultOf(e)
	}
	return task, nil
}

// resultsOf are the paths of the results of each kind of task.
var resultsOf = map[string]string{
	"": exportPath, "export": exportPath, "clips": "/clips/results", "moments": "/clips/find-moments/results",
}

// Read returns a task as it is now: of the kind export (or none), clips or moments. An
// error is a *fault.Fault around an *Error.
func (c *Client) Read(ctx context.Context, kind, taskID string) (Task, error) {
	results, known := resultsOf[kind]
	if !known {
		return Task{}, faultOf(&Error{Kind: Rejected, Op: opRead, Message: "there is no kind " + kind + " of tasks, nothing was sent"})
	}
	if !usableID(taskID) {
		return Task{}, faultOf(&Error{Kind: Rejected, Op: opRead, Message: "no task can have this id, nothing was sent"})
	}
	ans, e := c.roundTrip(ctx, opRead, c.root+results+"/"+url.PathEscape(taskID), nil)
	if e != nil {
		return Task{}, faultOf(e)
	}
	task, e := c.read(ans, taskID, results == exportPath)
	if e != nil {
		return Task{}, faultOf(e)
	}
	return task, nil
}

// response is one with status 2xx.
type response struct {
	status      int
	contentType string
	body        []byte
	// lost is why the body is not whole, nil if it is.
	lost error
}

// roundTrip makes one request and returns its answer if the status is 2xx, else
// what the failure means.
func (c *Client) roundTrip(ctx context.Context, op, address string, body []byte) (*response, *Error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var sent sentinel
	req, err := c.request(sent.watch(ctx), op, address, body)
	if err != nil {
		return nil, &Error{Kind: Rejected, Op: op, Message: "the request could not be made", Err: err}
	}
	client := c.reads
	if op == opSubmit {
		client = c.submits
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, c.lostAnswer(op, err, sent.provenUnsent(err))
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		text, _ := readBody(resp, maxErrorBody)
		return nil, c.refusal(op, resp, text, body)
	}
	text, lost := readBody(resp, c.maxBody)
	return &response{resp.StatusCode, resp.Header.Get("Content-Type"), text, lost}, nil
}

func (c *Client) request(ctx context.Context, op, address string, body []byte) (*http.Request, error) {
	method := http.MethodGet
	var reader io.Reader
	if op == opSubmit {
		method, reader = http.MethodPost, bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, reader)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	// Without GetBody nobody, not even a RoundTripper of the caller's, can
	// rewind the body and send it again.
	req.GetBody = nil
	req.Header.Set("Authorization", "Bearer "+c.key.Reveal())
	req.Header.Set("x-wayinvideo-api-version", apiVersion)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", c.userAgent)
	return req, nil
}

// usableID reports whether id can be put into a path and names one task only. It
// is generous: a submit whose id is refused here is paid for and in doubt.
func usableID(id string) bool {
	if strings.TrimSpace(id) == "" || len(id) > maxIDLen || id == "." || id == ".." {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' })
}
