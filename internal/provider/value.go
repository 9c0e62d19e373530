package provider

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// The readers in this file take one JSON value of an answer. ok is false when it
// is there and not what it should be; a missing value or null is zero and ok.

func absent(raw json.RawMessage) bool {
	return len(raw) == 0 || bytes.Equal(bytes.TrimSpace(raw), []byte("null"))
}

// text reads a string.
func text(raw json.RawMessage) (s string, ok bool) {
	if absent(raw) {
		return "", true
	}
	if json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	return s, true
}

// shortText reads a string of which no more than maxText bytes are kept.
func shortText(raw json.RawMessage) (string, bool) {
	s, ok := text(raw)
	return short(s, maxText), ok
}

// address reads a URL. One that was too long to keep is of no use.
func address(raw json.RawMessage) (string, bool) {
	s, ok := text(raw)
	if strings.HasSuffix(s, cutMark) {
		return "", false
	}
	return s, ok
}

// label reads an identifier, which may be a string or an integer.
func label(raw json.RawMessage) (string, bool) {
	if s, ok := text(raw); ok {
		return s, true
	}
	if literal := string(bytes.TrimSpace(raw)); isNumber(literal) {
		return literal, true
	}
	return "", false
}

// number reads a finite number, written as one or as a string that holds one.
func number(raw json.RawMessage) (float64, bool) {
	literal, ok := numberLiteral(raw)
	if !ok || literal == "" {
		return 0, ok
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, false
	}
	return f, true
}

// amount reads a number that is not negative.
func amount(raw json.RawMessage) (float64, bool) {
	f, ok := number(raw)
	return max(0, f), ok && f >= 0
}

// integer reads a whole number likewise; a fraction is cut off.
func integer(raw json.RawMessage) (int64, bool) {
	literal, ok := numberLiteral(raw)
	if !ok || literal == "" {
		return 0, ok
	}
	if i, err := strconv.ParseInt(literal, 10, 64); err == nil {
		return i, true
	}
	f, ok := number(raw)
	// Beyond 2^53 a float no longer has every whole number.
	if !ok || math.Abs(f) > 1<<53 {
		return 0, false
	}
	return int64(f), true
}

// numberLiteral returns the digits of a number or of a string that holds one;
// empty when the value is absent or an empty string.
func numberLiteral(raw json.RawMessage) (string, bool) {
	literal := string(bytes.TrimSpace(raw))
	if s, ok := text(raw); ok {
		literal = strings.TrimSpace(s)
		if literal == "" {
			return "", true
		}
	}
	return literal, isNumber(literal)
}

// isNumber reports whether s is a number as JSON writes it, which leaves out the
// NaN, infinities, hexadecimals and underscores that strconv knows.
func isNumber(s string) bool {
	return s != "" && (s[0] == '-' || s[0] >= '0' && s[0] <= '9') && json.Valid([]byte(s))
}

const (
	// A moment below this many is in seconds: as milliseconds it would lie before
	// March 1973, as seconds it reaches to the year 5138.
	secondsBelow = int64(1e11)
	// lastMoment is the end of the year 9999, the last that RFC 3339 can write.
	lastMoment = int64(253402300799999)
)

// moment reads a time: milliseconds since 1970 as the API page has it, or seconds
// where the number is too small for that, or RFC 3339.
func moment(raw json.RawMessage) (time.Time, bool) {
	if absent(raw) {
		return time.Time{}, true
	}
	if s, ok := text(raw); ok {
		if t, err := time.Parse(time.RFC3339, strings.TrimSpace(s)); err == nil && t.UnixMilli() > 0 {
			return t.UTC(), true
		}
	}
	ms, ok := integer(raw)
	if !ok || ms < 0 {
		return time.Time{}, false
	}
	if ms == 0 {
		return time.Time{}, true
	}
	if ms < secondsBelow {
		ms *= 1000
	}
	if ms > lastMoment {
		return time.Time{}, false
	}
	return time.UnixMilli(ms).UTC(), true
}
