package emulator

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// chance is a source of numbers that depends on nothing but what it was made
// from: the same seed and words give the same numbers on every machine.
type chance struct{ state uint64 }

func newChance(seed uint64, words ...any) *chance {
	return &chance{binary.LittleEndian.Uint64(digest(seed, words...))}
}

// digest hashes the seed and the words; %q keeps neighbors apart.
func digest(seed uint64, words ...any) []byte {
	h := sha256.New()
	fmt.Fprint(h, seed)
	for _, w := range words {
		fmt.Fprintf(h, " %q", fmt.Sprint(w))
	}
	return h.Sum(nil)
}

// name returns a short lower-case name made from the seed and the words.
func name(seed uint64, words ...any) string {
	return strings.ToLower(base32.StdEncoding.EncodeToString(digest(seed, words...)[:10]))
}

// next is one step of SplitMix64.
func (c *chance) next() uint64 {
	c.state += golden
	return mix(c.state)
}

const golden = 0x9E3779B97F4A7C15

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// below returns a whole number from 0 to n-1.
func (c *chance) below(n int) int { return int(c.next() % uint64(n)) }

// unit returns a number from 0 to just under 1.
func (c *chance) unit() float64 { return float64(c.next()>>11) / (1 << 53) }

// normal returns a number of mean 0 and standard deviation 1 (Box–Muller).
func (c *chance) normal() float64 {
	return math.Sqrt(-2*math.Log(1-c.unit())) * math.Cos(2*math.Pi*c.unit())
}
