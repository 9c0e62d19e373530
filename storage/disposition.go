package storage

import (
	"maps"
	"mime"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode"
)

const (
	maxFilename = 120     // bytes; S3 has 2 KB for all system metadata
	maxMetadata = 2 << 10 // bytes; S3's limit for user metadata, names included
)

// contentDisposition offers a download under name (RFC 6266): in plain ASCII for
// old clients, and whole for the others. Empty for an empty name.
func contentDisposition(name string) string {
	name = cleanFilename(name)
	if name == "" {
		return ""
	}
	plain := strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\' || r == '%':
			return '_'
		case r >= 0x20 && r < 0x7f:
			return r
		}
		return '_'
	}, name)
	header := `attachment; filename="` + plain + `"`
	if plain != name {
		header += "; filename*=UTF-8''" + percentEncode(name)
	}
	return header
}

// cleanFilename drops what a file name must not have: path separators, control
// and format characters (among them those that turn the direction of text).
func cleanFilename(name string) string {
	ending := path.Ext(name)
	if len(ending) > 6 {
		ending = ""
	}
	stem := strings.Map(func(r rune) rune {
		switch {
		case r == '/' || r == '\\' || r == ':':
			return '-'
		case r == unicode.ReplacementChar || unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return -1
		case unicode.IsSpace(r):
			return ' '
		}
		return r
	}, strings.ToValidUTF8(truncate(strings.TrimSuffix(name, ending), 4*maxFilename), ""))
	stem = strings.TrimLeft(truncate(stem, maxFilename-len(ending)), ". ")
	if strings.Trim(stem, ". ") == "" { // an ending alone is no name
		return ""
	}
	if !isToken(strings.ToLower(ending)) {
		ending = ""
	}
	return strings.Trim(stem+ending, ". ")
}

// percentEncode encodes all but the characters that nothing gives a meaning to, as
// the headers of RFC 8187 take it.
func percentEncode(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// metadata is a job's user metadata as headers can carry it: printable ASCII,
// other text encoded as RFC 2047 words, as much as S3 takes. Our own entries come first.
func metadata(own, job map[string]string) map[string]string {
	out := map[string]string{}
	left := maxMetadata
	add := func(m map[string]string) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			k := strings.ToLower(name)
			v := mime.BEncoding.Encode("utf-8", strings.Join(strings.Fields(m[name]), " "))
			v = strings.ReplaceAll(v, "\r\n ", " ") // how long words are folded
			if _, twice := out[k]; twice || !isToken(k) || len(k)+len(v) > left {
				continue
			}
			left -= len(k) + len(v)
			out[k] = v
		}
	}
	add(own)
	add(job)
	return out
}

func isToken(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}
