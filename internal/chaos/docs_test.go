package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	commands  = regexp.MustCompile("go test( -run '?([^ `']+)'?)?(?: -v)?((?: \\./[a-z0-9/]+)+)[` ]")
	functions = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// The commands in the documentation name tests that exist.
func TestTheDocumentedCommandsFindTheirTests(t *testing.T) {
	text, err := os.ReadFile("../../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	found := commands.FindAllStringSubmatch(string(text), -1)
	if len(found) < 15 {
		t.Fatalf("only %d commands are understood", len(found))
	}
	for _, m := range found {
		for _, dir := range strings.Fields(m[3]) {
			names := testsOf(t, filepath.Join("../..", dir))
			for _, word := range strings.Split(strings.ReplaceAll(m[2], `\|`, "|"), "|") {
				if !regexp.MustCompile(word).MatchString(names) && !elsewhere(t, m[3], word) {
					t.Errorf("%s: no test is called %s", m[0], word)
				}
			}
			if names == "" {
				t.Errorf("%s: %s has no tests", m[0], dir)
			}
		}
	}
}

// elsewhere reports whether the word is of another package of the same command.
func elsewhere(t *testing.T, dirs, word string) bool {
	for _, dir := range strings.Fields(dirs) {
		if regexp.MustCompile(word).MatchString(testsOf(t, filepath.Join("../..", dir))) {
			return true
		}
	}
	return false
}

func testsOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range functions.FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
	}
	return strings.Join(names, "\n")
}
