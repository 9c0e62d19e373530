package storage

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"slices"
	"strings"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/storage/internal/isobmff"
)

// The checks that a transfer can have passed, as Object.Proofs names them.
const (
	ProofLength        = "length"             // as long as the source announced
	ProofContainer     = "container"          // the MP4 boxes add up, none missing
	ProofContainerWeak = "container-weak"     // the same, but a cut between two boxes would go unseen
	ProofContainerTail = "container-tail"     // moov and mdat are whole, and something that is no box is there besides
	ProofServedTwice   = "served-twice"       // no whole MP4 by its boxes; but it begins like a video, and came twice with the same length and SHA-256
	ProofSignature     = "signature"          // an image, by its first bytes
	proofDigest        = "digest:"            // + algorithm and header, a hash that the source announced
	ProofS3Parts       = "s3-part-checksums"  // S3 verified a checksum of every body
	ProofS3Object      = "s3-object-checksum" // S3 verified the CRC32 of the whole object
	ProofHead          = "s3-head"            // S3 was asked afterwards and agreed on size (and checksum)
	ProofEarlier       = "earlier"            // it was there already, proven when it was written; its SHA-256 is the one left with it then
	ProofReadBack      = "s3-read-back"       // the object was read again and had the same SHA-256
)

// containerProofs are the names of what the walk over the boxes found.
var containerProofs = map[isobmff.Verdict]string{
	isobmff.Whole: ProofContainer, isobmff.Tail: ProofContainerTail, isobmff.Weak: ProofContainerWeak,
}

// Kind is what a file has to be.
type Kind int

const (
	// Video is an MP4 or QuickTime file.
	Video Kind = iota
	// Image is a JPEG, PNG, GIF, WebP or AVIF file.
	Image
)

// proof takes the bytes of one file, in order, and says at the end whether they
// are the file. Its state can be saved between two parts.
type proof struct {
	kind    Kind
	size    int64 // announced, -1 when not
	seen    int64
	crc     uint32
	sha     hash.Hash
	boxes   *isobmff.Walker
	head    []byte // the first bytes, for the format of what has no boxes
	digests []link.Digest
	extra   map[string]hash.Hash
	// earlier is the SHA-256 of a read before, when that did not have the MD5
	// that the source's tag seems to be.
	earlier string
	// asServed lets a video that is not whole pass if served, the SHA-256 of a read
	// before, is its own.
	asServed bool
	served   string
}

// proofState is a proof on its way through a checkpoint.
type proofState struct {
	Seen    int64             `json:"seen"`
	CRC     uint32            `json:"crc"`
	SHA     []byte            `json:"sha"`
	Boxes   isobmff.State     `json:"boxes"`
	Digests []link.Digest     `json:"digests,omitempty"`
	Extra   map[string][]byte `json:"extra,omitempty"`
}

func newProof(kind Kind, info link.Info) *proof {
	p := &proof{
		kind: kind, size: info.Size, sha: sha256.New(), boxes: isobmff.New(info.Size),
		digests: info.Digests, extra: map[string]hash.Hash{},
	}
	for _, alg := range extraAlgorithms(info.Digests) {
		if h := newHash(alg); h != nil {
			p.extra[alg] = h
		}
	}
	return p
}

// extraAlgorithms are the announced ones that are worth their time: MD5 costs
// more than all the rest together and adds nothing where another is announced.
func extraAlgorithms(ds []link.Digest) []string {
	var algs []string
	for _, d := range ds {
		if d.Algorithm != "sha-256" && d.Algorithm != "crc32" && !slices.Contains(algs, d.Algorithm) {
			algs = append(algs, d.Algorithm)
		}
	}
	if slices.ContainsFunc(ds, func(d link.Digest) bool { return d.Algorithm != "md5" }) {
		algs = slices.DeleteFunc(algs, func(a string) bool { return a == "md5" })
	}
	return algs
}

// crc64NVME is the polynomial of x-amz-checksum-crc64nvme, reflected.
var crc64NVME = crc64.MakeTable(0x9a6c9329ac4bc9b5)

// newHash returns nil for an algorithm that is not known.
func newHash(alg string) hash.Hash {
	switch alg {
	case "md5":
		return md5.New()
	case "sha-512":
		return sha512.New()
	case "crc32c":
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	case "crc64nvme":
		return crc64.New(crc64NVME)
	}
	return nil
}

// Write takes the next bytes. Its errors are content faults.
func (p *proof) Write(b []byte) error {
	p.seen += int64(len(b))
	if p.size >= 0 && p.seen > p.size {
		return contentFault("the file is longer than announced", nil)
	}
	if n := headLen - len(p.head); n > 0 {
		p.head = append(p.head, b[:min(n, len(b))]...)
	}
	if p.kind == Video {
		if _, err := p.boxes.Write(b); err != nil && !p.asServed {
			return notWhole(err)
		}
	}
	// block by block, so that the second hash finds the bytes in the cache
	for block := range slices.Chunk(b, 64<<10) {
		p.sha.Write(block)
		p.crc = crc32.Update(p.crc, crc32.IEEETable, block)
		for _, h := range p.extra {
			h.Write(block)
		}
	}
	return nil
}

// verdict is a proof that succeeded.
type verdict struct {
	size        int64
	sha256      string
	crc         uint32
	contentType string
	proofs      []string
}

