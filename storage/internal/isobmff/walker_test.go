package isobmff

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

func box(kind string, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(payload)))
	return append(append(b, kind...), payload...)
}

// largeBox has a 64-bit size.
func largeBox(kind string, payload []byte) []byte {
	b := append(binary.BigEndian.AppendUint32(nil, 1), kind...)
	b = binary.BigEndian.AppendUint64(b, uint64(16+len(payload)))
	return append(b, payload...)
}

func join(bs ...[]byte) []byte { return bytes.Join(bs, nil) }

var (
	ftyp = box("ftyp", []byte("isom\x00\x00\x00\x01isom"))
	moov = box("moov", box("mvhd", make([]byte, 20)))
	mdat = box("mdat", make([]byte, 500))
)

func walk(b []byte, size int64) (bool, error) {
	w := New(size)
	if _, err := w.Write(b); err != nil {
		return false, err
	}
	return w.Finish()
}

func TestWholeFiles(t *testing.T) {
	openEnd := append(binary.BigEndian.AppendUint32(nil, 0), "mdat12345"...)
	for name, c := range map[string]struct {
		file     []byte
		provable bool
	}{
		"moov at the end":         {join(ftyp, mdat, moov), true},
		"faststart":               {join(ftyp, moov, mdat), true},
		"64-bit size":             {join(ftyp, moov, largeBox("mdat", make([]byte, 99))), true},
		"free and uuid":           {join(ftyp, box("free", nil), box("uuid", make([]byte, 16)), moov, mdat), true},
		"quicktime's annotations": {join(ftyp, moov, mdat, box("\xa9xyz", nil)), true},
		"fragmented":              {join(ftyp, moov, box("moof", nil), mdat, box("moof", nil), mdat), false},
		"fragmented, indexed":     {join(ftyp, moov, box("moof", nil), mdat, box("mfra", nil)), true},
		"open end":                {join(ftyp, moov, openEnd), false},
	} {
		for _, size := range []int64{-1, int64(len(c.file))} {
			provable, err := walk(c.file, size)
			if err != nil || provable != c.provable {
				t.Errorf("%s, size %d: provable %v, %v; want %v", name, size, provable, err, c.provable)
			}
		}
	}
}

func TestNotVideos(t *testing.T) {
	for name, file := range map[string][]byte{
		"empty":             nil,
		"one byte":          {0},
		"html":              []byte("<!DOCTYPE html><html><body>Access denied</body></html>"),
		"xml":               []byte(`<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>`),
		"json":              []byte(`{"error":"expired"}`),
		"gzip":              []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		"webm":              []byte("\x1a\x45\xdf\xa3\x01\x00\x00\x00\x00\x00\x00\x1f\x42\x86\x81\x01"),
		"zeros":             make([]byte, 4096),
		"no moov":           join(ftyp, mdat),
		"no mdat":           join(ftyp, moov),
		"ftyp later":        join(moov, ftyp, mdat),
		"trailing zeros":    join(ftyp, moov, mdat, make([]byte, 3)),
		"trailing page":     join(ftyp, moov, mdat, []byte("<html>oops</html>")),
		"size below header": join(ftyp, moov, mdat, []byte{0, 0, 0, 7, 'f', 'r', 'e', 'e'}),
		"impossible size":   join(ftyp, []byte{0, 0, 0, 1, 'm', 'd', 'a', 't', 255, 255, 255, 255, 255, 255, 255, 255}),
		"unprintable kind":  join(ftyp, moov, mdat, []byte{0, 0, 0, 8, 1, 2, 3, 4}),
	} {
		if _, err := walk(file, -1); !errors.Is(err, ErrNotVideo) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A box that reaches past the announced end is told at its header, long before
// the last byte.
func TestAnnouncedSizeEndsWalkEarly(t *testing.T) {
	file := join(ftyp, moov, mdat)
	w := New(int64(len(file)) - 1)
	if _, err := w.Write(file[:len(ftyp)+len(moov)+8]); !errors.Is(err, ErrNotVideo) {
		t.Errorf("got %v", err)
	}
}

// Any cut of an unfragmented file is seen, however it is chunked, and over a
// state that went through JSON.
func TestCutsAreSeen(t *testing.T) {
	file := join(ftyp, box("free", make([]byte, 30)), moov, largeBox("mdat", make([]byte, 300)), box("udta", make([]byte, 40)))
	rapid.Check(t, func(t *rapid.T) {
		cut := rapid.IntRange(0, len(file)).Draw(t, "cut")
		w := New(-1)
		for rest := file[:cut]; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "chunk")
			if _, err := w.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
			b, err := json.Marshal(w.State())
			if err != nil {
				t.Fatal(err)
			}
			var s State
			if err := json.Unmarshal(b, &s); err != nil {
				t.Fatal(err)
			}
			if w, err = Resume(s, -1); err != nil {
				t.Fatal(err)
			}
		}
		_, err := w.Finish()
		endOfBox := cut == len(file) || cut == len(file)-48 // only the trailing box is optional
		if endOfBox != (err == nil) {
			t.Fatalf("cut at %d of %d: %v", cut, len(file), err)
		}
	})
}

// Files of a real muxer, cut at random.
func TestRealFilesCut(t *testing.T) {
	if testing.Short() {
		t.Skip("runs ffmpeg")
	}
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("no ffmpeg")
	}
	for name, flags := range map[string][]string{
		"moov at the end.mp4": nil,
		"faststart.mp4":       {"-movflags", "+faststart"},
		"fragmented.mp4":      {"-movflags", "frag_keyframe+empty_moov", "-g", "5"},
		"quicktime.mov":       nil,
	} {
		path := filepath.Join(t.TempDir(), name)
		args := append([]string{"-v", "error", "-f", "lavfi", "-i", "testsrc=d=1:s=160x120:r=10", "-c:v", "mpeg4"}, flags...)
		if out, err := exec.Command(ffmpeg, append(args, path)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := walk(file, -1); err != nil {
			t.Errorf("%s: whole: %v", name, err)
		}
		for range 400 {
			cut := rand.IntN(len(file))
			if provable, err := walk(file[:cut], -1); err == nil && provable {
				t.Errorf("%s: cut at %d of %d unseen", name, cut, len(file))
			}
		}
	}
}

func FuzzWalker(f *testing.F) {
	f.Add(join(ftyp, moov, mdat), 7)
	f.Add(join(ftyp, largeBox("mdat", nil)), 1)
	f.Add([]byte("<html>"), 3)
	f.Fuzz(func(t *testing.T, b []byte, chunk int) {
		whole := New(-1)
		_, werr := whole.Write(b)
		wp, wf := whole.Finish()
		if chunk <= 0 {
			chunk = 1
		}
		parts := New(-1)
		var perr error
		for rest := b; len(rest) > 0 && perr == nil; rest = rest[min(chunk, len(rest)):] {
			_, perr = parts.Write(rest[:min(chunk, len(rest))])
			if n := len(parts.State().Head); n > 16 {
				t.Fatalf("%d bytes are buffered", n)
			}
		}
		pp, pf := parts.Finish()
		if (werr == nil) != (perr == nil) || (wf == nil) != (pf == nil) || wp != pp {
			t.Errorf("at once: %v %v, in chunks: %v %v", werr, wf, perr, pf)
		}
	})
}
