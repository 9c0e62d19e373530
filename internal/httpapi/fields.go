package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/clipferry/clipferry/tasks"
)

// bodyField is a field of a body that is no order's.
type bodyField struct {
	name string
	into any    // a *string, **string, *bool or *[]string
	null string // what is wrong with null; "" where that is as good as nothing
}

// maxNamed is how many unknown fields are named before the rest is left out.
const maxNamed = 20

// parseFields reads an object that holds these fields alone. The faults are of its
// fields, all of them; the error is of a body that is no such object.
func parseFields(body []byte, fields []bodyField) (tasks.Faults, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	start, err := dec.Token()
	if err != nil {
		return nil, notJSON(err)
	}
	if start != json.Delim('{') {
		return nil, fail(http.StatusBadRequest, "must be a JSON object")
	}
	var faults tasks.Faults
	seen, unknown := map[string]bool{}, 0
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, notJSON(err)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, notJSON(err)
		}
		name, _ := key.(string)
		i := slices.IndexFunc(fields, func(f bodyField) bool { return strings.EqualFold(f.name, name) })
		if i < 0 {
			if unknown++; unknown <= maxNamed {
				faults = append(faults, unknownField(name, fields))
			}
			continue
		}
		f := fields[i]
		if seen[f.name] {
			faults = append(faults, tasks.Fault{Field: f.name, Message: "given more than once"})
		}
		seen[f.name] = true
		if wrong := f.decode(raw); wrong != "" {
			faults = append(faults, tasks.Fault{Field: f.name, Message: wrong})
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, notJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fail(http.StatusBadRequest, "not valid JSON: something follows the object")
	}
	return faults, nil
}

func unknownField(name string, fields []bodyField) tasks.Fault {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	shown := shortName(name)
	if name != "" {
		shown = strings.Trim(shown, `"`)
	}
	return tasks.Fault{Field: shown, Message: unknownName("field", name, names)}
}

// decode takes the value over, and returns what is wrong with it.
func (f bodyField) decode(raw json.RawMessage) string {
	if string(raw) == "null" {
		return f.null
	}
	if json.Unmarshal(raw, f.into) == nil {
		return ""
	}
	kind := map[byte]string{'"': "a string", '{': "an object", '[': "a list", 't': "a boolean", 'f': "a boolean"}[raw[0]]
	if kind == "" {
		kind = "a number"
	}
	switch f.into.(type) {
	case *bool:
		return "must be true or false, not " + kind
	case *string, **string:
		return "must be a string, not " + kind
	}
	if kind == "a list" {
		kind = "one of other values"
	}
	return "must be a list of strings, not " + kind
}

func notJSON(err error) error {
	var at *json.SyntaxError
	if errors.As(err, &at) {
		return fail(http.StatusBadRequest, fmt.Sprintf("not valid JSON: %s (byte %d)", at.Error(), at.Offset))
	}
	return fail(http.StatusBadRequest, "not valid JSON: it ends too early")
}
