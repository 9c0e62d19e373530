package tasks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"
)

// MaxPayload is the size of the largest request that is accepted, in bytes of JSON.
const MaxPayload = 64 << 10

// maxUnknown is how many unknown or repeated fields are named before the rest
// is only counted: an answer to hostile input stays readable.
const maxUnknown = 20

// ParseExport reads a request from JSON, strictly: every fault (an unknown
// field, a wrong type, a value that isn't allowed, a missing condition) is
// named at once in a [Faults]. null means not set.
func ParseExport(data []byte) (Export, error) { return parse(data, refuseUnknown) }

func parse(data []byte, unknown unknownField) (Export, error) {
	var e Export
	if len(data) > MaxPayload {
		return e, Faults{{Message: fmt.Sprintf("too large: %d bytes, at most %d", len(data), MaxPayload)}}
	}
	if !utf8.Valid(data) {
		return e, Faults{{Message: "not valid UTF-8"}}
	}
	var faults Faults
	if err := e.decode(data, unknown, &faults); err != nil {
		return Export{}, Faults{{Message: err.Error()}}
	}
	e.check(&faults)
	if err := faults.asError(); err != nil {
		return Export{}, err
	}
	return e, nil
}

// decode fills e. What is wrong with a field goes to faults; the error is for
// data that isn't one JSON object.
func (e *Export) decode(data []byte, unknown unknownField, faults *Faults) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	start, err := dec.Token()
	if err != nil {
		return syntax(err)
	}
	if start != json.Delim('{') {
		return errors.New("must be a JSON object")
	}
	seen, strange := map[string]bool{}, 0
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return syntax(err)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return syntax(err)
		}
		name, _ := key.(string)
		fault := "given more than once"
		if !seen[name] {
			seen[name] = true
			fault = e.decodeField(name, raw, unknown, faults)
		}
		if fault == "" {
			continue
		}
		if strange++; strange <= maxUnknown {
			faults.add(shown(name), fault)
		}
	}
	if _, err := dec.Token(); err != nil {
		return syntax(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("not valid JSON: something follows the object")
	}
	if strange > maxUnknown {
		faults.add("", fmt.Sprintf("and %d more unknown or repeated fields", strange-maxUnknown))
	}
	return nil
}

// shown is a field's name as a fault has it: an empty one must not look like a
// fault of the whole.
func shown(name string) string {
	if name == "" {
		return `""`
	}
	return clip(name)
}

func syntax(err error) error {
	var at *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("not valid JSON: it ends too early")
	case errors.As(err, &at):
		return fmt.Errorf("not valid JSON: %s (byte %d)", at.Error(), at.Offset)
	default:
		return fmt.Errorf("not valid JSON: %w", err)
	}
}

// decodeField takes over a field. What is wrong with its value goes to faults; it
// returns what is wrong with its name.
func (e *Export) decodeField(name string, raw json.RawMessage, unknown unknownField, faults *Faults) string {
	i := fieldIndex(name)
	if i < 0 {
		return e.pass(name, raw, unknown)
	}
	kind := kindOf(raw)
	if kind == "null" {
		return ""
	}
	f := &fields[i]
	var err error
	switch {
	case f.text != nil:
		*f.text(e), err = parseText(raw, kind)
	case f.flag != nil:
		*f.flag(e), err = parseFlag(raw, kind)
	case f.number != nil:
		*f.number(e), err = parseNumber(raw, kind)
	case f.list != nil:
		*f.list(e), err = parseList(raw, kind)
	case f.notify != nil:
		*f.notify(e), err = parseNotify(raw, kind)
	case f.labels != nil:
		*f.labels(e), err = parseLabels(raw, kind)
	case f.extra != nil:
		*f.extra(e), err = parseExtra(raw, kind, e.Extra)
	}
	if err != nil {
		faults.add(name, err.Error())
		return ""
	}
	e.set |= 1 << i
	return ""
}

func parseText(raw json.RawMessage, kind string) (string, error) {
	if kind != "a string" {
		return "", fmt.Errorf("must be a string, not %s", kind)
	}
	if loneSurrogate(raw) {
		return "", errors.New("holds half of a surrogate pair, which is no character")
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", syntax(err)
	}
	return s, nil
}

func parseFlag(raw json.RawMessage, kind string) (bool, error) {
	if kind != "a boolean" {
		return false, fmt.Errorf("must be true or false, not %s", kind)
	}
	return string(raw) == "true", nil
}

func parseNumber(raw json.RawMessage, kind string) (int, error) {
	if kind != "a number" {
		return 0, fmt.Errorf("must be a whole number, not %s", kind)
	}
	n, err := strconv.ParseInt(string(raw), 10, 32)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("must be between %d and %d", math.MinInt32, math.MaxInt32)
	case err != nil:
		return 0, fmt.Errorf("must be a whole number, not %s", clip(string(raw)))
	}
	return int(n), nil
}

func parseList(raw json.RawMessage, kind string) ([]int, error) {
	if kind != "a list" {
		return nil, fmt.Errorf("must be a list of whole numbers, not %s", kind)
	}
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, syntax(err)
	}
	list := make([]int, len(items))
	for i, item := range items {
		n, err := parseNumber(item, kindOf(item))
		if err != nil {
			return nil, fmt.Errorf("item %d %w", i+1, err)
		}
		list[i] = n
	}
	return list, nil
}

// kindOf names the type of a valid JSON value as a message has it.
func kindOf(raw json.RawMessage) string {
	switch raw[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

// loneSurrogate reports whether a JSON string has an escape such as \ud800
// without its other half; encoding/json would silently replace it.
func loneSurrogate(raw []byte) bool {
	for i := 0; i+1 < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++
		if raw[i] != 'u' {
			continue
		}
		r := hex4(raw, i+1)
		i += 4
		switch {
		case r >= 0xDC00 && r <= 0xDFFF:
			return true
		case r >= 0xD800 && r <= 0xDBFF:
			if i+2 >= len(raw) || raw[i+1] != '\\' || raw[i+2] != 'u' {
				return true
			}
			if low := hex4(raw, i+3); low < 0xDC00 || low > 0xDFFF {
				return true
			}
			i += 6
		}
	}
	return false
}

func hex4(raw []byte, at int) int {
	if at+4 > len(raw) {
		return -1
	}
	n, err := strconv.ParseUint(string(raw[at:at+4]), 16, 32)
	if err != nil {
		return -1
	}
	return int(n)
}

// clip shortens what somebody else wrote, and escapes it, for a message.
func clip(s string) string {
	const longest = 60
	short := s
	if len(short) > longest {
		short = short[:longest]
		for !utf8.ValidString(short) {
			short = short[:len(short)-1]
		}
		short += "…"
	}
	quoted := strconv.Quote(short)
	return quoted[1 : len(quoted)-1]
}
