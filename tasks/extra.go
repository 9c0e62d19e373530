package tasks

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/clipferry/clipferry/internal/nearest"
)

// Fields are fields of the provider's that this version does not know, by name,
// each with its value as JSON.
type Fields map[string]json.RawMessage

// The bounds of what is passed on unseen: fields, bytes of a name, bytes of all values.
const (
	maxExtra      = 50
	maxExtraName  = 128
	maxExtraBytes = 16 << 10
)

// parseExtra adds the fields of an object to those that stand beside it.
func parseExtra(raw json.RawMessage, kind string, beside Fields) (Fields, error) {
	extra := maps.Clone(beside)
	if extra == nil {
		extra = Fields{}
	}
	err := parsePairs(raw, kind, extra, func(_ string, value json.RawMessage) (json.RawMessage, error) { return compact(value), nil })
	if err != nil {
		return nil, err
	}
	return extra, nil
}

// parsePairs adds the members of an object to a map, each as parse returns it. None
// may be there already: a decoder of its own would let the last of two win.
func parsePairs[V any](raw json.RawMessage, kind string, into map[string]V, parse func(name string, value json.RawMessage) (V, error)) error {
	if kind != "an object" {
		return fmt.Errorf("must be an object, not %s", kind)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	_, _ = dec.Token() // the brace that was seen
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return syntax(err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return syntax(err)
		}
		name, _ := key.(string)
		if _, repeated := into[name]; repeated {
			return fmt.Errorf("%s is given more than once", shown(name))
		}
		if into[name], err = parse(name, value); err != nil {
			return err
		}
	}
	return nil
}

// compact returns the value without the spaces between its parts, so that they do
// not make a request another one. What is no JSON stays, for check to find.
func compact(value json.RawMessage) json.RawMessage {
	var out bytes.Buffer
	if json.Compact(&out, value) != nil {
		return value
	}
	return out.Bytes()
}

// checkExtra returns what is wrong with the fields, or "".
func checkExtra(extra Fields) string {
	if len(extra) > maxExtra {
		return fmt.Sprintf("must have at most %d fields, not %d", maxExtra, len(extra))
	}
	size := 0
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		size += len(extra[name])
		switch {
		case fieldIndex(name) >= 0:
			return fmt.Sprintf("must not hold %s, which is a known field: give it beside extra", name)
		case name == "" || len(name) > maxExtraName:
			return fmt.Sprintf("the name of a field must be 1–%d bytes long, not %d", maxExtraName, len(name))
		case !utf8.ValidString(name) || strings.ContainsFunc(name, unprintable):
			return fmt.Sprintf("the name %s must not hold control characters", shown(name))
		case !utf8.Valid(extra[name]) || !json.Valid(extra[name]):
			return fmt.Sprintf("the value of %s is not JSON", shown(name))
		}
	}
	if size > maxExtraBytes {
		return fmt.Sprintf("too large: %d bytes, at most %d", size, maxExtraBytes)
	}
	return ""
}

// write adds the fields to an object that is open, by name.
func (x Fields) write(out *bytes.Buffer) {
	for _, name := range slices.Sorted(maps.Keys(x)) {
		if last := out.Bytes()[out.Len()-1]; last != '{' {
			out.WriteByte(',')
		}
		writeText(out, name)
		out.WriteByte(':')
		out.Write(compact(x[name]))
	}
}

// unknownField says what becomes of a field that is not known: it goes to Extra if
// the fault is empty.
type unknownField func(name string) (fault string)

// refuseUnknown is the rule for what is written for us.
func refuseUnknown(name string) string {
	return cmp.Or(refuseNearMiss(name), "unknown field")
}

// refuseNearMiss is the rule for what is written for the provider, which may have
// fields of which we don't know.
func refuseNearMiss(name string) string {
	if meant := nearest.Name(name, FieldNames()); meant != "" {
		return fmt.Sprintf("unknown field; did you mean %s?", meant)
	}
	return ""
}

// passUnknown is the rule for what was sent to the provider already.
func passUnknown(string) string { return "" }

// ParseBody reads a request body that was written for the provider: what
// [ParseExport] does not know goes to [Export.Extra], unless it is a misspelled
// field that it knows.
func ParseBody(data []byte) (Export, error) { return parse(data, refuseNearMiss) }

// ParseSent reads what [Export.Body] gave: what is not known there goes to
// [Export.Extra], where it came from.
func ParseSent(data []byte) (Export, error) { return parse(data, passUnknown) }

// pass takes an unknown field over to Extra, or returns what is wrong with it.
func (e *Export) pass(name string, raw json.RawMessage, unknown unknownField) string {
	if fault := unknown(name); fault != "" {
		return fault
	}
	if _, repeated := e.Extra[name]; repeated {
		return "given inside extra as well"
	}
	if e.Extra == nil {
		e.Extra = Fields{}
	}
	e.Extra[name] = compact(raw)
	return ""
}
