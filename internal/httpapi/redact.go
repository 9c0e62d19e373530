package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"unicode"
	"unicode/utf8"
)

// maxReadable bounds what is shown of one payload, in bytes.
const maxReadable = 64 << 10

var (
	secretName  = regexp.MustCompile(`(?i)secret|token|passw|passphrase|api_?key|access_?key|private_?key|authorization|signature|credential|cookie`)
	webhookName = regexp.MustCompile(`(?i)webhook|callback`)
	address     = regexp.MustCompile(`(?i)\b([a-z][a-z0-9+.-]*://)(?:[^\s/?#@"'<>]*@)?([^\s/?#@"'<>]*)([^\s?#"'<>]*)([?#][^\s"'<>]*)?`)
	bearer      = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`)
)

const hidden = "[hidden]"

// readable is a payload or a result as Asynqmon shows it: JSON as it is, but
// without what a name calls a secret and without the parts of addresses that
// carry them. The queues may also hold tasks of other programs, so nothing is
// known of a payload but its bytes.
func readable(_ string, payload []byte) string {
	if len(payload) > maxReadable {
		return fmt.Sprintf("%d bytes, too many to show", len(payload))
	}
	if text, ok := readableJSON(payload); ok {
		return text
	}
	if !utf8.Valid(payload) || bytes.ContainsFunc(payload, func(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) }) {
		return fmt.Sprintf("%d bytes, not text", len(payload))
	}
	return scrub(string(payload))
}

// readableJSON rewrites one JSON value in one line, its fields in their order.
func readableJSON(payload []byte) (string, bool) {
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.UseNumber()
	var out bytes.Buffer
	if err := copyValue(dec, &out, ""); err != nil {
		return "", false
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return "", false
	}
	return out.String(), true
}

// copyValue copies the next value; name is that of the field it belongs to.
func copyValue(dec *json.Decoder, out *bytes.Buffer, name string) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	switch t := token.(type) {
	case json.Delim:
		out.WriteString(t.String())
		for i := 0; dec.More(); i++ {
			if i > 0 {
				out.WriteByte(',')
			}
			field := name
			if t == '{' {
				key, err := dec.Token()
				if err != nil {
					return err
				}
				field, _ = key.(string)
				writeScalar(out, scrub(field))
				out.WriteByte(':')
			}
			if err := copyValue(dec, out, inherit(name, field)); err != nil {
				return err
			}
		}
		end, err := dec.Token()
		if err != nil {
			return err
		}
		fmt.Fprint(out, end)
	case string:
		writeScalar(out, shownText(name, t))
	case json.Number:
		if secretName.MatchString(name) {
			writeScalar(out, hidden)
			return nil
		}
		out.WriteString(t.String())
	default:
		writeScalar(out, t)
	}
	return nil
}

// inherit keeps what is below a secret field hidden, whatever its own name.
func inherit(outer, field string) string {
	if secretName.MatchString(outer) {
		return outer
	}
	return field
}

func writeScalar(out *bytes.Buffer, v any) {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)           // scalars into memory can't fail
	out.Truncate(out.Len() - 1) // the encoder's newline
}

func shownText(name, text string) string {
	switch {
	case secretName.MatchString(name):
		return hidden
	case webhookName.MatchString(name):
		return address.ReplaceAllString(bearer.ReplaceAllString(text, "$1 "+hidden), "$1$2/…")
	}
	return scrub(text)
}

// scrub drops user names, queries and fragments of addresses, and bearer keys.
func scrub(text string) string {
	text = bearer.ReplaceAllString(text, "$1 "+hidden)
	return address.ReplaceAllStringFunc(text, func(a string) string {
		m := address.FindStringSubmatch(a)
		if m[4] != "" {
			return m[1] + m[2] + m[3] + m[4][:1] + "…"
		}
		return m[1] + m[2] + m[3]
	})
}
