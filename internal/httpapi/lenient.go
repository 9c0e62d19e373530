package httpapi

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/clipferry/clipferry/tasks"
)

// maxIgnored is how many ignored fields are named in the log.
const maxIgnored = 20

// dropUnknown returns a request body without the fields that are neither the
// API's nor ours, and their names as a log may show them: a program that sends
// more than the API's page has must go on working here. What is not one JSON
// object comes back unchanged, for the parser to say what is wrong.
func dropUnknown(body []byte) (kept []byte, ignored []string) {
	dec := json.NewDecoder(bytes.NewReader(body))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return body, nil
	}
	known := tasks.FieldNames()
	out := bytes.NewBufferString("{")
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return body, nil
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return body, nil
		}
		name, _ := token.(string)
		if !slices.Contains(known, name) {
			if len(ignored) < maxIgnored {
				ignored = append(ignored, shortName(name))
			}
			continue
		}
		if out.Len() > 1 {
			out.WriteByte(',')
		}
		out.WriteString(strconv.Quote(name) + ":") // a known name is plain ASCII
		out.Write(value)
	}
	if len(ignored) == 0 {
		return body, nil
	}
	out.WriteByte('}')
	if _, err := dec.Token(); err != nil { // the closing brace
		return body, nil
	}
	if dec.InputOffset() < int64(len(bytes.TrimRight(body, " \t\r\n"))) {
		return body, nil // something follows the object
	}
	return out.Bytes(), ignored
}

func shortName(name string) string {
	const longest = 60
	if len(name) > longest {
		name = name[:longest]
	}
	return strconv.QuoteToASCII(name)
}
