package config

import (
	"cmp"
	"slices"
	"strings"
)

// Fault is one variable that is wrong.
type Fault struct {
	// Variable is its full name.
	Variable string
	// Message says what is wrong; it holds no secret.
	Message string
}

// Error is "VARIABLE: message".
func (f Fault) Error() string { return f.Variable + ": " + f.Message }

// Faults is everything that is wrong with the environment.
type Faults []Fault

// Error has one fault a line.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// add appends a fault; only the first of a variable counts.
func (fs *Faults) add(variable, message string) {
	if !slices.ContainsFunc(*fs, func(f Fault) bool { return f.Variable == variable }) {
		*fs = append(*fs, Fault{variable, message})
	}
}

// sorted brings the faults into the order of the table of variables, unknown ones last.
func (fs Faults) sorted() Faults {
	order := map[string]int{}
	for i, v := range Variables() {
		order[v.Name] = i - len(Variables())
	}
	slices.SortStableFunc(fs, func(a, b Fault) int { return cmp.Compare(order[a.Variable], order[b.Variable]) })
	return fs
}
