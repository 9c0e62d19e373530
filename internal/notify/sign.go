package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of Standard Webhooks.
const (
	headerID        = "webhook-id"
	headerTimestamp = "webhook-timestamp"
	headerSignature = "webhook-signature"
)

const (
	secretPrefix = "whsec_"
	minSecret    = 24 // bytes, as the specification has it
	maxSecret    = 64
)

// secret is a signing key, decoded.
type secret []byte

// CheckSecret says what is wrong with a signing secret, without showing it.
func CheckSecret(s string) error {
	_, err := parseSecret(s)
	return err
}

func parseSecret(s string) (secret, error) {
	encoded, ok := strings.CutPrefix(s, secretPrefix)
	if !ok {
		return nil, errors.New(`must start with whsec_; make one with: echo "whsec_$(openssl rand -base64 32)"`)
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("must be base64 after whsec_")
	}
	if len(key) < minSecret || len(key) > maxSecret {
		return nil, fmt.Errorf("must be %d to %d bytes in base64 after whsec_, not %d", minSecret, maxSecret, len(key))
	}
	return key, nil
}

func parseSecrets(list []string) ([]secret, error) {
	var secrets []secret
	var errs []error
	for i, s := range list {
		key, err := parseSecret(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("webhook secret %d %w", i+1, err))
		}
		secrets = append(secrets, key)
	}
	return secrets, errors.Join(errs...)
}

// sign sets the headers of Standard Webhooks: a receiver computes the signature
// again, refuses an old timestamp and drops an id that it has seen.
func sign(h http.Header, secrets []secret, id string, at time.Time, body []byte) {
	seconds := strconv.FormatInt(at.Unix(), 10)
	signatures := make([]string, len(secrets))
	for i, key := range secrets {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + seconds + "."))
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	h.Set(headerID, id)
	h.Set(headerTimestamp, seconds)
	h.Set(headerSignature, strings.Join(signatures, " "))
}
