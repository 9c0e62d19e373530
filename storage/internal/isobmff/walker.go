// Package isobmff checks, while a video streams by, that an MP4 or QuickTime
// file is whole: its top-level boxes add up to exactly the bytes there are, and
// the ones that a player cannot do without are present and not empty.
//
// It looks at box headers only and buffers at most 16 bytes, so it says nothing
// about the samples inside: a flipped bit in a box's payload goes unseen, hashes
// are for that. It catches cut files, error pages, other containers and zeros.
//
// Devices and tools write files that are whole and not tidy: a line break or zeros
// after the last box, a mdat box that is 8 bytes longer than it says. Once moov and
// mdat are complete, such a tail is let through, under a verdict that says so.
package isobmff

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// ErrNotVideo is in the chain of every error here: the bytes are not a whole MP4
// or QuickTime file.
var ErrNotVideo = errors.New("not a whole MP4 file")

// Verdict says how much it proves that a file passed.
type Verdict int

const (
	// Whole means that a file cut anywhere would not have passed.
	Whole Verdict = iota
	// Tail means that moov and mdat are complete and that something which is no box
	// is behind them or between them. Of what may have followed, nothing is known.
	Tail
	// Weak means that a file cut between two boxes would have passed as well: it is
	// fragmented without an index at its end, or its last box is open.
	Weak
)

// version is that of State: one that another version saved is not understood.
const version = 2

// State is all that a Walker remembers, so that a check can go on in another process.
type State struct {
	Version int `json:"v"`
	// Seen counts the bytes walked over.
	Seen int64 `json:"seen"`
	// Head holds the beginning of a box header that is not complete yet.
	Head []byte `json:"head,omitempty"`
	// Kind is that of the current box, and Skip how much of it is still to come, in bytes.
	Kind string `json:"kind,omitempty"`
	Skip int64  `json:"skip,omitempty"`
	// Inner is how much of a moov box is still to come after its current child, in bytes.
	Inner int64 `json:"inner,omitempty"`
	// Open says that the current box reaches to the end of the file.
	Open bool `json:"open,omitempty"`
	// Tail says that the rest is no box, and Gap that something between was none.
	Tail  bool   `json:"tail,omitempty"`
	Gap   bool   `json:"gap,omitempty"`
	First string `json:"first,omitempty"` // the first box
	Brand string `json:"brand,omitempty"`
	// Media counts the bytes in mdat boxes.
	Media int64 `json:"media,omitempty"`
	Moov  bool  `json:"moov,omitempty"`
	Mvex  bool  `json:"mvex,omitempty"`
	Mdat  bool  `json:"mdat,omitempty"`
	Moof  bool  `json:"moof,omitempty"`
	Mfra  bool  `json:"mfra,omitempty"`
}

// Walker is an io.Writer that walks over the bytes of one file, in order.
type Walker struct {
	state State
	size  int64
	err   error
}

// New returns a Walker over a file of size bytes, -1 when that is not known.
func New(size int64) *Walker { return &Walker{state: State{Version: version}, size: size} }

// Resume returns a Walker that goes on from a State, and an error if no walk could
// have led to it.
func Resume(s State, size int64) (*Walker, error) {
	if s.Version != version {
		return nil, fmt.Errorf("a saved walk is of version %d, not %d", s.Version, version)
	}
	w := &Walker{state: s, size: size}
	w.state.Head = slices.Clone(s.Head)
	if s.Seen < 0 || s.Skip < 0 || s.Inner < 0 || s.Media < 0 || len(s.Head) >= w.headerSize() ||
		len(s.Head) > 0 && (s.Skip > 0 || s.Open || s.Tail) {
		return nil, errors.New("a saved walk contradicts itself")
	}
	return w, nil
}

// State returns what Resume needs.
func (w *Walker) State() State {
	s := w.state
	s.Head = slices.Clone(s.Head)
	return s
}

