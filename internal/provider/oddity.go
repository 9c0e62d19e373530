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
// answer of the form that the API page gives. links says that a task that has
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
	case succeeded && slices.ContainsFunc(t.Clips, func(c Clip) bool { return c.ExportLink == "" }):
		return oddLink(raw.Clips)
	}
	return ""
}

// oddLink says which field may have taken the place of a clip's link.
func oddLink(clips json.RawMessage) string {
	var list []json.RawMessage
	_ = json.Unmarshal(clips, &list) // it was read as a list before
	for _, clip := range list {
		var fields map[string]json.RawMessage
		if json.Unmarshal(clip, &fields) != nil || fields["export_link"] != nil {
			continue
		}
		delete(fields, "thumbnail")
		if name := anyOf(fields, isAddress); name != "" {
			return fmt.Sprintf("a clip has no export_link, but an address in %q", name)
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
