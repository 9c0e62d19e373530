// Package secret is a string that no log, message or document shows by accident.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what stands in a secret's place.
const Redacted = "[redacted]"

// String is a secret. Wherever it is printed, logged or marshaled, [Redacted] is
// shown; only fmt, when it is given a struct with a field that isn't exported,
// does not ask: keep such a field behind a pointer.
type String string

// Reveal returns the secret itself.
func (s String) Reveal() string { return string(s) }

// String returns a placeholder.
func (s String) String() string { return Redacted }

// GoString returns a placeholder.
func (s String) GoString() string { return Redacted }

// Format writes a placeholder for every verb: without it, fmt shows the value
// beside a verb that doesn't fit, such as %d.
func (s String) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, Redacted) }

// LogValue returns a placeholder.
func (s String) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText returns a placeholder, so that JSON holds no secret either.
func (s String) MarshalText() ([]byte, error) { return []byte(Redacted), nil }
