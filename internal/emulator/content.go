package emulator

import (
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

//go:generate sh media/make.sh

//go:embed media/*.mp4
var media embed.FS

// maxClipSize is the largest file that is served, in bytes.
const maxClipSize = int64(50e9)

const (
	defaultRatio = "RATIO_16_9"
	// boxHeader is the size of an ISO BMFF box header with a 64-bit size.
	boxHeader = 16
)

var samples = map[string][]byte{
	"RATIO_9_16": sample("9x16"), "RATIO_1_1": sample("1x1"), "RATIO_4_5": sample("4x5"), defaultRatio: sample("16x9"),
}

func sample(name string) []byte {
	b, err := media.ReadFile("media/" + name + ".mp4")
	if err != nil {
		panic(err) // embedded: it is there, or nothing was built
	}
	return b
}

// Content is a rendered clip: a sample that plays, a uuid box that says in JSON
// what was asked for, and a free box of noise up to the size. Players skip both,
// no two clips are the same, and any byte of it can be computed alone, so that
// 50 GB take no memory.
type Content struct {
	head []byte
	size int64
	// noise is the seed of what follows head.
	noise uint64
}

// label is what a clip's uuid box says.
type label struct {
	Task     string          `json:"task"`
	Project  string          `json:"project"`
	Idx      int             `json:"idx"`
	Version  int             `json:"version"`
	Settings json.RawMessage `json:"settings"`
}

// labelID marks the box, as a UUID of our own.
var labelID = [16]byte([]byte("clipferry-sample"))

// content is the clip as it is served; versions other than 0 are those of the
// fault "changed".
func (s *Server) content(t *task, c rendered, version int) *Content {
	ratio := c.Ratio
	if t.export.EnableAIReframe {
		ratio = t.export.Ratio
	}
	video, ok := samples[ratio]
	if !ok {
		video = samples[defaultRatio]
	}
	said := encode(label{t.id, t.project, c.idx, version, t.export.Body()})
	head := slices.Clone(video)
	head = binary.BigEndian.AppendUint32(head, uint32(8+len(labelID)+len(said)))
	head = append(head, "uuid"...)
	head = append(head, labelID[:]...)
	head = append(head, said...)
	least := int64(len(head) + boxHeader)
	size := c.Size
	if size == 0 {
		size = s.opts.ClipSize
	}
	if size == 0 {
		size = least + int64(newChance(s.opts.Seed, "size", t.id, c.idx).below(64<<10))
	}
	size = min(max(size, least), maxClipSize)
	padding := size - int64(len(head))
	// A size of 1 in the first four bytes means that the real one follows the type.
	head = binary.BigEndian.AppendUint32(head, 1)
	head = append(head, "free"...)
	head = binary.BigEndian.AppendUint64(head, uint64(padding))
	return &Content{head: head, size: size, noise: newChance(s.opts.Seed, "content", t.id, c.idx, version).next()}
}

// Size is the file's length in bytes.
func (c *Content) Size() int64 { return c.size }

// ETag is a strong one. It is made from what the content is made from, and is no
// hash of the content itself.
func (c *Content) ETag() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%x %d %d", sha256.Sum256(c.head), c.size, c.noise))
	return `"clip-` + hex.EncodeToString(sum[:8]) + `"`
}

// ReadAt is io.ReaderAt over the whole file.
func (c *Content) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("emulator: negative offset")
	}
	if off >= c.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), c.size-off))
	done := 0
	if off < int64(len(c.head)) {
		done = copy(p[:n], c.head[off:])
	}
	c.fill(p[done:n], off+int64(done))
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// fill writes the noise that begins at off: 8 bytes for each multiple of 8.
func (c *Content) fill(p []byte, off int64) {
	var word [8]byte
	for len(p) > 0 {
		block := uint64(off / 8)
		value := mix(c.noise + (block+1)*golden)
		if off%8 == 0 && len(p) >= 8 {
			binary.LittleEndian.PutUint64(p, value)
			p, off = p[8:], off+8
			continue
		}
		binary.LittleEndian.PutUint64(word[:], value)
		n := copy(p, word[off%8:])
		p, off = p[n:], off+int64(n)
	}
}

// SHA256 reads the whole file (50 GB take about a minute) and returns its hash in
// hexadecimal.
func (c *Content) SHA256() (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(c, 0, c.size)); err != nil {
		return "", fmt.Errorf("hash content: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// spliced is one content up to a point and another from there on.
type spliced struct {
	before, after *Content
	at            int64
}

// ReadAt is io.ReaderAt. Both have the same size.
func (s spliced) ReadAt(p []byte, off int64) (int, error) {
	if off >= s.at {
		return s.after.ReadAt(p, off)
	}
	n, err := s.before.ReadAt(p[:min(int64(len(p)), s.at-off)], off)
	if err != nil || n == len(p) {
		return n, err
	}
	m, err := s.after.ReadAt(p[n:], off+int64(n))
	return n + m, err
}

// Content returns the clip idx of a task, byte for byte as it is served when
// nothing is wrong.
func (s *Server) Content(taskID string, idx int) (*Content, error) {
	t, c, err := s.find(taskID, idx)
	if err != nil {
		return nil, err
	}
	return s.content(t, c, 0), nil
}

func (s *Server) find(taskID string, idx int) (*task, rendered, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.task(taskID)
	if t == nil {
		return nil, rendered{}, fmt.Errorf("emulator: no task %q", taskID)
	}
	c, ok := t.clip(idx)
	if !ok {
		return nil, rendered{}, fmt.Errorf("emulator: task %q has no clip %d", taskID, idx)
	}
	return t, c, nil
}
