package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/tasks"
)

const redacted = "[redacted]"

// Secret is a string that can't be printed, logged or marshaled by accident.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String returns a placeholder.
func (s Secret) String() string { return redacted }

// GoString returns a placeholder.
func (s Secret) GoString() string { return redacted }

// Format writes a placeholder for every verb, %d and %x included.
func (s Secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, redacted) }

// LogValue returns a placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a placeholder, so that JSON holds no secret either.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// check says what is wrong with a secret of ours, or "".
func (s Secret) check() string {
	const least = 16
	switch {
	case len(s) < least:
		return fmt.Sprintf("has less than %d characters", least)
	case strings.ContainsFunc(string(s), func(r rune) bool { return r <= ' ' || r > '~' }):
		return "is not printable ASCII without spaces"
	}
	return ""
}

// Secrets is a comma-separated list of secrets, each of at least 16 characters.
type Secrets []Secret

// Decode reads the list. Its errors name a secret by its place.
func (s *Secrets) Decode(value string) error {
	*s = nil
	for item := range items(value) {
		*s = append(*s, Secret(item))
		if problem := Secret(item).check(); problem != "" {
			return fmt.Errorf("secret %d %s", len(*s), problem)
		}
	}
	return nil
}

// WebhookSecrets is a comma-separated list of signing secrets.
type WebhookSecrets []Secret

// Decode reads the list. Its errors name a secret by its place.
func (s *WebhookSecrets) Decode(value string) error {
	*s = nil
	for item := range items(value) {
		*s = append(*s, Secret(item))
		if err := notify.CheckSecret(item); err != nil {
			return fmt.Errorf("secret %d %w", len(*s), err)
		}
	}
	return nil
}

// NamedSecret is a secret and whose it is.
type NamedSecret struct {
	Name   string
	Secret Secret
}

// NamedSecrets is a comma-separated list of name:secret. A name may come
// again, a secret may not.
type NamedSecrets []NamedSecret

// Decode reads the list. Its errors name a secret by its place.
func (n *NamedSecrets) Decode(value string) error {
	*n = nil
	seen := map[string]bool{}
	for item := range items(value) {
		name, secret, ok := strings.Cut(item, ":")
		place := len(*n) + 1
		problem := Secret(secret).check()
		switch {
		case !ok:
			return fmt.Errorf("item %d is not name:secret", place)
		case !tasks.ValidID(name):
			return fmt.Errorf("the name of item %d must be 1–128 of the characters A–Z a–z 0–9 . _ -", place)
		case problem != "":
			return fmt.Errorf("the secret of item %d %s", place, problem)
		case seen[secret]:
			return fmt.Errorf("the secret of item %d is given twice", place)
		}
		seen[secret] = true
		*n = append(*n, NamedSecret{name, Secret(secret)})
	}
	return nil
}

// Credentials are a user name and a password.
type Credentials struct {
	User     string
	Password Secret
}

// Decode reads user:password; empty means none.
func (c *Credentials) Decode(value string) error {
	const least = 8
	*c = Credentials{}
	if value == "" {
		return nil
	}
	user, password, ok := strings.Cut(value, ":")
	switch {
	case !ok || user == "":
		return errors.New("must be user:password")
	case len(password) < least:
		return fmt.Errorf("the password must have at least %d characters", least)
	}
	*c = Credentials{user, Secret(password)}
	return nil
}
