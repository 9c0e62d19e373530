package tasks

import (
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Validate returns a [Faults] that names everything that is wrong with the
// export, in the same words as [ParseExport], or nil.
func (e Export) Validate() error {
	var faults Faults
	e.check(&faults)
	if len(faults) == 0 {
		if payload, _ := e.MarshalJSON(); len(payload) > MaxPayload {
			faults.add("", fmt.Sprintf("too large: %d bytes as JSON, at most %d", len(payload), MaxPayload))
		}
	}
	return faults.asError()
}

func (e *Export) check(faults *Faults) {
	if e.ProjectID == "" {
		faults.add("project_id", "required")
	}
	if e.EnableAIReframe && e.Ratio == "" {
		faults.add("ratio", "required when enable_ai_reframe is true")
	}
	if e.JobID != "" {
		if problem := CheckJobID(e.JobID); problem != "" {
			faults.add("job_id", problem)
		}
	}
	if e.Account != "" && !ValidAccount(e.Account) {
		faults.add("account", "must be 1–32 of the characters a–z 0–9 -")
	}
	if e.Tenant != "" && !ValidTenant(e.Tenant) {
		faults.add("tenant", "must be 1–32 of the characters a–z 0–9 -, the first not -")
	}
	for i := range fields {
		f := &fields[i]
		if message := f.check(e); message != "" {
			faults.add(f.name, message)
		}
	}
}

// check returns what is wrong with the field by itself, or "".
func (f *field) check(e *Export) string {
	switch {
	case f.text != nil:
		return f.checkText(*f.text(e), f.explicit(e))
	case f.number != nil:
		return checkDuration(*f.number(e), f.explicit(e))
	case f.list != nil:
		return checkIndices(*f.list(e))
	case f.notify != nil:
		return checkNotify(*f.notify(e))
	case f.labels != nil:
		return checkLabels(*f.labels(e))
	case f.extra != nil:
		return checkExtra(*f.extra(e))
	}
	return ""
}

func (f *field) checkText(s string, explicit bool) string {
	switch {
	case s == "" && explicit && !f.free:
		return "must not be empty; leave it out for the default"
	case s == "":
		return ""
	case !utf8.ValidString(s):
		return "not valid UTF-8"
	case f.allowed != nil:
		return f.checkAllowed(s)
	case len(s) > f.longest:
		return fmt.Sprintf("too long: %d bytes, at most %d", len(s), f.longest)
	case !f.free && strings.ContainsFunc(s, unprintable):
		return "must not hold control characters"
	}
	return ""
}

func (f *field) checkAllowed(s string) string {
	for _, a := range f.allowed {
		if s == a {
			return ""
		}
	}
	return fmt.Sprintf("must be one of %s, not \"%s\"", strings.Join(f.allowed, ", "), clip(s))
}

// unprintable finds control characters and the invisible marks (bidi overrides,
// zero-width joiners) that make a value look like another.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
}

func checkDuration(ms int, explicit bool) string {
	switch {
	case ms > math.MaxInt32:
		return fmt.Sprintf("must be at most %d milliseconds", math.MaxInt32)
	case ms < 0, ms == 0 && explicit:
		return "must be a positive number of milliseconds"
	}
	return ""
}

func checkIndices(list []int) string {
	if list == nil {
		return ""
	}
	if len(list) == 0 {
		return "must not be empty; leave it out to export all clips"
	}
	seen := make(map[int]bool, len(list))
	for _, n := range list {
		switch {
		case n < 0:
			return fmt.Sprintf("must not be negative: %d", n)
		case n > math.MaxInt32:
			return fmt.Sprintf("must be at most %d: %d", math.MaxInt32, n)
		case seen[n]:
			return fmt.Sprintf("must not repeat an index: %d", n)
		}
		seen[n] = true
	}
	return ""
}
