package main

import (
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
	"golang.org/x/text/width"
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
	width, _ := c.size()
	return width
}

// size is the number of columns and lines of stdout.
func (c *console) size() (width, height int) {
	const usualWidth, usualHeight = 100, 24
	f, ok := c.stdout.(*os.File)
	if !ok {
		return usualWidth, usualHeight
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 20 {
		width = usualWidth
	}
	if err != nil || height < 5 {
		height = usualHeight
	}
	return width, height
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

// columns is how many columns of a terminal s takes: Chinese, Japanese and
// Korean characters take two.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += columnsOf(r)
	}
	return n
}

func columnsOf(r rune) int {
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	if unicode.In(r, unicode.Mn, unicode.Me) { // accents that stand on the one before
		return 0
	}
	return 1
}

// cut shortens s to n columns.
func cut(s string, n int) string {
	if columns(s) <= n {
		return s
	}
	used := 1 // the ellipsis
	for i, r := range s {
		if used += columnsOf(r); used > n {
			return s[:i] + "…"
		}
	}
	return s
}
