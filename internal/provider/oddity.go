package provider

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxOddity bounds what is said of an oddity, in runes; maxStatus the status in it, in
// bytes.
const (
	maxOddity = 200
	maxStatus = 40
)

// oddity says what of a task's answer has a form that nobody here knows, though the
// answer is one: then nothing that it lacks is missing for good. It is empty for an
// answer of the form that the API page gives; what is odd of a clip is said there. links says that a task that has
// succeeded must have them.
func oddity(t Task, links bool) string {
	var raw rawTask
	if json.Unmarshal(t.Raw, &raw) != nil {
		return ""
	}
	succeeded := t.Status == StatusSucceeded && links
	switch {
	case !t.Status.Known():
		return fmt.Sprintf("its status is %q, which is none that is known", short(string(t.Status), maxStatus))
	case t.Status == StatusFailed:
		return ""
	case !absent(raw.Clips) && !isList(raw.Clips):
		return "its clips are not a list"
	case succeeded && raw.Clips == nil:
		if name := fieldWith(t.Raw, isList); name != "" {
			return fmt.Sprintf("it has succeeded and has no clips, but a list of %q", name)
		}
	case succeeded && len(t.Clips) == 0 && t.Nameless > 0:
		return "none of its clips has a usable idx"
	}
	return ""
}

// oddLink says which field of a clip may have taken the place of its link.
func oddLink(clip json.RawMessage) string {
	fields := fieldsOf(clip)
	if fields["export_link"] != nil {
		return ""
	}
	delete(fields, "thumbnail")
	if name := anyOf(fields, isAddress); name != "" {
		return fmt.Sprintf("a clip has no export_link, but an address in %q", name)
	}
	return ""
}

// OddFor is [Task.Odd] for who asked for these clips, or for all with none: one of them may
// lack its link in a way that is odd. Others may be listed without.
func (t Task) OddFor(wanted []int) string {
	if t.Odd != "" {
		return t.Odd
	}
	for _, c := range t.Clips {
		if c.Odd != "" && (len(wanted) == 0 || slices.Contains(wanted, c.Idx)) {
			return c.Odd
		}
	}
	return ""
}

// fieldWith names a field of the object whose value is such a one.
func fieldWith(object json.RawMessage, is func(json.RawMessage) bool) string {
	return anyOf(fieldsOf(object), is)
}

func anyOf(fields map[string]json.RawMessage, is func(json.RawMessage) bool) string {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if is(fields[name]) {
			return short(name, maxStatus)
		}
	}
	return ""
}

func isList(raw json.RawMessage) bool { return strings.HasPrefix(string(raw), "[") }

func isAddress(raw json.RawMessage) bool {
	s, _ := text(raw)
	return strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://")
}