// QuickTime says that the file is QuickTime's and not MP4, once its first box has
// begun: by its brand, or because it has none, as before there were brands.
func (w *Walker) QuickTime() bool {
	return w.state.Brand == "qt  " || w.state.First != "" && w.state.First != "ftyp"
}

// Write implements io.Writer. The first error sticks.
func (w *Walker) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	s := &w.state
	total := len(p)
	for len(p) > 0 {
		if s.Open || s.Tail {
			s.Seen += int64(len(p))
			if s.Kind == "mdat" && s.Open {
				s.Media += int64(len(p))
			}
			break
		}
		if s.Skip > 0 {
			n := min(s.Skip, int64(len(p)))
			s.Skip -= n
			s.Seen += n
			p = p[n:]
			continue
		}
		n := min(w.headerSize()-len(s.Head), len(p))
		s.Head = append(s.Head, p[:n]...)
		s.Seen += int64(n)
		p = p[n:]
		if len(s.Head) < w.headerSize() {
			continue
		}
		if w.err = w.enter(); w.err != nil {
			return 0, w.err
		}
	}
	return total, nil
}

// headerSize is how long a header is, as far as its first bytes show. A file type's
// is read with its brand.
func (w *Walker) headerSize() int {
	head, inner := w.state.Head, w.state.Inner
	switch {
	case len(head) < 8:
		return 8
	case binary.BigEndian.Uint32(head) == 1 && printable(head[4:8]) && (inner == 0 || inner >= 16):
		return 16
	case string(head[4:8]) == "ftyp" && inner == 0:
		return 12
	}
	return 8
}

// known are the boxes at the top of a file that are cut if they are not complete.
// Of any other name, it may be chance that bytes look like one.
var known = []string{
	"ftyp", "styp", "moov", "mdat", "moof", "mfra", "sidx", "ssix", "prft", "emsg", "free", "skip", "wide", "pnot",
	"uuid", "udta", "meta", "meco", "pdin", "bloc", "junk", "PICT",
}

// firsts are the boxes that a file may begin with.
var firsts = []string{"ftyp", "moov", "wide", "mdat", "free", "skip", "pnot"}

// complete says that all is there that a player needs, so that what follows may be
// no box. Of a fragmented file that is never known.
func (w *Walker) complete() bool {
	s := &w.state
	return s.Moov && s.Media > 0 && !s.Moof && !s.Mvex && s.Inner == 0
}

// enter takes in the complete header in state.Head.
func (w *Walker) enter() error {
	s := &w.state
	head := s.Head
	s.Head = s.Head[len(head):]
	kind, start := string(head[4:8]), s.Seen-int64(len(head))
	size, err := w.sizeOf(head, kind, start)
	switch {
	case s.First == "" && !slices.Contains(firsts, kind):
		return fmt.Errorf("%w: it begins with %q, %s", ErrNotVideo, head, nameOf(head))
	case s.Inner > 0:
		w.enterChild(kind, size, int64(len(head)), err)
		return nil
	case err == nil:
		w.enterBox(kind, head, size)
		return nil
	case slices.Contains(known, kind):
		return err
	case w.complete():
		s.Tail = true
		return nil
	case s.Kind == "mdat" && !s.Moov && !s.Gap && len(head) == 8:
		// the mdat box is 8 bytes longer than it says, as if it had left its header out
		s.Gap = true
		s.Media += 8
		return nil
	}
	return err
}

func (w *Walker) enterBox(kind string, head []byte, size int64) {
	s := &w.state
	if s.First == "" {
		s.First = kind
	}
	s.Kind, s.Open, s.Skip = kind, size == 0, max(0, size-int64(len(head)))
	switch kind {
	case "ftyp":
		s.Brand = string(head[8:])
	case "moov":
		s.Moov = true
		s.Inner, s.Skip = s.Skip, 0
		w.endOfChildren()
	case "mdat":
		s.Mdat = true
		s.Media += s.Skip
	case "moof":
		s.Moof = true
	case "mfra":
		s.Mfra = true
	}
}

