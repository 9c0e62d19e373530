package storage

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
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
	hashLen    = 16  // hex digits that distinguish what the alphabet could not
)

// Folder is the folder of one export's files, with a slash at its end. Two
// different pairs of ids never share a folder.
func (a *Archive) Folder(projectID, exportTaskID string) string {
	return a.key(safeID(projectID), safeID(exportTaskID)) + "/"
}

// ManifestKey is the key of the export's manifest.
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

// IsFile reports whether the key is that of a clip or a thumbnail in this archive:
// under its prefix, in the folder of an export, with a name as [ClipName] makes it.
func (a *Archive) IsFile(key string) bool {
	rest := key
	if a.opts.Prefix != "" {
		var below bool
		if rest, below = strings.CutPrefix(key, a.opts.Prefix+"/"); !below {
			return false
		}
	}
	return fileKey.MatchString(rest)
}

// fileKey is a file's key under the prefix: two ids as safeID makes them, and a name.
var fileKey = regexp.MustCompile(`^(?:[A-Za-z0-9:~-][A-Za-z0-9._:~-]*/){2}clip-[0-9]{3,}(?:-[\pL\pM\pN-]+)?\.[a-z0-9]{2,5}$`)

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
	mapped = strings.Trim(truncate(mapped, 64), "._:-")
	return mapped + "~" + hex.EncodeToString(sum[:])[:hashLen]
}

// slug is a title in lower case, letters and digits of any script, with single
// hyphens for the rest. What could steer a terminal, a path or the direction of
// text is none of these.
func slug(title string) string {
	// a title of megabytes is cut before it is worked on
	title = norm.NFKC.String(strings.ToValidUTF8(truncate(title, 4*maxSlugLen), " "))
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
	return strings.Trim(truncate(norm.NFC.String(b.String()), maxSlugLen), "-")
}

// truncate cuts s to at most n bytes, between runes.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
