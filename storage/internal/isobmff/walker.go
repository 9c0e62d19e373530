// Package isobmff checks, while a video streams by, that an MP4 or QuickTime
// file is whole: its top-level boxes add up to exactly the bytes there are, and
// the ones that a player cannot do without are present.
//
// It looks at box headers only and buffers at most 16 bytes, so it says nothing
// about the samples inside: a flipped bit in a box's payload goes unseen, hashes
// are for that. It catches cut files, error pages, other containers and zeros.
package isobmff

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrNotVideo is in the chain of every error here: the bytes are not a whole MP4
// or QuickTime file.
var ErrNotVideo = errors.New("not a whole MP4 file")

// State is all that a Walker remembers, so that a check can go on in another process.
type State struct {
	// Seen counts the bytes walked over.
	Seen int64 `json:"seen"`
	// Head holds the beginning of a box header that is not complete yet.
	Head []byte `json:"head,omitempty"`
	// Skip is how much of the current box is still to come, in bytes.
	Skip int64 `json:"skip,omitempty"`
	// Open says that the current box reaches to the end of the file.
	Open  bool   `json:"open,omitempty"`
	Boxes int64  `json:"boxes,omitempty"`
	Brand string `json:"brand,omitempty"`
	Moov  bool   `json:"moov,omitempty"`
	Mdat  bool   `json:"mdat,omitempty"`
	Moof  bool   `json:"moof,omitempty"`
	Mfra  bool   `json:"mfra,omitempty"`
}

// Walker is an io.Writer that walks over the bytes of one file, in order.
type Walker struct {
	state State
	size  int64
	err   error
}

// New returns a Walker over a file of size bytes, -1 when that is not known.
func New(size int64) *Walker { return &Walker{size: size} }

// Resume returns a Walker that goes on from a State, and an error if no walk could
// have led to it.
func Resume(s State, size int64) (*Walker, error) {
	if s.Seen < 0 || s.Skip < 0 || len(s.Head) >= headerSize(s.Head) || (len(s.Head) > 0 && (s.Skip > 0 || s.Open)) {
		return nil, errors.New("a saved walk contradicts itself")
	}
	s.Head = append([]byte(nil), s.Head...)
	return &Walker{state: s, size: size}, nil
}

// State returns what Resume needs.
func (w *Walker) State() State {
	s := w.state
	s.Head = append([]byte(nil), s.Head...)
	return s
}

// Brand is the file's major brand, such as "isom" or "qt  ", once it is known.
func (w *Walker) Brand() string { return w.state.Brand }

// Write implements io.Writer. The first error sticks.
func (w *Walker) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	s := &w.state
	total := len(p)
	for len(p) > 0 {
		if s.Open {
			s.Seen += int64(len(p))
			break
		}
		if s.Skip > 0 {
			n := min(s.Skip, int64(len(p)))
			s.Skip -= n
			s.Seen += n
			p = p[n:]
			continue
		}
		need := headerSize(s.Head) - len(s.Head)
		n := min(need, len(p))
		s.Head = append(s.Head, p[:n]...)
		s.Seen += int64(n)
		p = p[n:]
		if len(s.Head) < headerSize(s.Head) {
			continue
		}
		if w.err = w.enter(); w.err != nil {
			return 0, w.err
		}
	}
	return total, nil
}

// headerSize is how long a header is, as far as its first bytes show. The first
// box's header is read with its brand.
func headerSize(head []byte) int {
	switch {
	case len(head) < 8:
		return 8
	case binary.BigEndian.Uint32(head) == 1:
		return 16
	case string(head[4:8]) == "ftyp":
		return 12
	}
	return 8
}

// enter takes in the complete header in state.Head.
func (w *Walker) enter() error {
	s := &w.state
	head := s.Head
	kind := string(head[4:8])
	size := int64(binary.BigEndian.Uint32(head))
	start := s.Seen - int64(len(head))
	if s.Boxes == 0 && kind != "ftyp" {
		return fmt.Errorf("%w: it begins with %q instead of an ftyp box", ErrNotVideo, head)
	}
	if !printable(kind) {
		return fmt.Errorf("%w: no box begins at byte %d", ErrNotVideo, start)
	}
	if kind == "ftyp" && len(head) == 12 {
		s.Brand = string(head[8:12])
	}
	switch size {
	case 0:
		s.Open = true
	case 1:
		large := binary.BigEndian.Uint64(head[8:])
		if large > 1<<62 {
			return fmt.Errorf("%w: the box at byte %d has an impossible size", ErrNotVideo, start)
		}
		size = int64(large)
	}
	if !s.Open {
		s.Skip = size - int64(len(head))
		if s.Skip < 0 {
			return fmt.Errorf("%w: the %s box at byte %d is smaller than its header", ErrNotVideo, kind, start)
		}
		if w.size >= 0 && start+size > w.size {
			return fmt.Errorf("%w: the %s box at byte %d reaches %d bytes past the end", ErrNotVideo, kind, start, start+size-w.size)
		}
	}
	s.Boxes++
	switch kind {
	case "moov":
		s.Moov = true
	case "mdat":
		s.Mdat = true
	case "moof":
		s.Moof = true
	case "mfra":
		s.Mfra = true
	}
	s.Head = s.Head[:0]
	return nil
}

func printable(kind string) bool {
	for _, c := range []byte(kind) {
		if (c < 0x20 || c > 0x7e) && c != 0xa9 {
			return false
		}
	}
	return true
}

// Finish says that the file is over. Provable is false for a fragmented file
// without an index at its end: cut exactly between two boxes it would look the same.
func (w *Walker) Finish() (provable bool, err error) {
	s := w.state
	switch {
	case w.err != nil:
		return false, w.err
	case s.Boxes == 0:
		return false, fmt.Errorf("%w: it ends before its first box", ErrNotVideo)
	case len(s.Head) > 0:
		return false, fmt.Errorf("%w: it ends inside a box header, after %d bytes", ErrNotVideo, s.Seen)
	case s.Skip > 0:
		return false, fmt.Errorf("%w: it ends %d bytes short of its last box, after %d bytes", ErrNotVideo, s.Skip, s.Seen)
	case !s.Moov:
		return false, fmt.Errorf("%w: it has no moov box", ErrNotVideo)
	case !s.Mdat:
		return false, fmt.Errorf("%w: it has no mdat box", ErrNotVideo)
	}
	return !s.Open && (!s.Moof || s.Mfra), nil
}
