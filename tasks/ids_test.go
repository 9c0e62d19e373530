package tasks

import (
	"strings"
	"testing"
)

func TestWhichIDsMayBeNew(t *testing.T) {
	for id, want := range map[string]string{
		"a": "", "order-17": "", ".hidden": "", "_": "", "a..b": "", ":": "", NewID(): "", strings.Repeat("a", 128): "",
		"": "1–128", "a b": "1–128", "a/b": "1–128", "é": "1–128", strings.Repeat("a", 129): "1–128",
		"-": "begin with -", "-f": "begin with -", "--pay-again": "begin with -", ".": "no URL", "..": "no URL",
	} {
		got := CheckJobID(id)
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%q: %q", id, got)
		}
		if old := ValidID(id); old != (want != "1–128") {
			t.Errorf("ValidID(%q) = %v", id, old)
		}
	}
}
