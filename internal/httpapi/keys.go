package httpapi

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/clipferry/clipferry/tasks"
)

// Key is one bearer key. Its name is the tenant whose exports it gives, and for
// which there are no others. An admin's sees all, and may order for any tenant.
type Key struct {
	Name   string // 1–32 of [a-z0-9-]
	Secret string // at least 16 printable ASCII characters, no spaces
	Admin  bool
}

// LogValue is the name alone.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.Name) }

// String is the name alone.
func (k Key) String() string { return k.Name }

// GoString is the name alone.
func (k Key) GoString() string { return fmt.Sprintf("httpapi.Key{%q}", k.Name) }

const minSecret = 16

// keyring holds the keys by the hashes of their secrets, so that comparing takes
// the same time whatever is presented.
type keyring []hashedKey

type hashedKey struct {
	caller
	hash [sha256.Size]byte
}

// caller is whoever a request comes from.
type caller struct {
	name  string
	admin bool
}

// nobody is no tenant's name.
const nobody = "nobody."

// tenant is whose exports there are for the caller; empty for all.
func (c caller) tenant() string {
	if c.admin {
		return ""
	}
	return cmp.Or(c.name, nobody)
}

func newKeyring(keys []Key) (keyring, error) {
	var ring keyring
	var errs []error
	seen := map[[sha256.Size]byte]bool{}
	for i, k := range keys {
		hash := sha256.Sum256([]byte(k.Secret))
		switch {
		case !tasks.ValidTenant(k.Name):
			errs = append(errs, fmt.Errorf("key %d: its name must be 1–32 of a–z 0–9 -, the first not -", i+1))
		case len(k.Secret) < minSecret:
			errs = append(errs, fmt.Errorf("key %d (%s): its secret must have at least %d characters", i+1, k.Name, minSecret))
		case strings.ContainsFunc(k.Secret, func(r rune) bool { return r <= ' ' || r > '~' }):
			errs = append(errs, fmt.Errorf("key %d (%s): its secret must be printable ASCII without spaces", i+1, k.Name))
		case seen[hash]:
			errs = append(errs, fmt.Errorf("key %d (%s): its secret is given twice", i+1, k.Name))
		}
		seen[hash] = true
		ring = append(ring, hashedKey{caller{k.Name, k.Admin}, hash})
	}
	return ring, errors.Join(errs...)
}

// alone says whether all keys are one tenant's.
func (ring keyring) alone() bool {
	return !slices.ContainsFunc(ring, func(k hashedKey) bool { return k.caller != ring[0].caller })
}

// find returns whose key has the secret. It looks at all of them.
func (ring keyring) find(secret string) (caller, bool) {
	hash := sha256.Sum256([]byte(secret))
	found := -1
	for i := range ring {
		if subtle.ConstantTimeCompare(ring[i].hash[:], hash[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return caller{}, false
	}
	return ring[found].caller, true
}

type callerKey struct{}

// callerOf returns whose key the request came with.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// clientOf returns the name of the key that the request came with, for logs.
func clientOf(ctx context.Context) string { return callerOf(ctx).name }

// exports returns the exports that there are for whoever the request comes from.
// Handlers have no other way to exports.
func (a *API) exports(ctx context.Context) Exports { return a.o.Exports(callerOf(ctx).tenant()) }

// authorized lets requests with a good key through. Like the provider it
// answers 403, never 401.
func (a *API) authorized(next handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if len(a.keys) == 0 {
			return fail(http.StatusForbidden, "the HTTP API is off: no keys are configured (CLIPFERRY_HTTP_API_KEYS)")
		}
		scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		who, ok := a.keys.find(strings.TrimSpace(secret))
		switch {
		case r.Header.Get("Authorization") == "":
			return fail(http.StatusForbidden, "the header Authorization: Bearer YOUR_API_KEY is missing")
		case !strings.EqualFold(scheme, "Bearer"):
			return fail(http.StatusForbidden, "the Authorization header must be Bearer YOUR_API_KEY")
		case !ok:
			return fail(http.StatusForbidden, "the API key is not accepted")
		}
		return next(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, who)))
	}
}

const (
	versionHeader = "x-wayinvideo-api-version"
	apiVersion    = "v2"
)

// versioned demands the provider's version header, as the provider does.
func versioned(next handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if got := r.Header.Get(versionHeader); !strings.EqualFold(got, apiVersion) {
			return fail(http.StatusForbidden, "the header "+versionHeader+": "+apiVersion+" is missing or names another version")
		}
		return next(w, r)
	}
}
