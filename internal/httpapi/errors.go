package httpapi

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/index"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/tasks"
)

// failure is an answer other than a good one.
type failure struct {
	status     int
	reason     string // what a program may go by; that of the status if empty
	message    string
	retryAfter time.Duration
	// err is what we know and the client need not; it is logged.
	err error
}

func (f *failure) Error() string {
	if f.err != nil {
		return f.message + ": " + f.err.Error()
	}
	return f.message
}

func (f *failure) Unwrap() error { return f.err }

func fail(status int, message string) *failure { return &failure{status: status, message: message} }

// The provider has two shapes of errors: one of its gateway, and one of the service
// behind it for a request that is wrong (400) or that it failed at (500). Message in
// the first one and reason in both are ours.
type (
	gatewayError struct {
		Timestamp string `json:"timestamp"`
		Status    int    `json:"status"`
		Error     string `json:"error"`
		Path      string `json:"path"`
		Message   string `json:"message"`
		Reason    string `json:"reason"`
	}
	serviceError struct {
		Message string `json:"message"`
		TraceID string `json:"trace_id"`
		Reason  string `json:"reason"`
	}
)

// reasons are the codes of failures that have none of their own.
var reasons = map[int]string{
	http.StatusBadRequest:            "invalid_request",
	http.StatusForbidden:             "forbidden",
	http.StatusNotFound:              "not_found",
	http.StatusMethodNotAllowed:      "method_not_allowed",
	http.StatusConflict:              "conflict",
	http.StatusRequestEntityTooLarge: "body_too_large",
	http.StatusUnsupportedMediaType:  "body_not_json",
	http.StatusUnprocessableEntity:   "idempotency_key_reused",
	http.StatusTooManyRequests:       "too_many_waiting",
	http.StatusInternalServerError:   "internal_error",
	http.StatusBadGateway:            "answer_lost",
	http.StatusServiceUnavailable:    "unavailable",
}

// timestampLayout is the provider's: 2026-03-10T15:52:01.610+00:00.
const timestampLayout = "2006-01-02T15:04:05.000-07:00"

// fail answers with an error, and logs those that are ours.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := asFailure(err)
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return // nobody listens any more
	}
	level, line, traceID := slog.LevelDebug, "request refused", newTraceID()
	if f.status >= http.StatusInternalServerError {
		level, line = slog.LevelError, "request failed"
	}
	a.log.Log(r.Context(), level, line, logkey.Method, shownMethod(r.Method), logkey.Route, r.Pattern,
		logkey.Status, f.status, logkey.TraceID, traceID, logkey.Error, f)
	if f.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(f.retryAfter.Seconds())))
	}
	reason := cmp.Or(f.reason, reasons[f.status])
	if f.status == http.StatusBadRequest || f.status == http.StatusInternalServerError {
		writeJSON(w, f.status, serviceError{Message: f.message, TraceID: traceID, Reason: reason})
		return
	}
	writeJSON(w, f.status, gatewayError{
		Timestamp: a.now().UTC().Format(timestampLayout), Status: f.status,
		Error: http.StatusText(f.status), Path: r.URL.Path, Message: f.message, Reason: reason,
	})
}

// newTraceID names one failure, in the answer and in the log.
func newTraceID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails: it ends the program instead
	return hex.EncodeToString(id[:])
}

// asFailure says what an error means to the client.
func asFailure(err error) *failure {
	var f *failure
	var faults tasks.Faults
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &faults):
		return &failure{status: http.StatusBadRequest, message: faults.Error(), err: err}
	case errors.Is(err, admin.ErrUnknown):
		return fail(http.StatusNotFound, "no such export")
	case errors.Is(err, index.ErrNoBatch):
		return fail(http.StatusNotFound, "no such batch")
	case errors.Is(err, export.ErrNotNow), errors.Is(err, export.ErrStale), errors.Is(err, export.ErrPaid):
		return &failure{status: http.StatusConflict, message: err.Error()}
	default:
		return &failure{
			status: http.StatusServiceUnavailable, message: "clipferry cannot answer at the moment; try again",
			retryAfter: 5 * time.Second, err: err,
		}
	}
}

// envelope is the provider's shape of a good answer.
type envelope struct {
	Data any `json:"data"`
}

func writeData(w http.ResponseWriter, data any) error {
	writeJSON(w, http.StatusOK, envelope{data})
	return nil
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(body) // our own structs marshal; a client that has gone is not our fault
}
