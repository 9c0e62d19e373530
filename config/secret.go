package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/secret"
	"github.com/clipferry/clipferry/tasks"
)

// checkSecret says what is wrong with a secret of ours, which has a least length, or "".
func checkSecret(s string, least int) string {
	switch {
	case len(s) < least:
		return fmt.Sprintf("has less than %d characters", least)
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "is not printable ASCII without spaces"
	}
	return ""
}

// Secrets is a comma-separated list of signing secrets, each of at least 32 characters.
type Secrets []secret.String

// Decode reads the list. Its errors name a secret by its place.
func (s *Secrets) Decode(value string) error {
	*s = nil
	return each(value, func(place int, item string) error {
		*s = append(*s, secret.String(item))
		if problem := checkSecret(item, 32); problem != "" {
			return fmt.Errorf("secret %d %s", place, problem)
		}
		return nil
	})
}

// WebhookSecrets is a comma-separated list of signing secrets.
type WebhookSecrets []secret.String

// Decode reads the list. Its errors name a secret by its place.
func (s *WebhookSecrets) Decode(value string) error {
	*s = nil
	return each(value, func(place int, item string) error {
		*s = append(*s, secret.String(item))
		if err := notify.CheckSecret(item); err != nil {
			return fmt.Errorf("secret %d %w", place, err)
		}
		return nil
	})
}

// NamedSecret is a secret and whose it is.
type NamedSecret struct {
	Name   string
	Secret secret.String
}

// NamedSecrets is a comma-separated list of name:secret. A name may come
// again, a secret may not.
type NamedSecrets []NamedSecret

// Decode reads the list. Its errors name a secret by its place.
func (n *NamedSecrets) Decode(list string) error {
	*n = nil
	var all NamedSecrets
	seen := map[string]bool{}
	err := each(list, func(place int, item string) error {
		name, value, ok := strings.Cut(item, ":")
		problem := checkSecret(value, 16)
		switch {
		case !ok:
			return fmt.Errorf("item %d is not name:secret", place)
		case !tasks.ValidTenant(name):
			return fmt.Errorf("the name of item %d %w", place, errTenantName)
		case problem != "":
			return fmt.Errorf("the secret of item %d %s", place, problem)
		case seen[value]:
			return fmt.Errorf("the secret of item %d is given twice", place)
		}
		seen[value] = true
		all = append(all, NamedSecret{name, secret.String(value)})
		return nil
	})
	if err == nil {
		*n = all
	}
	return err
}

// Credentials are a user name and a password.
type Credentials struct {
	User     string
	Password secret.String
}

// Decode reads user:password; empty means none.
func (c *Credentials) Decode(value string) error {
	*c = Credentials{}
	if value == "" {
		return nil
	}
	user, password, ok := strings.Cut(value, ":")
	switch {
	case !ok || user == "":
		return errors.New("must be user:password")
	case len(password) < leastPassword:
		return fmt.Errorf("the password must have at least %d characters", leastPassword)
	}
	*c = Credentials{user, secret.String(password)}
	return nil
}

const leastPassword = 8

// Users is a comma-separated list of user:password. A password has no comma.
type Users []Credentials

// Decode reads the list. Its errors name a user by the place.
func (u *Users) Decode(value string) error {
	*u = nil
	seen := map[string]bool{}
	return each(value, func(place int, item string) error {
		var c Credentials
		if err := c.Decode(item); err != nil {
			return fmt.Errorf("item %d: %w", place, err)
		}
		if seen[c.User] {
			return fmt.Errorf("item %d has the name of another one", place)
		}
		seen[c.User] = true
		*u = append(*u, c)
		return nil
	})
}
