package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/passthrough"
)

// Passthrough carries the calls of the provider's API that are not served here;
// *passthrough.Service is one.
type Passthrough interface {
	Do(ctx context.Context, r passthrough.Request) (passthrough.Answer, error)
	// Wait is how long a request may wait for its turn; it may take a minute more.
	Wait() time.Duration
}

// passed is every path of the provider's API that is not served here, where they are
// passed on.
func (a *API) passed(w http.ResponseWriter, r *http.Request) error {
	by := callerOf(r.Context())
	request := passthrough.Request{
		Tenant: by.name, All: by.admin, Alone: a.keys.alone(), Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery,
		Header: r.Header, Body: r.Body, Length: r.ContentLength,
	}
	if r.Method == http.MethodHead {
		request.Method = http.MethodGet // net/http leaves the answer's body out
	}
	switch values := r.Header.Values(idempotencyHeader); {
	case len(values) > 1:
		return fail(http.StatusBadRequest, idempotencyHeader+": given more than once")
	case len(values) == 1:
		key, wrong := parseIdempotencyKey(values[0])
		if wrong != "" {
			return fail(http.StatusBadRequest, idempotencyHeader+": "+wrong)
		}
		request.Key = key
	}
	// It waits longer than the server lets others.
	until := time.Now().Add(a.o.Passthrough.Wait() + time.Minute)
	control := http.NewResponseController(w)
	_ = errors.Join(control.SetReadDeadline(until), control.SetWriteDeadline(until)) // a recorder has none
	request.Body = http.MaxBytesReader(w, r.Body, maxPassed)
	answer, err := a.o.Passthrough.Do(r.Context(), request)
	if err == nil && answer.Export != "" {
		age, unread := a.readBy(r.Context(), answer)
		answer.Age = age
		if unread {
			request.Unread = true
			answer, err = a.o.Passthrough.Do(r.Context(), request)
			answer.Export = ""
		}
	}
	var refused *passthrough.Refusal
	switch {
	case errors.As(err, &refused):
		return &failure{status: refused.Status, reason: refused.Reason, message: refused.Message, retryAfter: refused.RetryAfter, err: refused.Err}
	case err != nil:
		return err
	}
	answer.Body = a.resultsOf(r, answer)
	writePassed(w, answer)
	return nil
}

// readLate is for how long an export is not read at the most while a worker runs.
const readLate = 150 * time.Second

// readBy says how long ago the export that has taken up a task has read it, and whether
// it does not: its client is not to wait for a worker. Once a worker has seen the
// provider's SUCCEEDED it reads on for late clips alone, at its own pace.
func (a *API) readBy(ctx context.Context, answer passthrough.Answer) (age time.Duration, unread bool) {
	record, err := a.exports(ctx).Get(ctx, answer.Export)
	if err != nil { // an export that ended without an archive, and that Redis has lost, reads nothing
		return answer.Age, errors.Is(err, admin.ErrUnknown)
	}
	last := record.ReadAt
	if last.Before(record.CreatedAt) {
		last = record.CreatedAt
	}
	age = max(0, a.now().Sub(last))
	return age, age > readLate && !record.State.Final() && record.ProviderStatus != statusSucceeded
}

// maxPassed bounds the body of a request that is passed on, in bytes.
const maxPassed = 32 << 20

// writePassed gives the provider's answer to the client. One that was given before
// says how old it is, and which call it is of does not matter any more.
func writePassed(w http.ResponseWriter, answer passthrough.Answer) {
	h := w.Header()
	for name, values := range answer.Header {
		h[name] = values
	}
	h.Set("Cache-Control", "no-store")
	if answer.Again {
		h.Set("Age", strconv.Itoa(int(answer.Age.Seconds())))
	}
	w.WriteHeader(answer.Status)
	_, _ = w.Write(answer.Body) // a client that has gone is not our fault
}
