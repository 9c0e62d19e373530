package provider

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is an API key that can't be printed, logged or marshaled by accident.
type Secret string

// Reveal returns the key itself, for the one header that needs it.
func (s Secret) Reveal() string { return string(s) }

// String returns a placeholder.
func (s Secret) String() string { return redacted }

// GoString returns a placeholder.
func (s Secret) GoString() string { return redacted }

// Format writes a placeholder for every verb: without it, fmt shows the value
// beside a verb that doesn't fit, such as %d.
func (s Secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, redacted) }

// LogValue returns a placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a placeholder, so that JSON holds no key either.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
