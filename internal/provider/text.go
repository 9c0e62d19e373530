package provider

import (
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/clipferry/clipferry/internal/secret"
)

const (
	// maxMessage bounds what we repeat of the provider's words, in runes.
	maxMessage = 300
	// maxRetryAfter bounds a wait that the provider asks for: a slip of its own, or
	// a date in another century, must not stop a fleet for the day.
	maxRetryAfter = 10 * time.Minute
)

// queries finds what follows the path of an address: signatures, mostly.
var queries = regexp.MustCompile(`(?i)(https?://[^\s?"'<>]+)\?[^\s"'<>]*`)

// clean makes foreign text fit for a log and a terminal: one line, bounded, no
// control or direction marks, no signature, and not our key should it be echoed.
func (c *Client) clean(s string) string { return c.cleanTo(s, maxMessage) }

// cleanTo is clean with a bound of its own, in runes.
func (c *Client) cleanTo(s string, most int) string {
	s = s[:min(len(s), 16*most)]
	// Marks go first, lest they hide the key from the search for it.
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.IsControl(r):
			return ' '
		case unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	s = strings.ReplaceAll(s, c.key.Reveal(), secret.Redacted)
	s = queries.ReplaceAllString(s, "$1?…")
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most-1]) + "…"
	}
	return s
}

// redactedError shows err's text without the key and keeps it for errors.Is.
type redactedError struct {
	text string
	err  error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.err }

func (c *Client) redact(err error) error {
	return &redactedError{c.clean(err.Error()), err}
}
