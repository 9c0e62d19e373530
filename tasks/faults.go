package tasks

import (
	"slices"
	"strings"
)

// Fault is one thing that is wrong with an export.
type Fault struct {
	// Field is the field's name in JSON, or "" when the whole is at fault.
	Field string
	// Message says what is wrong, without the field's name.
	Message string
}

// Error is "field: message".
func (f Fault) Error() string {
	if f.Field == "" {
		return f.Message
	}
	return f.Field + ": " + f.Message
}

// Faults is everything that is wrong with an export, in the order of the API's
// page. It is the error of [ParseExport] and [Export.Validate].
type Faults []Fault

// Error joins all faults with "; ".
func (fs Faults) Error() string {
	return strings.Join(fs.Texts(), "; ")
}

// Texts returns each fault as [Fault.Error] has it.
func (fs Faults) Texts() []string {
	texts := make([]string, len(fs))
	for i, f := range fs {
		texts[i] = f.Error()
	}
	return texts
}

// add appends a fault; a field has one at most, since a second only repeats the first.
func (fs *Faults) add(field, message string) {
	if field != "" && fs.has(field) {
		return
	}
	*fs = append(*fs, Fault{Field: field, Message: message})
}

func (fs Faults) has(field string) bool {
	return slices.ContainsFunc(fs, func(f Fault) bool { return f.Field == field })
}

// asError returns the faults in the order of the fields, unknown ones last, or nil.
func (fs Faults) asError() error {
	if len(fs) == 0 {
		return nil
	}
	slices.SortStableFunc(fs, func(a, b Fault) int { return a.rank() - b.rank() })
	return fs
}

func (f Fault) rank() int {
	if i := fieldIndex(f.Field); i >= 0 {
		return i
	}
	return len(fields)
}
