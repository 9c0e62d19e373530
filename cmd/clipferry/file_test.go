package main

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/clipferry/clipferry/tasks"
)

func TestSplitLines(t *testing.T) {
	for in, want := range map[string][]string{
		"":                        {""},
		"a":                       {"a"},
		"a\nb\n":                  {"a", "b", ""},
		"a\r\n\r\nb":              {"a", "", "b"},
		"\xef\xbb\xbfa\n":         {"a", ""},
		"a\n\xef\xbb\xbfb":        {"a", "\xef\xbb\xbfb"},
		strings.Repeat("x", 9000): {strings.Repeat("x", 9000)},
	} {
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in))} {
			lines, err := splitLines(r)
			var got []string
			for _, l := range lines {
				got = append(got, string(l))
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%q became %q, %v", in, got, err)
			}
		}
	}
}

func TestSplitLinesBoundsALine(t *testing.T) {
	endless := io.LimitReader(forever{}, 10<<20)
	lines, err := splitLines(io.MultiReader(endless, strings.NewReader("\nnext")))
	if err != nil || len(lines) != 2 || string(lines[1]) != "next" {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	if n := len(lines[0]); n <= tasks.MaxPayload || n > tasks.MaxPayload+2 {
		t.Errorf("kept %d bytes of an endless line", n)
	}
	if _, err := tasks.ParseExport(lines[0]); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("an endless line: %v", err)
	}
}

func TestSplitLinesReportsWhatFails(t *testing.T) {
	boom := errors.New("boom")
	if _, err := splitLines(io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(boom))); !errors.Is(err, boom) {
		t.Errorf("error %v", err)
	}
}

type forever struct{}

func (forever) Read(p []byte) (int, error) {
	copy(p, bytes.Repeat([]byte("x"), len(p)))
	return len(p), nil
}

func TestEveryFieldHasAFlag(t *testing.T) {
	var fields []string
	for _, f := range fieldFlags {
		fields = append(fields, f.field)
	}
	if want := slices.DeleteFunc(tasks.FieldNames(), func(name string) bool { return name == "notify" }); !slices.Equal(fields, want) {
		t.Errorf("flags %v\nfields %v", fields, want)
	}
}

func TestTextsForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 123456: "123.5 kB", 5_000_000_000: "5.0 GB", 7e15: "7000.0 TB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}
