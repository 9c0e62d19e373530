package secret

import (
	"crypto/hkdf"
	"crypto/sha256"
)

// Derive makes a key of 32 bytes of each secret, for one use alone: what is signed
// for one use proves nothing in another.
func Derive(secrets []string, use string) [][]byte {
	keys := make([][]byte, 0, len(secrets))
	for _, s := range secrets {
		key, err := hkdf.Key(sha256.New, []byte(s), nil, use, sha256.Size)
		if err != nil { // only for a key of more than 255 hashes
			panic("secret: " + err.Error())
		}
		keys = append(keys, key)
	}
	return keys
}
