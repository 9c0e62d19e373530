package provider

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/clipferry/clipferry/internal/secret"
)

const (
	defaultMaxBody = 32 << 20
	// maxKept bounds what is kept of an answer once its strings are shortened, in
	// bytes: real ones have tens of thousands.
	maxKept = 8 << 20
	// maxString bounds one string of an answer as it is written, in bytes: the
	// longest that is of use is a signed link.
	maxString = 8 << 10
	// cutMark ends a text that was longer.
	cutMark = "…[cut]"
)

var errBodyTooLarge = errors.New("the answer is larger than any real one")

// plain returns a body as it is without compression, and whether it was compressed.
// That is known by its first bytes: we ask for none, and a header may say anything.
func plain(body io.Reader) (io.Reader, bool, error) {
	buffered := bufio.NewReader(body)
	if magic, err := buffered.Peek(3); err != nil || !bytes.Equal(magic, []byte{0x1f, 0x8b, 8}) {
		return buffered, false, nil //nolint:nilerr // it is read again by whoever reads the body
	}
	z, err := gzip.NewReader(buffered)
	if err != nil {
		return nil, true, fmt.Errorf("decompress the answer: %w", err)
	}
	return z, true, nil
}

// readBody returns the body, each string in it shortened to maxString, or what
// came of it and why it isn't whole. Of more than limit bytes, counted after
// decompression, nothing is returned.
func readBody(resp *http.Response, limit int64) ([]byte, error) {
	if resp.ContentLength > limit {
		return nil, errBodyTooLarge
	}
	body, _, err := plain(resp.Body)
	if err != nil {
		return nil, err
	}
	var s shortener
	chunk := make([]byte, 32<<10)
	for {
		n, err := body.Read(chunk)
		limit -= int64(n)
		s.add(chunk[:n])
		switch {
		case limit < 0, len(s.out) > maxKept:
			return nil, errBodyTooLarge
		case errors.Is(err, io.EOF):
			return s.out, nil
		case err != nil:
			return s.out, fmt.Errorf("read the answer: %w", err)
		}
	}
}

// shortener copies a JSON document and cuts its strings as they come by, so that
// none of them is ever in memory whole.
type shortener struct {
	out     []byte
	inside  bool // a string
	length  int  // of the string so far, in bytes
	escaped bool // the next byte is that of an escape
	hex     int  // how many digits of an escape are still to come
	cut     bool // the rest of the string is left out
}

func (s *shortener) add(chunk []byte) {
	for _, b := range chunk {
		switch {
		case !s.inside:
			s.inside, s.length = b == '"', 0
		case s.escaped:
			s.escaped = false
			if b == 'u' {
				s.hex = 4
			}
		case s.hex > 0:
			s.hex--
		case b == '"':
			if s.cut {
				s.out = append(s.out, cutMark...)
			}
			s.inside, s.cut = false, false
		default:
			s.cut = s.cut || s.length >= maxString && utf8.RuneStart(b)
			s.escaped = b == '\\'
		}
		s.length++
		if !s.cut {
			s.out = append(s.out, b)
		}
	}
}

// literals finds the strings of a JSON document.
var literals = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// minHidden is the shortest key that is looked for in whole answers, in bytes: a
// shorter one may be a word like any other.
const minHidden = 12

// withoutKey returns a JSON document without our key, should the provider have
// echoed it, and the document itself otherwise.
func (c *Client) withoutKey(doc []byte) []byte {
	key := c.key.Reveal()
	if len(key) < minHidden {
		return doc
	}
	if !bytes.Contains(doc, []byte(key)) && !bytes.ContainsRune(doc, '\\') {
		return doc
	}
	hidden := func(literal []byte) bool {
		text, ok := text(literal)
		return ok && strings.Contains(text, key)
	}
	if !slices.ContainsFunc(literals.FindAll(doc, -1), hidden) {
		return doc
	}
	return literals.ReplaceAllFunc(doc, func(literal []byte) []byte {
		if !hidden(literal) {
			return literal
		}
		text, _ := text(literal)
		shown, err := json.Marshal(strings.ReplaceAll(text, key, secret.Redacted))
		if err != nil {
			return []byte(`""`) // a string always marshals
		}
		return shown
	})
}

// redactTask takes our key out of a task, links apart: they must stay what they are.
func (c *Client) redactTask(t Task) Task {
	hide := func(s string) string { return s }
	if key := c.key.Reveal(); len(key) >= minHidden {
		hide = func(s string) string { return strings.ReplaceAll(s, key, secret.Redacted) }
	}
	t.Name, t.ErrorMessage, t.Status = hide(t.Name), hide(t.ErrorMessage), Status(hide(string(t.Status)))
	for i := range t.Clips {
		clip := &t.Clips[i]
		clip.Title, clip.Desc = hide(clip.Title), hide(clip.Desc)
		for j := range clip.Tags {
			clip.Tags[j] = hide(clip.Tags[j])
		}
	}
	t.Raw = c.withoutKey(t.Raw)
	return t
}

// short bounds a text of the provider's, in bytes.
func short(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + cutMark
}
