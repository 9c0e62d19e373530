package main

import (
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// lively reports whether a person watches the results: then colors, bars and
// redrawn tables are of use. NO_COLOR counts when it is set to anything, see
// https://no-color.org; TERM=dumb can't move its cursor.
func (c *console) lively() bool {
	return isTerminal(c.stdout) && isTerminal(c.stderr) && c.getenv("TERM") != "dumb" && c.getenv("NO_COLOR") == ""
}

func (c *console) getenv(name string) string {
	value := ""
	for _, pair := range c.env {
		if v, ok := strings.CutPrefix(pair, name+"="); ok {
			value = v
		}
	}
	return value
}

// width is the number of columns of stdout.
func (c *console) width() int {
	const usual = 100
	f, ok := c.stdout.(*os.File)
	if !ok {
		return usual
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil || columns < 20 {
		return usual
	}
	return columns
}

// printable makes a foreign text (a title, a project id) safe to show: control
// characters and invisible marks could rewrite what stands around it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError, !unicode.IsPrint(r), unicode.Is(unicode.Cf, r):
			return '·'
		}
		return r
	}, s)
}

// cut shortens s to n columns.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	if n <= 1 {
		return "…"
	}
	return string([]rune(s)[:n-1]) + "…"
}
