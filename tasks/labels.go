package tasks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Labels are a producer's own names and values of an export, such as show: 42.
// They are shown wherever the export is, and exports are listed by them.
type Labels map[string]string

// The bounds of labels: pairs, bytes of a name, bytes of a value.
const (
	maxLabels     = 16
	maxLabelName  = 63
	maxLabelValue = 128
)

func parseLabels(raw json.RawMessage, kind string) (Labels, error) {
	labels := Labels{}
	err := parsePairs(raw, kind, labels, func(name string, value json.RawMessage) (string, error) {
		text, err := parseText(value, kindOf(value))
		if err != nil {
			return "", fmt.Errorf("%s %w", shown(name), err)
		}
		return text, nil
	})
	if err != nil {
		return nil, err
	}
	return labels, nil
}

// checkLabels returns what is wrong with the labels, or "".
func checkLabels(labels Labels) string {
	if len(labels) > maxLabels {
		return fmt.Sprintf("must have at most %d pairs, not %d", maxLabels, len(labels))
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if problem := CheckLabel(name, labels[name]); problem != "" {
			return problem
		}
	}
	return ""
}

// CheckLabel returns what keeps a label from having that name and value, or "".
func CheckLabel(name, value string) string {
	switch {
	case !validLabelName(name):
		return fmt.Sprintf("a name must be 1–%d of the characters a–z 0–9 . _ -, not %s", maxLabelName, shown(name))
	case len(value) > maxLabelValue:
		return fmt.Sprintf("the value of %s is too long: %d bytes, at most %d", name, len(value), maxLabelValue)
	case !utf8.ValidString(value):
		return fmt.Sprintf("the value of %s is not valid UTF-8", name)
	case strings.ContainsFunc(value, unprintable):
		return fmt.Sprintf("the value of %s must not hold control characters", name)
	}
	return ""
}

func validLabelName(name string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789._-"
	return name != "" && len(name) <= maxLabelName && strings.Trim(name, allowed) == ""
}

// write adds the labels as an object, by name.
func (l Labels) write(out *bytes.Buffer) {
	out.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(l)) {
		if i > 0 {
			out.WriteByte(',')
		}
		writeText(out, name)
		out.WriteByte(':')
		writeText(out, l[name])
	}
	out.WriteByte('}')
}