// finish says that all bytes have come.
func (p *proof) finish() (verdict, error) {
	v := verdict{size: p.seen, crc: p.crc, sha256: hex.EncodeToString(p.sha.Sum(nil))}
	if p.size >= 0 {
		if p.seen != p.size {
			return v, contentFault(fmt.Sprintf("the file ended after %d of %d bytes", p.seen, p.size), nil)
		}
		v.proofs = append(v.proofs, ProofLength)
	}
	if err := p.finishKind(&v); err != nil {
		return v, err
	}
	return v, p.finishDigests(&v)
}

func (p *proof) finishKind(v *verdict) error {
	if p.kind == Image {
		format, ok := imageFormat(p.head)
		if !ok {
			return contentFault("the file is not an image", nil)
		}
		v.contentType, v.proofs = format.contentType, append(v.proofs, ProofSignature)
		return nil
	}
	how, err := p.boxes.Finish()
	if err != nil && p.asServed {
		return p.finishAsServed(v, err)
	}
	if err != nil {
		return notWhole(err)
	}
	v.contentType = formatOf(p.boxes).contentType
	v.proofs = append(v.proofs, containerProofs[how])
	return nil
}

// finishAsServed accepts a video that is not whole, for cause, if the source means it.
func (p *proof) finishAsServed(v *verdict, cause error) error {
	format, media := videoFormat(p.head)
	switch {
	case !media || p.size < 0:
		return notWhole(cause)
	case p.served != v.sha256:
		return notWhole(fmt.Errorf("%w: %w", servedOnce{v.sha256}, cause))
	}
	v.contentType, v.proofs = format.contentType, append(v.proofs, ProofServedTwice)
	return nil
}

// servedOnce says that a video that is not whole was read to its end.
type servedOnce struct{ sha256 string }

func (servedOnce) Error() string { return "read once" }

// notWhole is the fault of a file that is no whole video; its message, which is all
// that most people see, says what is wrong with it.
func notWhole(err error) error {
	message := "the file is not a whole video"
	if _, what, found := strings.Cut(err.Error(), isobmff.ErrNotVideo.Error()+": "); found {
		message += ": " + what
	}
	return contentFault(message, err)
}

func (p *proof) finishDigests(v *verdict) error {
	for _, d := range p.digests {
		var sum []byte
		switch h := p.extra[d.Algorithm]; {
		case h != nil:
			sum = h.Sum(nil)
		case d.Algorithm == "sha-256":
			sum = p.sha.Sum(nil)
		case d.Algorithm == "crc32":
			sum = []byte{byte(p.crc >> 24), byte(p.crc >> 16), byte(p.crc >> 8), byte(p.crc)}
		default:
			continue
		}
		wrong := !slices.Equal(sum, d.Sum)
		if wrong && d.Header == link.TagHeader {
			if v.sha256 == p.earlier {
				continue // twice the same bytes: it is the tag that is no MD5
			}
			return contentFault("the file's MD5 is not the tag that its source gives it", tagMismatch{v.sha256})
		}
		if wrong {
			return contentFault(fmt.Sprintf("the file's %s is not the one that the source announced in %s", d.Algorithm, d.Header), nil)
		}
		v.proofs = append(v.proofs, proofDigest+d.Algorithm+":"+d.Header)
	}
	return nil
}

// tagMismatch says that a file does not have the MD5 that its entity tag seems to
// be. Nobody has said that it is one.
type tagMismatch struct{ sha256 string }

func (tagMismatch) Error() string { return "the tag may be another hash" }

func contentFault(message string, err error) *fault.Fault {
	if err == nil {
		err = ErrContent
	} else if !errors.Is(err, ErrContent) {
		err = fmt.Errorf("%w: %w", ErrContent, err)
	}
	return fault.New(fault.Retry, message, err)
}

// save returns the state after the bytes so far; only for videos, images are
// never cut.
func (p *proof) save() (proofState, error) {
	s := proofState{Seen: p.seen, CRC: p.crc, Boxes: p.boxes.State(), Digests: p.digests}
	var err error
	if s.SHA, err = saveHash(p.sha); err != nil {
		return s, err
	}
	for alg, h := range p.extra {
		b, err := saveHash(h)
		if err != nil {
			return s, err
		}
		if s.Extra == nil {
			s.Extra = map[string][]byte{}
		}
		s.Extra[alg] = b
	}
	return s, nil
}

func saveHash(h hash.Hash) ([]byte, error) {
	m, ok := h.(encoding.BinaryMarshaler)
	if !ok {
		return nil, fmt.Errorf("%T cannot be saved", h)
	}
	return m.MarshalBinary()
}

// resumeProof is the proof of a video that went on being saved as s.
func resumeProof(s proofState, size int64) (*proof, error) {
	p := newProof(Video, link.Info{Size: size, Digests: s.Digests})
	p.seen, p.crc = s.Seen, s.CRC
	var err error
	if p.boxes, err = isobmff.Resume(s.Boxes, size); err != nil {
		return nil, err
	}
	if s.Boxes.Seen != s.Seen || len(p.extra) != len(extraAlgorithms(s.Digests)) {
		return nil, errors.New("a saved proof contradicts itself, or is of a newer version")
	}
	if err := loadHash(p.sha, s.SHA); err != nil {
		return nil, err
	}
	for alg, h := range p.extra {
		if err := loadHash(h, s.Extra[alg]); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func loadHash(h hash.Hash, b []byte) error {
	m, ok := h.(encoding.BinaryUnmarshaler)
	if !ok {
		return fmt.Errorf("%T cannot be resumed", h)
	}
	return m.UnmarshalBinary(b)
}
