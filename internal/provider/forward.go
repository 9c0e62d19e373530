package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/clipferry/clipferry/internal/secret"
)

// maxForwarded bounds an answer that is passed on, in bytes after decompression:
// real ones have tens of thousands.
const maxForwarded = 4 << 20

// Forwarded is a request of somebody else's to another call of the API. It goes on
// as it is, under our key.
type Forwarded struct {
	Method string
	// Path is escaped and begins with the API's root, /api/v2 or the older /open/v2;
	// Query is what follows the question mark.
	Path, Query string
	Header      http.Header
	// Body is sent as it comes; of Length bytes, -1 if that is not known.
	Body   io.Reader
	Length int64
	// Paid says that the request may cost money: like a submit it has a connection
	// of its own, and a failure that isn't NotSent is InDoubt. Sent is its body.
	Paid bool
	Sent json.RawMessage
}

// Reply is the provider's answer to it, as it came, our key apart.
type Reply struct {
	Status int
	Header http.Header // those that are for the client
	Body   []byte
	// Task is what the answer says of a task; zero if it isn't about one.
	Task Task
	// Failure is what it means if it isn't a success, else nil.
	Failure *Error
}

// passedOn and passedBack are the headers that go each way.
var (
	passedOn   = []string{"Content-Type", "Accept", "Accept-Language", "X-Wayinvideo-Api-Version"}
	passedBack = []string{"Content-Type", "Content-Encoding", "Content-Language", "Content-Disposition", "X-Request-Id", "X-Trace-Id"}
)

// Forward makes the request and returns the answer, of whatever status. An error is
// a *fault.Fault around an *Error: there was no answer, or not all of it.
func (c *Client) Forward(ctx context.Context, f Forwarded) (Reply, error) {
	op, client := opRead, c.reads
	if f.Paid {
		op, client = opSubmit, c.submits
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var sent sentinel
	req, err := c.forwarded(sent.watch(ctx), f)
	if err != nil {
		return Reply{}, faultOf(&Error{Kind: Rejected, Op: op, Message: "the request could not be made", Err: err})
	}
	resp, err := client.Do(req)
	if err != nil {
		return Reply{}, faultOf(c.lostAnswer(op, err, sent.provenUnsent(err)))
	}
	defer func() { _ = resp.Body.Close() }()
	body, lost := wholeBody(resp)
	r := Reply{Status: resp.StatusCode, Header: http.Header{}, Body: c.hideKey(body)}
	for _, name := range passedBack {
		if v := resp.Header.Values(name); len(v) > 0 {
			r.Header[http.CanonicalHeaderKey(name)] = v
		}
	}
	good := resp.StatusCode >= 200 && resp.StatusCode <= 299
	if lost != nil && good {
		return c.brokenOff(r, op, lost)
	}
	if !good {
		r.Failure = c.refusal(op, resp, body, f.Sent)
		return r, nil
	}
	r.understand(c, op, f.Sent)
	return r, nil
}

// hideKey takes our key out of an answer of any form, should the provider echo it.
func (c *Client) hideKey(body []byte) []byte {
	key := c.key.Reveal()
	if len(key) < minHidden {
		return body
	}
	return bytes.ReplaceAll(c.withoutKey(body), []byte(key), []byte(secret.Redacted))
}

// understand reads what a good answer says of a task, if it is about one.
func (r *Reply) understand(c *Client, op string, sent json.RawMessage) {
	env, err := decodeEnvelope(r.Body)
	if err != nil {
		return
	}
	task, err := decodeTask(env.data)
	if err == nil && usableID(task.ExportTaskID) {
		r.Task = task
		return
	}
	if env.words.own && failureCode(env.words.code) != "" {
		r.Failure = c.refusedByCode(op, r.Status, env.words, sent)
	}
}

// Made is what is left of an answer to an order of which no more than the task's id is
// known, as JSON.
func Made(id string) []byte {
	body, _ := json.Marshal(map[string]map[string]string{"data": {"id": id, "status": string(StatusCreated)}}) // strings can be
	return body
}

// brokenOff is what an answer comes to that is not whole: of a paid request the task,
// if its id is still readable.
func (c *Client) brokenOff(r Reply, op string, lost error) (Reply, error) {
	if id := salvageID(r.Body); op == opSubmit && id != "" {
		r.Body, r.Task = Made(id), salvaged(id)
		r.Header.Set("Content-Type", "application/json")
		return r, nil
	}
	e := &Error{Kind: Unavailable, Op: op, Status: r.Status, Message: "the answer broke off", Err: c.redact(lost)}
	if op == opSubmit {
		e.Kind = InDoubt
	}
	return Reply{}, faultOf(e)
}

func (c *Client) forwarded(ctx context.Context, f Forwarded) (*http.Request, error) {
	address := c.addressOf(f.Path)
	if f.Query != "" {
		address += "?" + f.Query
	}
	req, err := http.NewRequestWithContext(ctx, f.Method, address, f.Body)
	if err != nil {
		return nil, errors.New("its method or path is not valid") // the error repeats the address
	}
	req.GetBody = nil
	if f.Body != nil {
		req.ContentLength = f.Length
	}
	for _, name := range passedOn {
		if v := f.Header.Values(name); len(v) > 0 {
			req.Header[http.CanonicalHeaderKey(name)] = v
		}
	}
	req.Header.Set("Authorization", "Bearer "+c.key.Reveal())
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", c.userAgent)
	return req, nil
}

// addressOf returns the address of a path that begins with the API's root. A base
// URL that names another root stands for both of the provider's.
func (c *Client) addressOf(path string) string {
	if host, usual := strings.CutSuffix(c.root, apiRoot); usual {
		return host + path
	}
	for _, root := range []string{apiRoot, olderRoot} {
		if rest, ok := strings.CutPrefix(path, root+"/"); ok {
			return c.root + "/" + rest
		}
	}
	return c.root + path
}

const olderRoot = "/open/v2"

// wholeBody returns an answer's body, decompressed if it is compressed though we
// asked for none, and why it is not whole.
func wholeBody(resp *http.Response) ([]byte, error) {
	from, compressed, err := plain(resp.Body)
	if err != nil {
		return nil, err
	}
	if compressed {
		resp.Header.Del("Content-Encoding")
	}
	body, err := io.ReadAll(io.LimitReader(from, maxForwarded+1))
	switch {
	case err != nil:
		return body, fmt.Errorf("read the answer: %w", err)
	case len(body) > maxForwarded:
		return body[:maxForwarded], errBodyTooLarge
	}
	return body, nil
}
