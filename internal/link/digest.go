package link

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
)

// Digest is a hash of the whole file that the source's headers announce.
type Digest struct {
	// Algorithm is one of "md5", "sha-256", "sha-512", "crc32", "crc32c", "crc64nvme".
	Algorithm string
	// Sum is the hash in its usual byte order (big endian for CRCs).
	Sum []byte
	// Header is where it was announced, lower case.
	Header string
}

// TagHeader is the Header of an MD5 that is not announced as one, but taken from
// an entity tag that looks like S3's.
const TagHeader = "etag"

// digestSizes are the algorithms that are understood, with the length of a sum in bytes.
var digestSizes = map[string]int{
	"md5": 16, "sha-256": 32, "sha-512": 64, "crc32": 4, "crc32c": 4, "crc64nvme": 8,
}

// parseDigests collects the digests of the whole file. Whole says that the
// message holds the whole file: some headers describe the message only.
func parseDigests(h http.Header, whole bool) []Digest {
	var ds []Digest
	add := func(header, algorithm, b64 string) {
		sum, err := base64.StdEncoding.DecodeString(b64)
		if err == nil && len(sum) == digestSizes[algorithm] {
			ds = append(ds, Digest{Algorithm: algorithm, Sum: sum, Header: header})
		}
	}
	if whole {
		add("content-md5", "md5", strings.TrimSpace(h.Get("Content-MD5")))
		structured(h.Values("Content-Digest"), func(alg, b64 string) { add("content-digest", alg, b64) })
	}
	structured(h.Values("Repr-Digest"), func(alg, b64 string) { add("repr-digest", alg, b64) })
	pairs(h.Values("Digest"), func(alg, b64 string) { add("digest", alg, b64) })
	pairs(h.Values("X-Goog-Hash"), func(alg, b64 string) { add("x-goog-hash", alg, b64) })
	if !strings.EqualFold(h.Get("X-Amz-Checksum-Type"), "COMPOSITE") {
		for _, alg := range []string{"crc32", "crc32c", "crc64nvme", "sha-256"} {
			name := "x-amz-checksum-" + strings.ReplaceAll(alg, "-", "")
			add(name, alg, h.Get(name))
		}
	}
	if sum := amazonMD5(h); sum != nil {
		ds = append(ds, Digest{Algorithm: "md5", Sum: sum, Header: TagHeader})
	}
	return ds
}

// pairs reads "alg=base64" lists (RFC 3230 and x-goog-hash).
func pairs(values []string, add func(alg, b64 string)) {
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			if alg, b64, ok := strings.Cut(strings.TrimSpace(item), "="); ok {
				add(strings.ToLower(alg), b64)
			}
		}
	}
}

// structured reads "alg=:base64:" dictionaries (RFC 9530).
func structured(values []string, add func(alg, b64 string)) {
	pairs(values, func(alg, v string) {
		if len(v) > 2 && v[0] == ':' && v[len(v)-1] == ':' {
			add(alg, v[1:len(v)-1])
		}
	})
}

// amazonMD5 returns the MD5 that S3 uses as the entity tag of an object that
// was put in one piece and is not encrypted with a key. Other servers' tags of
// 32 hex digits may be anything.
func amazonMD5(h http.Header) []byte {
	if h.Get("Server") != "AmazonS3" ||
		strings.HasPrefix(h.Get("X-Amz-Server-Side-Encryption"), "aws:kms") ||
		h.Get("X-Amz-Server-Side-Encryption-Customer-Algorithm") != "" {
		return nil
	}
	tag := strings.Trim(strongETag(h.Get("ETag")), `"`)
	if len(tag) != 32 {
		return nil
	}
	sum, err := hex.DecodeString(tag)
	if err != nil {
		return nil
	}
	return sum
}
