package cli

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// hostile tries every kind of character that could rewrite a screen: C0, C1, a
// mark that turns the direction, a line break, half of a character.
const hostile = "a\x1b[31m\u202eb\u009b31m\nc\xff\u200b"

func TestNothingForeignRewritesTheScreen(t *testing.T) {
	const safe = "a·[31m·b·31m·c··"
	if got := Printable(hostile); got != safe {
		t.Errorf("Printable: %q", got)
	}
	if got := Sprintf("%s|%v|%s|%d", hostile, errors.New(hostile), Styled("\x1b[32mok\x1b[0m"), 7); string(got) != safe+"|"+safe+"|\x1b[32mok\x1b[0m|7" {
		t.Errorf("Sprintf: %q", got)
	}
	if got := Paint(hostile, "32"); string(got) != "\x1b[32m"+safe+"\x1b[0m" {
		t.Errorf("Paint: %q", got)
	}
	var out strings.Builder
	if err := NewPrinter(&out).Lines("one\x1b\ntwo\u202e\n"); err != nil || out.String() != "one·\ntwo·\n" {
		t.Errorf("Lines: %q, %v", out.String(), err)
	}
}

func TestJSONIsTheSameAndSafe(t *testing.T) {
	in := map[string]string{"title": "<b> & \u202e\u009b \U000e0001 客户"}
	line, err := JSONLine(in)
	if err != nil || string(line) != `{"title":"<b> & \u202e\u009b \udb40\udc01 客户"}`+"\n" {
		t.Errorf("%s, %v", line, err)
	}
	var back map[string]string
	if err := json.Unmarshal([]byte(line), &back); err != nil || back["title"] != in["title"] {
		t.Errorf("%q, %v", back, err)
	}
}

func TestCutCountsColumns(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{"plain", 5, "plain"},
		{"plain", 4, "pla…"},
		{"plain", 1, "…"},
		{"héllo wörld", 6, "héllo…"},
		{"客户项目", 8, "客户项目"},
		{"客户项目", 7, "客户项…"},
		{"客户项目", 6, "客户…"},
		{"e\u0301tude", 5, "e\u0301tude"},
		{"e\u0301tude", 3, "e\u0301t…"},
		{"", 3, ""},
	} {
		if got := Cut(c.in, c.n); got != c.want || Columns(got) > c.n {
			t.Errorf("Cut(%q, %d) = %q", c.in, c.n, got)
		}
	}
}
