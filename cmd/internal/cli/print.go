package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
	"golang.org/x/text/width"
)

// Printer writes to stdout or stderr. A command has no other way there, so that
// no title, id or error can hold what rewrites the screen: only a format, which
// is ours, and what is [Styled] reach it as they are.
type Printer struct {
	w      io.Writer
	failed error // why the first text that did not get through did not
}

// NewPrinter returns a Printer to w.
func NewPrinter(w io.Writer) *Printer { return &Printer{w: w} }

// Failed returns why a text did not get through, nil if all did: a program whose
// results are lost has not done what it was asked for.
func (p *Printer) Failed() error { return p.failed }

// Styled is text that is safe to show, with escape codes of ours perhaps.
type Styled string

// String returns the text.
func (s Styled) String() string { return string(s) }

// Sprintf is fmt.Sprintf with every argument made [Printable].
func Sprintf(format string, args ...any) Styled {
	safe := make([]any, len(args))
	for i, arg := range args {
		switch a := arg.(type) {
		case Styled:
			safe[i] = string(a)
		case string:
			safe[i] = Printable(a)
		case bool, int, int64, uint64, float64:
			safe[i] = a
		default:
			safe[i] = Printable(fmt.Sprint(a))
		}
	}
	return Styled(fmt.Sprintf(format, safe...))
}

// Printf writes a text with every argument made [Printable].
func (p *Printer) Printf(format string, args ...any) error {
	return p.Write(Sprintf(format, args...))
}

// Write writes a text that is safe already.
func (p *Printer) Write(s Styled) error {
	_, err := io.WriteString(p.w, string(s))
	if err != nil && p.failed == nil {
		p.failed = err
	}
	return err
}

// Text returns a writer of the texts that Cobra makes, which are safe. It never fails:
// what is lost is known from [Printer.Failed].
func (p *Printer) Text() io.Writer { return safeText{p} }

type safeText struct{ p *Printer }

func (t safeText) Write(b []byte) (int, error) {
	_ = t.p.Write(Styled(b))
	return len(b), nil
}

// Lines writes each line of a text by itself, made [Printable].
func (p *Printer) Lines(text string) error {
	for line := range strings.Lines(text) {
		if err := p.Printf("%s\n", strings.TrimRight(line, "\r\n")); err != nil {
			return err
		}
	}
	return nil
}

// JSON writes v as one line of JSON.
func (p *Printer) JSON(v any) error {
	line, err := JSONLine(v)
	if err != nil {
		return err
	}
	return p.Write(line)
}

// JSONLine returns v as one line of JSON, with <, > and & as they are, and what
// could rewrite a screen in its escaped form.
func JSONLine(v any) (Styled, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	text := strings.TrimSuffix(b.String(), "\n")
	b.Reset()
	for _, r := range text {
		switch {
		case visible(r):
			b.WriteRune(r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return Styled(b.String() + "\n"), nil
}

// Raw returns the writer itself, for what makes its own output safe.
func (p *Printer) Raw() io.Writer { return p.w }

// IsTerminal reports whether the printer writes to a terminal.
func (p *Printer) IsTerminal() bool {
	f, ok := p.w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Size is the number of columns and lines of the terminal, or usual ones.
func (p *Printer) Size() (width, height int) {
	const usualWidth, usualHeight = 100, 24
	f, ok := p.w.(*os.File)
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

// Lively reports whether a person watches both: then colors, bars and redrawn
// tables are of use. NO_COLOR counts when it is set to anything, see
// https://no-color.org; TERM=dumb can't move its cursor.
func Lively(env []string, outputs ...*Printer) bool {
	for _, p := range outputs {
		if !p.IsTerminal() {
			return false
		}
	}
	return Env(env, "TERM") != "dumb" && Env(env, "NO_COLOR") == ""
}

// Printable makes a foreign text (a title, a project id) safe to show: control
// characters and invisible marks could rewrite what is around it.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !visible(r) {
			return '·'
		}
		return r
	}, s)
}

// visible reports whether r shows as itself: no control character (C0 or C1), no
// mark that turns the direction of writing, no half of a character.
func visible(r rune) bool {
	return r != utf8.RuneError && unicode.IsPrint(r) && !unicode.Is(unicode.Cf, r)
}

// Paint gives text a color, which is an ANSI code, or none.
func Paint(text, color string) Styled {
	if color == "" {
		return Styled(Printable(text))
	}
	return Styled("\x1b[" + color + "m" + Printable(text) + "\x1b[0m")
}

// Columns is how many columns of a terminal s takes: Chinese, Japanese and
// Korean characters take two.
func Columns(s string) int {
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
	if unicode.In(r, unicode.Mn, unicode.Me) { // accents take no column of their own
		return 0
	}
	return 1
}

// Cut shortens s to n columns.
func Cut(s string, n int) string {
	if Columns(s) <= n {
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
