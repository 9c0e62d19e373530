package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/tasks"
)

const (
	idempotencyHeader = "Idempotency-Key"
	maxIdempotencyKey = 255
)

// setID gives the export an id before it is enqueued, so that a Redis whose answer was
// lost can be asked again without a second export. It is what the request's
// Idempotency-Key stands for: the queue then does the rest, for as long as the
// ledger remembers the export. Keys of different tenants differ. Or it is the
// tenant's own job_id, behind its name so that no other can take it, or a fresh one, which
// the client does not know: again says how it sends the same export once more.
func (a *API) setID(r *http.Request, e *tasks.Export) (again string, err error) {
	again = "with the same " + idempotencyHeader + " or job_id"
	values := r.Header.Values(idempotencyHeader)
	switch {
	case len(values) > 1:
		return "", fail(http.StatusBadRequest, idempotencyHeader+": given more than once")
	case len(values) == 1 && e.JobID != "":
		return "", fail(http.StatusBadRequest, idempotencyHeader+": job_id says the same in another way; give only one of them")
	case len(values) == 1:
		key, wrong := parseIdempotencyKey(values[0])
		if wrong != "" {
			return "", fail(http.StatusBadRequest, idempotencyHeader+": "+wrong)
		}
		e.JobID, err = a.idempotentID(r.Context(), e.Tenant, key)
		return again, err
	case e.JobID == "":
		e.JobID = a.signer.newID(e.Tenant)
		return "with the job_id " + e.JobID, nil
	case !strings.HasPrefix(e.JobID, idPrefix):
		e.JobID = e.Tenant + "." + e.JobID
		if !tasks.ValidID(e.JobID) {
			return "", tasks.Faults{{Field: "job_id", Message: "too long: the export's id is " + e.Tenant + ". and the job_id, at most 128 characters in all"}}
		}
	case !a.signer.gave(e.Tenant, e.JobID):
		return "", tasks.Faults{{Field: "job_id", Message: "ids that begin with " + idPrefix + " are given by this server, and this one was not given to you; use one of your own"}}
	}
	return again, nil
}

// idempotentID returns the id of the export that the key stands for. While
// secrets are rotated that may be one of a former secret.
func (a *API) idempotentID(ctx context.Context, tenant, key string) (string, error) {
	for n := 1; n < len(a.signer.ids); n++ {
		id := a.signer.idempotentID(n, tenant, key)
		_, err := a.exports(ctx).Get(ctx, id)
		if err == nil {
			return id, nil
		}
		if !errors.Is(err, admin.ErrUnknown) {
			return "", err
		}
	}
	return a.signer.idempotentID(0, tenant, key), nil
}

// parseIdempotencyKey reads the header: a quoted string as the IETF draft has
// it, or, as most programs send it, the bare key.
func parseIdempotencyKey(value string) (key, wrong string) {
	value = strings.TrimSpace(value)
	if strings.HasPrefix(value, `"`) {
		if key, wrong = unquote(value); wrong != "" {
			return "", wrong
		}
	} else {
		key = value
	}
	switch {
	case key == "":
		return "", "must not be empty"
	case len(key) > maxIdempotencyKey:
		return "", "too long, at most 255 characters"
	case strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }):
		return "", "must be printable ASCII"
	case key == value && strings.ContainsAny(key, ` ",;`):
		return "", `must be in quotes, as in "order 17"`
	}
	return key, ""
}

// unquote reads a string of RFC 9651: quotes and backslashes are escaped.
func unquote(value string) (key, wrong string) {
	var b strings.Builder
	for i := 1; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"' && i == len(value)-1:
			return b.String(), ""
		case c == '"':
			return "", "something follows the quoted string"
		case c == '\\' && i+1 < len(value) && (value[i+1] == '"' || value[i+1] == '\\'):
			i++
			b.WriteByte(value[i])
		case c == '\\':
			return "", "only quotes and backslashes may be escaped"
		default:
			b.WriteByte(c)
		}
	}
	return "", "the closing quote is missing"
}
