package storage

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	manifestName  = "manifest.json"
	receiptFolder = "_receipts"

	maxSlugLen = 100 // bytes of a title in a key
	maxIDLen   = 128 // bytes of an id in a key, before its hash
	hashLen    = 16  // hex digits that tell apart what the alphabet could not
)

// Folder is the folder of one export's files, with a slash at its end. Two
// different pairs of ids never share a folder.
func (a *Archive) Folder(projectID, exportTaskID string) string {
	return a.key(safeID(projectID), safeID(exportTaskID)) + "/"
}

// ManifestKey is where the export's manifest stands.
func (a *Archive) ManifestKey(projectID, exportTaskID string) string {
	return a.Folder(projectID, exportTaskID) + manifestName
}

// key joins parts under the prefix.
func (a *Archive) key(parts ...string) string {
	if a.opts.Prefix != "" {
		parts = append([]string{a.opts.Prefix}, parts...)
	}
	return strings.Join(parts, "/")
}

// ClipName is the file name of a clip without its ending: its index, and its
// title as far as a key can show it.
func ClipName(idx int, title string) string {
	name := fmt.Sprintf("clip-%03d", idx)
	if s := slug(title); s != "" {
		name += "-" + s
	}
	return name
}

// safeID returns id as a path component. An id of harmless characters stays as
// it is; any other becomes what is harmless of it, a tilde, which no harmless id
// has, and a hash of the whole.
func safeID(id string) string {
	harmless := id != "" && len(id) <= maxIDLen && id[0] != '.' && id[0] != '_'
	mapped := strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._:-", r)) {
			return r
		}
		if r != '_' {
			harmless = false
			return '-'
		}
		return r
	}, id)
	if harmless {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	mapped = strings.Trim(clip(mapped, 64), "._:-")
	return mapped + "~" + hex.EncodeToString(sum[:])[:hashLen]
}

// slug is a title in lower case, letters and digits of any script, with single
// hyphens for the rest. What could steer a terminal, a path or the direction of
// text is none of these.
func slug(title string) string {
	// a title of megabytes is cut before it is worked on
	title = norm.NFKC.String(strings.ToValidUTF8(clip(title, 4*maxSlugLen), " "))
	var b strings.Builder
	gap := false
	for _, r := range strings.ToLower(title) {
		isWord := unicode.IsLetter(r) || unicode.IsDigit(r)
		if isWord || (unicode.IsMark(r) && b.Len() > 0 && !gap) {
			if gap && b.Len() > 0 {
				b.WriteByte('-')
			}
			gap = false
			b.WriteRune(r)
			continue
		}
		gap = true
	}
	return strings.Trim(clip(norm.NFC.String(b.String()), maxSlugLen), "-")
}

// clip cuts s to at most n bytes, between runes.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
