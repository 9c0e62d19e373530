package export

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestReasonsListsAll: what is missing there is shown without a sentence and never counted.
func TestReasonsListsAll(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^[a-z][a-z_]*[a-z]$`)
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		found++
		code, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if !slices.Contains(Reasons(), Reason(code)) || !form.MatchString(code) {
			t.Errorf("%s is not in Reasons, or not of their form: %q", spec.Names[0].Name, code)
		}
		return true
	})
	if found == 0 || found != len(Reasons()) {
		t.Errorf("%d constants, %d in Reasons", found, len(Reasons()))
	}
}

func TestAProblemKeepsItsBegin(t *testing.T) {
	var p Problem
	p.note(noon, Problem{Reason: ReasonRateLimited, Detail: "a"})
	p.note(noon.Add(time.Minute), Problem{Reason: ReasonRateLimited, Detail: "b"})
	if !p.Since.Equal(noon) || p.Detail != "b" {
		t.Errorf("the same again: %+v", p)
	}
	p.note(noon.Add(time.Hour), Problem{Reason: ReasonKeyRefused, Detail: strings.Repeat("ü", 1<<20)})
	if !p.Since.Equal(noon.Add(time.Hour)) || len(p.Detail) > maxDetail || !utf8.ValidString(p.Detail) || !strings.HasSuffix(p.Detail, "…") {
		t.Errorf("another: since %s, %d bytes", p.Since, len(p.Detail))
	}
	p.clear()
	if !p.None() {
		t.Errorf("cleared: %+v", p)
	}
}
