package httpapi

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"

	"github.com/clipferry/clipferry/internal/secret"
)

const (
	minSigningSecret = 32
	idPrefix         = "exp_"
	idBody           = 12 // bytes of an id of ours: random, or a keyed hash
	idMAC            = 6  // bytes behind them that prove that we gave it
)

// checkSecrets names everything that is wrong with the signing secrets, and none of them.
func checkSecrets(secrets []string) error {
	var errs []error
	for i, s := range secrets {
		switch {
		case len(s) < minSigningSecret:
			errs = append(errs, fmt.Errorf("secret %d: must have at least %d characters", i+1, minSigningSecret))
		case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }):
			errs = append(errs, fmt.Errorf("secret %d: must be printable ASCII without spaces", i+1))
		}
	}
	return errors.Join(errs...)
}

// signer makes what must not be guessed: the signatures of links and the ids that
// are ours to give. It has several secrets while they are rotated: the first
// signs, all are accepted. Each use has a key of its own.
type signer struct{ links, ids, idempotency [][]byte }

func newSigner(secrets []string) signer {
	return signer{
		links:       secret.Derive(secrets, "clipferry clip links v1"),
		ids:         secret.Derive(secrets, "clipferry ids v1"),
		idempotency: secret.Derive(secrets, "clipferry idempotency keys v1"),
	}
}

func mac(key []byte, parts ...string) []byte {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		fmt.Fprintf(m, "%d:%s", len(p), p)
	}
	return m.Sum(nil)
}

var idAlphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// newID returns a fresh id for an export of the tenant.
func (s signer) newID(tenant string) string {
	var body [idBody]byte
	_, _ = rand.Read(body[:]) // never fails: it ends the program instead
	return s.id(0, tenant, body[:])
}

// idempotentID returns the id of the export that the tenant's Idempotency-Key
// stands for, by the nth secret.
func (s signer) idempotentID(n int, tenant, key string) string {
	return s.id(n, tenant, mac(s.idempotency[n], tenant, key)[:idBody])
}

func (s signer) id(n int, tenant string, body []byte) string {
	proof := mac(s.ids[n], tenant, string(body))[:idMAC]
	return idPrefix + idAlphabet.EncodeToString(append(body[:idBody:idBody], proof...))
}

// gave reports whether the id was given to the tenant by us.
func (s signer) gave(tenant, id string) bool {
	raw, err := idAlphabet.DecodeString(strings.TrimPrefix(id, idPrefix))
	if err != nil || len(raw) != idBody+idMAC {
		return false
	}
	good := false
	for n := range s.ids {
		good = hmac.Equal([]byte(s.id(n, tenant, raw[:idBody])), []byte(id)) || good
	}
	return good
}
