package catalog

import (
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"
)

// Normalize is the form in which texts are compared: without case, accents,
// widths, control and format characters, with single spaces.
func Normalize(s string) string {
	if ascii, ok := lowerASCII(s); ok {
		return ascii
	}
	f := folders.Get().(*folder)
	defer folders.Put(f)
	folded, _, err := transform.String(f.chain, strings.ToValidUTF8(s, " "))
	if err != nil { // none of the transformers has one
		return strings.ToLower(s)
	}
	return strings.Join(strings.Fields(strokes.Replace(strings.Map(plain, folded))), " ")
}

// lowerASCII is the form of a text of plain ASCII, which needs no tables.
func lowerASCII(s string) (string, bool) {
	spaces := 1 // one before the text counts as double
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ':
			spaces++
		case c < ' ' || c >= 0x7f:
			return "", false
		default:
			spaces = 0
		}
		if spaces > 1 {
			return "", false
		}
	}
	return strings.ToLower(strings.TrimSuffix(s, " ")), true
}

// folder is a chain of transformers, which has a state.
type folder struct{ chain transform.Transformer }

var folders = sync.Pool{New: func() any {
	return &folder{transform.Chain(norm.NFKD, runes.Remove(runes.In(accents)), cases.Fold(), norm.NFC)}
}}

// accents are the marks that people leave out when they search: those of the scripts
// with letters, and the points of Hebrew and Arabic. In other scripts a mark is a letter.
var accents = &unicode.RangeTable{R16: []unicode.Range16{
	{Lo: 0x0300, Hi: 0x036f, Stride: 1},
	{Lo: 0x0591, Hi: 0x05bd, Stride: 1},
	{Lo: 0x05bf, Hi: 0x05bf, Stride: 1},
	{Lo: 0x05c1, Hi: 0x05c2, Stride: 1},
	{Lo: 0x05c4, Hi: 0x05c5, Stride: 1},
	{Lo: 0x05c7, Hi: 0x05c7, Stride: 1},
	{Lo: 0x064b, Hi: 0x065f, Stride: 1},
	{Lo: 0x0670, Hi: 0x0670, Stride: 1},
}}

// strokes are letters with a stroke or tied to another, which Unicode does not
// take apart.
var strokes = strings.NewReplacer("ø", "o", "ł", "l", "đ", "d", "ħ", "h", "ı", "i", "æ", "ae", "œ", "oe")

// plain drops what nobody sees, and makes one kind of space of all.
func plain(r rune) rune {
	switch {
	case unicode.IsSpace(r):
		return ' '
	case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError:
		return -1
	}
	return r
}

// termsOf are the words of a search, normalised; words in quotation marks are one.
// All of them have to be in a text.
func termsOf(search string) []string {
	var terms []string
	add := func(s string) {
		if s = Normalize(s); s != "" {
			terms = append(terms, s)
		}
	}
	for i, part := range strings.Split(search, `"`) {
		if i%2 == 1 {
			add(part)
			continue
		}
		for _, word := range strings.Fields(part) {
			add(word)
		}
	}
	return terms
}
