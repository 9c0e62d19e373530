package httpapi

import (
	"crypto/sha256"
	"encoding/base32"
	"net/http"
	"strings"

	"github.com/clipferry/clipferry/tasks"
)

const (
	idempotencyHeader = "Idempotency-Key"
	maxIdempotencyKey = 255
)

// takeIdempotencyKey turns the request's Idempotency-Key, where it has one, into
// the export's id: the queue then does the rest, for as long as the ledger
// remembers the export. Keys are told apart by client.
func takeIdempotencyKey(r *http.Request, e *tasks.Export) error {
	values := r.Header.Values(idempotencyHeader)
	if len(values) == 0 {
		return nil
	}
	if len(values) > 1 {
		return fail(http.StatusBadRequest, idempotencyHeader+": given more than once")
	}
	key, wrong := parseIdempotencyKey(values[0])
	if wrong != "" {
		return fail(http.StatusBadRequest, idempotencyHeader+": "+wrong)
	}
	if e.JobID != "" {
		return fail(http.StatusBadRequest, idempotencyHeader+": job_id says the same in another way; give only one of them")
	}
	e.JobID = idempotentID(clientOf(r.Context()), key)
	return nil
}

// idempotentID looks like every other id, so that nobody can tell or guess which
// key is behind it.
func idempotentID(client, key string) string {
	sum := sha256.Sum256([]byte("idempotency\x00" + client + "\x00" + key))
	return "exp_" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
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
