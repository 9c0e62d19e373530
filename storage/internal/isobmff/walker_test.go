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
	"strings"
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

func walk(b []byte, size int64) (Verdict, error) {
	w := New(size)
	if _, err := w.Write(b); err != nil {
		return Weak, err
	}
	return w.Finish()
}

// sized is the header of a box that says another size than it has.
func sized(kind string, size uint32, payload []byte) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, size), kind...), payload...)
}

func TestWholeFiles(t *testing.T) {
	var (
		noise    = bytes.Repeat([]byte{0xde, 0xad, 0xbe, 0xef}, 100)
		mvex     = box("moov", join(box("mvhd", make([]byte, 20)), box("mvex", make([]byte, 16))))
		openEnd  = sized("mdat", 0, []byte("12345"))
		tooSmall = sized("mdat", 400, noise) // of 408 bytes
	)
	for name, c := range map[string]struct {
		file []byte
		want Verdict
	}{
		"moov at the end":         {join(ftyp, mdat, moov), Whole},
		"faststart":               {join(ftyp, moov, mdat), Whole},
		"64-bit size":             {join(ftyp, moov, largeBox("mdat", make([]byte, 99))), Whole},
		"free and uuid":           {join(ftyp, box("free", nil), box("uuid", make([]byte, 16)), moov, mdat), Whole},
		"quicktime's annotations": {join(ftyp, moov, mdat, box("\xa9xyz", nil)), Whole},
		"a vendor's box":          {join(ftyp, mdat, box("beam", noise), moov, box("smta", noise)), Whole},
		"fragmented":              {join(ftyp, moov, box("moof", nil), mdat, box("moof", nil), mdat), Weak},
		"fragmented, indexed":     {join(ftyp, moov, box("moof", nil), mdat, box("mfra", nil)), Whole},
		"to be fragmented":        {join(ftyp, mvex, mdat), Weak},
		"mdat, then fragments":    {join(ftyp, mdat, mvex), Weak},
		"mvex, indexed":           {join(ftyp, mvex, box("moof", nil), mdat, box("mfra", nil)), Whole},
		"open end":                {join(ftyp, moov, openEnd), Weak},
		// QuickTime from before there were brands, and what else comes first
		"moov first":           {join(moov, mdat), Whole},
		"wide first":           {join(box("wide", nil), mdat, moov), Whole},
		"mdat first":           {join(mdat, moov), Whole},
		"free first":           {join(box("free", noise), ftyp, moov, mdat), Whole},
		"skip first":           {join(box("skip", noise), mdat, moov), Whole},
		"a picture first":      {join(box("pnot", make([]byte, 12)), box("PICT", noise), mdat, moov), Whole},
		"brand after the moov": {join(moov, ftyp, mdat), Whole},
		"odd end of a moov":    {join(ftyp, box("moov", join(box("mvhd", nil), make([]byte, 4))), mdat), Whole},
		"odd moov":             {join(ftyp, box("moov", noise), mdat), Whole},
		// what devices and tools leave behind the last box
		"line break":             {join(ftyp, mdat, moov, []byte("\r\n")), Tail},
		"a few zeros":            {join(ftyp, moov, mdat, make([]byte, 3)), Tail},
		"zeros":                  {join(ftyp, moov, mdat, make([]byte, 4096)), Tail},
		"a page":                 {join(ftyp, moov, mdat, []byte("<html>oops</html>")), Tail},
		"unprintable":            {join(ftyp, moov, mdat, []byte{0, 0, 0, 8, 1, 2, 3, 4}), Tail},
		"what is no box by size": {join(ftyp, moov, mdat, sized("huh?", 7, noise)), Tail},
		"mdat too small, last":   {join(ftyp, moov, tooSmall), Tail},
		"mdat too small, first":  {join(ftyp, tooSmall, moov), Tail},
		"mdat too small, free":   {join(ftyp, tooSmall, box("free", nil), moov), Tail},
		"both":                   {join(ftyp, tooSmall, moov, []byte("\r\n")), Tail},
	} {
		for _, size := range []int64{-1, int64(len(c.file))} {
			verdict, err := walk(c.file, size)
			if err != nil || verdict != c.want {
				t.Errorf("%s, size %d: verdict %v, %v; want %v", name, size, verdict, err, c.want)
			}
		}
	}
}