// enterChild takes in a box in the moov box. Where there can't be one, the rest of
// the moov box is passed over: its size counts, whatever is in it.
func (w *Walker) enterChild(kind string, size, header int64, err error) {
	s := &w.state
	if err != nil {
		s.Skip, s.Inner = s.Inner-header, 0
		return
	}
	s.Mvex = s.Mvex || kind == "mvex"
	s.Skip, s.Inner = size-header, s.Inner-size
	w.endOfChildren()
}

// endOfChildren passes over what is left of a moov box if it is too little for a child.
func (w *Walker) endOfChildren() {
	if s := &w.state; s.Inner < 8 {
		s.Skip, s.Inner = s.Skip+s.Inner, 0
	}
}

// sizeOf returns the size of a box by its header, 0 if it reaches to the end of the
// file. An error says why there can't be such a box.
func (w *Walker) sizeOf(head []byte, kind string, start int64) (int64, error) {
	size, inner := int64(binary.BigEndian.Uint32(head)), w.state.Inner
	if !printable(head[4:8]) {
		return 0, fmt.Errorf("%w: no box begins at byte %d", ErrNotVideo, start)
	}
	if len(head) == 16 {
		large := binary.BigEndian.Uint64(head[8:])
		if large > 1<<62 {
			return 0, fmt.Errorf("%w: the box at byte %d has an impossible size", ErrNotVideo, start)
		}
		size = int64(large)
	} else if size == 0 && inner == 0 {
		return 0, nil
	}
	switch {
	case size < int64(len(head)):
		return 0, fmt.Errorf("%w: the %s box at byte %d is smaller than its header", ErrNotVideo, kind, start)
	case inner > 0 && size > inner:
		return 0, fmt.Errorf("%w: the %s box at byte %d is larger than the moov box around it", ErrNotVideo, kind, start)
	case w.size >= 0 && start+size > w.size:
		return 0, fmt.Errorf("%w: the %s box at byte %d reaches %d bytes past the end", ErrNotVideo, kind, start, start+size-w.size)
	}
	return size, nil
}

func printable(kind []byte) bool {
	for _, c := range kind {
		if (c < 0x20 || c > 0x7e) && c != 0xa9 {
			return false
		}
	}
	return true
}

// Finish says that the file is over.
func (w *Walker) Finish() (Verdict, error) {
	s := w.state
	missing := s.Skip + s.Inner
	tail := s.Tail || s.Gap
	switch {
	case w.err != nil:
		return Weak, w.err
	case s.First == "":
		return Weak, fmt.Errorf("%w: it ends before its first box", ErrNotVideo)
	case len(s.Head) > 0 && (!w.complete() || !noHeader(s.Head)):
		return Weak, fmt.Errorf("%w: it ends inside a box header, after %d bytes", ErrNotVideo, s.Seen)
	case missing > 0 && (!w.complete() || slices.Contains(known, s.Kind)):
		return Weak, fmt.Errorf("%w: it ends %d bytes short of its last box, after %d bytes", ErrNotVideo, missing, s.Seen)
	case len(s.Head) > 0, missing > 0:
		tail = true
	}
	switch {
	case !s.Moov:
		return Weak, fmt.Errorf("%w: it has no moov box", ErrNotVideo)
	case !s.Mdat:
		return Weak, fmt.Errorf("%w: it has no mdat box", ErrNotVideo)
	case s.Media == 0:
		return Weak, fmt.Errorf("%w: its mdat box is empty", ErrNotVideo)
	case s.Open, (s.Moof || s.Mvex) && !s.Mfra:
		return Weak, nil
	case tail:
		return Tail, nil
	}
	return Whole, nil
}

// noHeader says that the last few bytes of a file are not the beginning of a box: a
// box at the end of a file has a size that begins with a zero, and no file is padded
// with zeros and something else.
func noHeader(rest []byte) bool {
	if len(rest) >= 8 {
		return !slices.Contains(known, string(rest[4:8]))
	}
	return rest[0] != 0 || !slices.ContainsFunc(rest, func(b byte) bool { return b != 0 })
}
