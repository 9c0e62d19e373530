package catalog

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"github.com/clipferry/clipferry/internal/export"
)

// Limits of what the index keeps of a clip's texts, in bytes: the provider has none.
const (
	maxTitle = 1 << 10
	maxDesc  = 16 << 10
	maxTags  = 64
	maxTag   = 128
)

// tagMark is around each tag in a clip's text, so that a whole tag can be looked
// for. No normalised text has it.
const tagMark = "\x1f"

// texts are the title, the description and the tags of a clip, within the limits.
type texts struct {
	title, desc string
	tags        []string
}

func textsOf(l *Line) texts {
	t := texts{truncate(l.Title, maxTitle), truncate(l.Desc, maxDesc), l.Tags[:min(len(l.Tags), maxTags)]}
	for i, tag := range t.tags {
		if len(tag) > maxTag {
			t.tags = append([]string{}, t.tags...)
			t.tags[i] = truncate(tag, maxTag)
		}
	}
	return t
}

func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// joined is one text of all, each changed by change.
func (t texts) joined(change func(string) string) string {
	var b strings.Builder
	b.WriteString(change(t.title) + "\n" + change(t.desc) + "\n" + tagMark)
	for _, tag := range t.tags {
		b.WriteString(change(tag) + tagMark)
	}
	return b.String()
}

// packer appends to a record.
type packer struct{ b []byte }

func (p *packer) number(n int64) { p.b = binary.AppendVarint(p.b, n) }
func (p *packer) text(s string)  { p.number(int64(len(s))); p.b = append(p.b, s...) }

// edits keeps s as what has to be changed in another text, its normalised form: how
// much of that is copied, how much left out, and what comes in its place.
func (p *packer) edits(normal, s string) {
	for len(s) > 0 {
		same := 0
		for same < len(s) && same < len(normal) && s[same] == normal[same] {
			same++
		}
		normal, s = normal[same:], s[same:]
		left, in := 0, 0
		for in < len(s) && (left >= len(normal) || s[in] != normal[left]) {
			_, size := utf8.DecodeRuneInString(s[in:])
			left = min(len(normal), left+len(Normalize(s[in:in+size])))
			in += size
		}
		p.number(int64(same))
		p.number(int64(left))
		p.text(s[:in])
		normal, s = normal[left:], s[in:]
	}
}

// object keeps of a key what another one, such as its folder's, does not begin with.
func (p *packer) object(o export.Object, near string, intern func(string) uint32) {
	same := 0
	for same < min(len(o.Key), len(near)) && o.Key[same] == near[same] {
		same++
	}
	p.number(int64(same))
	p.text(o.Key[same:])
	p.number(o.Size)
	p.bytes(o.SHA256, hex.DecodeString, hex.EncodeToString)
	p.bytes(o.CRC32, base64.StdEncoding.DecodeString, base64.StdEncoding.EncodeToString)
	p.number(int64(intern(o.ContentType)))
	p.number(int64(intern(strings.Join(o.Proofs, tagMark))))
}

// bytes keeps what an encoded text stands for; one that is encoded in another way stays as it is.
func (p *packer) bytes(s string, decode func(string) ([]byte, error), encode func([]byte) string) {
	raw, err := decode(s)
	if err != nil || encode(raw) != s {
		p.number(1)
		p.text(s)
		return
	}
	p.number(0)
	p.text(string(raw))
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// unpacker reads what a packer wrote, in the same order.
type unpacker struct{ b []byte }

func (u *unpacker) number() int64 {
	n, size := binary.Varint(u.b)
	u.b = u.b[size:]
	return n
}

func (u *unpacker) text() string {
	n := u.number()
	s := string(u.b[:n])
	u.b = u.b[n:]
	return s
}

// edits is the text of n bytes that a packer kept as changes of another.
func (u *unpacker) edits(normal []byte, n int64) string {
	s := make([]byte, 0, n)
	for int64(len(s)) < n {
		same := u.number()
		left := u.number()
		s = append(append(s, normal[:same]...), u.text()...)
		normal = normal[same+left:]
	}
	return string(s)
}

func (u *unpacker) object(near string, interned []string) export.Object {
	var o export.Object
	same := u.number()
	o.Key = near[:same] + u.text()
	o.Size = u.number()
	o.SHA256 = u.bytes(hex.EncodeToString)
	o.CRC32 = u.bytes(base64.StdEncoding.EncodeToString)
	o.ContentType = interned[u.number()]
	if proofs := interned[u.number()]; proofs != "" {
		o.Proofs = strings.Split(proofs, tagMark)
	}
	return o
}

func (u *unpacker) bytes(encode func([]byte) string) string {
	if asIs := u.number() == 1; asIs {
		return u.text()
	}
	return encode([]byte(u.text()))
}

// arena keeps records in blocks, so that it grows without being copied.
type arena struct{ blocks [][]byte }

const blockSize = 1 << 20

// ref is where a record is.
type ref struct{ block, at, n uint32 }

func (a *arena) add(b []byte) ref {
	last := len(a.blocks) - 1
	if last < 0 || len(a.blocks[last])+len(b) > cap(a.blocks[last]) {
		a.blocks = append(a.blocks, make([]byte, 0, max(blockSize, len(b))))
		last++
	}
	r := ref{uint32(last), uint32(len(a.blocks[last])), uint32(len(b))}
	a.blocks[last] = append(a.blocks[last], b...)
	return r
}

func (a *arena) get(r ref) []byte { return a.blocks[r.block][r.at : r.at+r.n : r.at+r.n] }