func TestNotVideos(t *testing.T) {
	for name, file := range map[string][]byte{
		"empty":                nil,
		"one byte":             {0},
		"no moov":              join(ftyp, mdat),
		"no mdat":              join(ftyp, moov),
		"no moov, and a tail":  join(ftyp, mdat, []byte("\r\n")),
		"no mdat, and a tail":  join(ftyp, moov, make([]byte, 9)),
		"empty mdat":           join(ftyp, moov, box("mdat", nil)),
		"empty mdats":          join(ftyp, moov, box("mdat", nil), largeBox("mdat", nil)),
		"open and empty mdat":  join(ftyp, moov, sized("mdat", 0, nil)),
		"styp first":           join(box("styp", nil), moov, mdat),
		"fragmented, tail":     join(ftyp, moov, box("moof", nil), mdat, []byte("<html>oops</html>")),
		"size below header":    join(ftyp, moov, mdat, sized("free", 7, nil)),
		"impossible size":      join(ftyp, []byte{0, 0, 0, 1, 'm', 'd', 'a', 't', 255, 255, 255, 255, 255, 255, 255, 255}),
		"cut in free":          join(ftyp, moov, mdat, sized("free", 100, make([]byte, 20))),
		"cut in a header":      join(ftyp, moov, mdat, []byte{0, 0, 0, 100, 'f'}),
		"two gaps":             join(ftyp, sized("mdat", 400, bytes.Repeat([]byte{0xff}, 408)), sized("mdat", 400, bytes.Repeat([]byte{0xff}, 408)), moov),
		"mdat much too small":  join(ftyp, sized("mdat", 400, bytes.Repeat([]byte{0xff}, 900)), moov),
		"moov cut by a header": join(ftyp, mdat, moov[:len(moov)-3]),
	} {
		for _, size := range []int64{-1, int64(len(file))} {
			if _, err := walk(file, size); !errors.Is(err, ErrNotVideo) {
				t.Errorf("%s, size %d: got %v", name, size, err)
			}
		}
	}
}

// What comes in a clip's place is named.
func TestOthersAreNamed(t *testing.T) {
	for want, head := range map[string]string{
		"HTML":              "<!DOCTYPE html><html><body>Access denied</body></html>",
		"XML":               `<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>`,
		"JSON":              `{"error":"expired"}`,
		"gzip":              "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00",
		"WebM":              "\x1a\x45\xdf\xa3\x01\x00\x00\x00\x00\x00\x00\x1f\x42\x86\x81\x01",
		"MPEG transport":    "G\x40\x11\x10\x00\x42\xf0\x25\x00",
		"MPEG program":      "\x00\x00\x01\xba\x44\x00\x04\x00",
		"AVI":               "RIFF\x10\x00\x00\x00AVI LIST",
		"GIF":               "GIF89a\x01\x00\x01\x00",
		"HLS":               "#EXTM3U\n#EXT-X-VERSION:3",
		"zeros":             strings.Repeat("\x00", 4096),
		"not with a box":    "anything at all",
		"bare H.264":        "\x00\x00\x00\x01\x67\x42\x00\x1f\x95\xa8",
		"Ogg":               "OggS\x00\x02\x00\x00\x00\x00",
		"as JPEG images do": "\xff\xd8\xff\xe0\x00\x10JFIF",
	} {
		if _, err := walk([]byte(head), -1); !errors.Is(err, ErrNotVideo) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", want, err)
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
		verdict, err := w.Finish()
		// Only the trailing box is optional; a few zeros of its header look like padding.
		want, whole := Whole, cut == len(file) || cut == len(file)-48
		if left := cut - (len(file) - 48); left > 0 && left < 4 {
			want, whole = Tail, true
		}
		if whole != (err == nil) || err == nil && verdict != want {
			t.Fatalf("cut at %d of %d: %v, %v", cut, len(file), verdict, err)
		}
	})
}

// However untidy a file is, a cut that takes media or its index away is seen.
func TestCutsOfUntidyFilesAreSeen(t *testing.T) {
	noise := bytes.Repeat([]byte{0xde, 0xad, 0xbe, 0xef}, 100)
	for name, c := range map[string]struct{ film, tail []byte }{
		"line break":            {join(ftyp, mdat, moov), []byte("\r\n")},
		"zeros":                 {join(ftyp, moov, mdat), make([]byte, 100)},
		"mdat too small, first": {join(ftyp, sized("mdat", 400, noise), moov), nil},
		"no brand":              {join(moov, mdat), []byte("\r\n")},
		"wide first":            {join(box("wide", nil), mdat, moov), make([]byte, 7)},
		"mdat first":            {join(largeBox("mdat", noise), moov), nil},
		"picture first":         {join(box("pnot", make([]byte, 12)), mdat, moov), nil},
	} {
		if _, err := walk(join(c.film, c.tail), -1); err != nil {
			t.Errorf("%s: whole: %v", name, err)
		}
		for cut := range len(c.film) {
			if verdict, err := walk(c.film[:cut], -1); err == nil {
				t.Errorf("%s: cut at %d of %d passes as %v", name, cut, len(c.film), verdict)
			}
		}
	}
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
			if verdict, err := walk(file[:cut], -1); err == nil && verdict != Weak {
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
