package catalog

import (
	"strings"
	"sync"
	"sync/atomic"
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
	var b strings.Builder
	b.Grow(len(s))
	space := true // one before the text counts as double
	for _, r := range s {
		f := foldedOf(r)
		if !f.alone {
			return normalizeWhole(s)
		}
		if f.text == " " {
			if !space {
				b.WriteByte(' ')
			}
			space = true
			continue
		}
		b.WriteString(f.text)
		space = space && f.text == ""
	}
	return strings.TrimSuffix(b.String(), " ")
}

// normalizeWhole is Normalize of a text whose characters have to be seen together: marks
// that belong to the one before, say.
func normalizeWhole(s string) string {
	f := folders.Get().(*folder)
	defer folders.Put(f)
	folded, _, err := transform.String(f.chain, strings.ToValidUTF8(s, ""))
	if err != nil { // none of the transformers has one
		return strings.ToLower(s)
	}
	return strings.Join(strings.Fields(strokes.Replace(strings.Map(plain, folded))), " ")
}

// folded is what becomes of one character.
type folded struct {
	text  string
	alone bool // whatever is beside it
}

// foldedBasic remembers it for the basic plane: to work it out costs microseconds, and
// texts have the same characters over and over.
var foldedBasic [1 << 16]atomic.Pointer[folded]

func foldedOf(r rune) *folded {
	if r >= rune(len(foldedBasic)) {
		return fold(r)
	}
	f := foldedBasic[r].Load()
	if f == nil {
		f = fold(r)
		foldedBasic[r].Store(f)
	}
	return f
}

func fold(r rune) *folded {
	switch {
	case r == utf8.RuneError:
		return &folded{"", true}
	case unicode.IsSpace(r):
		return &folded{" ", true}
	}
	text := normalizeWhole(string(r))
	// Nothing composes with what is before it, and no space is hidden in it.
	alone := text == "" || norm.NFC.PropertiesString(text).BoundaryBefore()
	return &folded{text, alone && !strings.Contains(norm.NFKD.String(string(r)), " ")}
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

// plain drops what nobody sees, and makes one kind of space of all; and of Cherokee,
// which is folded to capitals, small letters.
func plain(r rune) rune {
	switch {
	case unicode.IsSpace(r):
		return ' '
	case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError:
		return -1
	}
	return unicode.ToLower(r)
}

// quotes makes one of all quotation marks: keyboards put in those of their language.
var quotes = strings.NewReplacer("“", `"`, "”", `"`, "„", `"`, "‟", `"`, "«", `"`, "»", `"`, "＂", `"`)

// termsOf are the words of a search, normalised; words in quotation marks are one.
// All of them have to be in a text.
func termsOf(search string) []string {
	var terms []string
	add := func(s string) {
		if s = Normalize(s); s != "" {
			terms = append(terms, s)
		}
	}
	for i, part := range strings.Split(quotes.Replace(search), `"`) {
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
