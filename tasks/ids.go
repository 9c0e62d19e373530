package tasks

import (
	"crypto/rand"
	"encoding/base32"
	"strconv"
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

// ValidID reports whether id may name an export: 1–128 of [A-Za-z0-9._:-].
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

// maxAccount is the length of the longest name of an account, in bytes.
const maxAccount = 32

// ValidAccount reports whether name may name an account: 1–32 of [a-z0-9-].
func ValidAccount(name string) bool {
	if name == "" || len(name) > maxAccount {
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

// Every task ID starts with its step, because asynq wants them unique across
// the queues of one server. Numbers stand last, so that an id with colons in it
// stays unambiguous.
const submitPrefix = "submit:"

// SubmitTaskID is the TaskID of an export's first submit.
func SubmitTaskID(id string) string { return submitPrefix + id }

// ResubmitTaskID is the TaskID of a later submit; rounds count from 1.
func ResubmitTaskID(id string, round int) string { return "resubmit:" + id + ":" + strconv.Itoa(round) }

// PollTaskID is the TaskID of the nth read; reads count from 1.
func PollTaskID(id string, n int) string { return "poll:" + id + ":" + strconv.Itoa(n) }

// MirrorTaskID is the TaskID of the clip's transfer in that round.
func MirrorTaskID(id string, idx, round int) string {
	return "mirror:" + id + ":" + strconv.Itoa(idx) + ":" + strconv.Itoa(round)
}

// SealTaskID is the TaskID of the sealing in that round.
func SealTaskID(id string, round int) string { return "seal:" + id + ":" + strconv.Itoa(round) }
