package catalog

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"iter"

	"github.com/clipferry/clipferry/internal/fault"
)

const (
	contentType = "application/gzip"
	maxLine     = 16 << 20 // bytes
)

// writer makes a file: JSON Lines, compressed, none twice.
type writer struct {
	out   bytes.Buffer
	zip   *gzip.Writer
	seen  map[[16]byte]struct{}
	lines int
}

func newWriter() *writer {
	w := &writer{seen: map[[16]byte]struct{}{}}
	w.zip = gzip.NewWriter(&w.out)
	return w
}

func (w *writer) add(l Line) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(l) // of texts and numbers; into memory
	_ = w.raw(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// raw adds a line as it is, with fields perhaps that only a newer release knows.
func (w *writer) raw(line []byte) error {
	var id struct {
		ExportID string `json:"export_id"`
		Idx      int    `json:"idx"`
		Revision int64  `json:"revision"`
	}
	if err := json.Unmarshal(line, &id); err != nil || id.ExportID == "" {
		return malformed(err)
	}
	name, err := json.Marshal(id)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(name)
	hash := [16]byte(sum[:16])
	if _, twice := w.seen[hash]; twice {
		return nil
	}
	w.seen[hash] = struct{}{}
	w.lines++
	_, err = w.zip.Write(line)
	if err == nil {
		_, err = w.zip.Write([]byte("\n"))
	}
	return err
}

// copy adds all lines of a file. What precedes a fault of it is added.
func (w *writer) copy(body []byte) error {
	if body == nil {
		return nil
	}
	for line, err := range linesIn(body) {
		if err == nil {
			err = w.raw(line)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) close() ([]byte, error) {
	err := w.zip.Close()
	return w.out.Bytes(), err
}

func malformed(err error) error {
	return fault.New(fault.Terminal, "it does not hold lines of the catalog", err).
		WithHint("somebody else wrote or changed it; clipferry catalog --rebuild makes all anew from the manifests")
}

// linesIn yields the lines of a file, each valid until the next one.
func linesIn(body []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		zip, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			yield(nil, malformed(err))
			return
		}
		lines := bufio.NewScanner(zip)
		lines.Buffer(make([]byte, 0, 64<<10), maxLine)
		for lines.Scan() {
			if len(lines.Bytes()) > 0 && !yield(lines.Bytes(), nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(nil, malformed(err))
		}
	}
}

// parsed yields the lines of a file; its fault, if it has one, comes last.
func parsed(body []byte) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		if body == nil {
			return
		}
		for line, err := range linesIn(body) {
			var l Line
			if err == nil {
				err = json.Unmarshal(line, &l)
			}
			if err == nil && l.ExportID == "" {
				err = errors.New("a line without an export")
			}
			if err != nil {
				yield(Line{}, malformed(err))
				return
			}
			if !yield(l, nil) {
				return
			}
		}
	}
}

// hashOf is 32 hexadecimal digits of a hash.
func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}
