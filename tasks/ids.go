package tasks

import (
	"crypto/rand"
	"encoding/base32"
	"strings"
)

// maxID is the length of the longest export id, in bytes.
const maxID = 128

// NewID returns a random export id: "exp_" and 26 lower-case letters and digits.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program instead
	return "exp_" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}

// CheckJobID returns what keeps id from naming a new export, or "". Former
// versions took ids that it refuses: what names an export that is there already
// is a matter of [ValidID].
func CheckJobID(id string) string {
	switch {
	case !ValidID(id):
		return "must be 1–128 of the characters A–Z a–z 0–9 . _ : -"
	case id[0] == '-':
		return "must not begin with -: commands would take it for a flag"
	case id == "." || id == "..":
		return "must not be . or ..: no URL can hold it"
	}
	return ""
}

// ValidID reports whether id may be that of an export: 1–128 of [A-Za-z0-9._:-].
func ValidID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("._:-", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// maxName is the length of the longest name of an account or tenant, in bytes.
const maxName = 32

// ValidTenant reports whether name may name a tenant: 1–32 of [a-z0-9-], the first not
// -, since ids of its exports begin with it.
func ValidTenant(name string) bool { return ValidAccount(name) && name[0] != '-' }

// maxBatchName is the length of the longest name of a batch, in bytes.
const maxBatchName = 64

// BatchRule says what the name of a batch must be.
const BatchRule = "1–64 of the characters A–Z a–z 0–9 . _ : -, the first not -"

// ValidBatch reports whether name may name a batch: see [BatchRule].
func ValidBatch(name string) bool {
	return len(name) <= maxBatchName && CheckJobID(name) == ""
}

// ValidAccount reports whether name may name an account: 1–32 of [a-z0-9-].
func ValidAccount(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// LedgerKey is the Redis hash of the export's record; its field [LedgerDigest]
// holds [Export.Digest].
func LedgerKey(id string) string { return "clipferry:{" + id + "}" }

// LedgerDigest is the field of the record that says which body the id stands for.
const LedgerDigest = "digest"

// SubmitTaskID is the TaskID of an export's first task.
func SubmitTaskID(id string) string { return "submit:" + id }
