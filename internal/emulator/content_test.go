package emulator

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"image/jpeg"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// contentOf submits and returns the content of a clip.
func contentOf(t *testing.T, p *provider, body string, idx int) *Content {
	t.Helper()
	c, err := p.Content(p.submitted(body), idx)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func whole(t *testing.T, c *Content) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnyPartOfTheContentIsTheSame(t *testing.T) {
	p := start(t, Options{ClipSize: 123_457})
	c := contentOf(t, p, `{"project_id":"p"}`, 1)
	all := whole(t, c)
	if len(all) != 123_457 {
		t.Fatalf("%d bytes", len(all))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		off := random.IntN(len(all) + 10)
		buf := make([]byte, random.IntN(300))
		n, err := c.ReadAt(buf, int64(off))
		want := all[min(off, len(all)):min(off+len(buf), len(all))]
		if !bytes.Equal(buf[:n], want) || (n < len(buf)) != errors.Is(err, io.EOF) && len(buf) > 0 {
			t.Fatalf("ReadAt(%d bytes, %d) is %d bytes, %v", len(buf), off, n, err)
		}
	}
	sum := sha256.Sum256(all)
	if got, err := c.SHA256(); err != nil || got != hex.EncodeToString(sum[:]) {
		t.Errorf("SHA256 is %s, %v", got, err)
	}
	if _, err := c.ReadAt(nil, -1); err == nil {
		t.Error("a negative offset is accepted")
	}
}

// boxes walks the top level of a file and returns the types, which must add up.
func boxes(t *testing.T, c *Content) (types string) {
	t.Helper()
	for off := int64(0); off < c.Size(); {
		var h [16]byte
		if _, err := c.ReadAt(h[:], off); err != nil {
			t.Fatalf("header at %d: %v", off, err)
		}
		size := int64(binary.BigEndian.Uint32(h[:4]))
		if size == 1 {
			size = int64(binary.BigEndian.Uint64(h[8:]))
		}
		if size < 8 || off+size > c.Size() {
			t.Fatalf("box %q at %d has size %d in a file of %d", h[4:8], off, size, c.Size())
		}
		types += string(h[4:8]) + " "
		off += size
	}
	return types
}

func TestContentIsAnMP4OfAnySize(t *testing.T) {
	for _, size := range []string{"", "~size=1KB", "~size=1MB", "~size=5GB", "~size=50GB"} {
		p := start(t, Options{})
		c := contentOf(t, p, `{"project_id":"p`+size+`"}`, 0)
		if got := boxes(t, c); got != "ftyp moov free mdat uuid free " {
			t.Errorf("size %q: boxes are %s", size, got)
		}
		if size == "~size=50GB" && c.Size() != 50e9 {
			t.Errorf("size is %d", c.Size())
		}
	}
}

func TestNoTwoClipsAreTheSame(t *testing.T) {
	p := start(t, Options{})
	seen := map[string]string{}
	for _, body := range []string{
		`{"project_id":"a","clip_indices":[0,1]}`, `{"project_id":"b","clip_indices":[0,1]}`,
		`{"project_id":"a","clip_indices":[0,1],"resolution":"UHD_4K"}`, `{"project_id":"a","clip_indices":[0,1]}`,
	} {
		id := p.submitted(body)
		for idx := range 2 {
			c, err := p.Content(id, idx)
			if err != nil {
				t.Fatal(err)
			}
			sum, err := c.SHA256()
			if err != nil {
				t.Fatal(err)
			}
			thumb, err := p.Thumbnail(id, idx)
			if err != nil {
				t.Fatal(err)
			}
			if img, err := jpeg.Decode(bytes.NewReader(thumb)); err != nil || img.Bounds().Dx() != 320 {
				t.Errorf("thumbnail: %v", err)
			}
			for _, what := range []string{sum, c.ETag(), string(thumb)} {
				if before := seen[what]; before != "" {
					t.Errorf("clip %d of %s is like %s", idx, body, before)
				}
				seen[what] = body
			}
			if !bytes.Contains(c.head, []byte(`"idx":`)) || !bytes.Contains(c.head, []byte(id)) {
				t.Error("the clip doesn't say what it is")
			}
		}
	}
	if _, err := p.Content("nothing", 0); err == nil {
		t.Error("content of an unknown task")
	}
	if _, err := p.Thumbnail(p.State().Submits[0].TaskID, 9); err == nil {
		t.Error("thumbnail of an unknown clip")
	}
}

func TestSamplesPlay(t *testing.T) {
	ffprobe, err := exec.LookPath("ffprobe")
	if err != nil {
		t.Skip("ffprobe isn't installed")
	}
	for ratio, want := range map[string]string{
		"RATIO_9_16": "180x320", "RATIO_1_1": "240x240", "RATIO_4_5": "224x280", "RATIO_16_9": "320x180",
	} {
		t.Run(ratio, func(t *testing.T) {
			p := start(t, Options{})
			c := contentOf(t, p, `{"project_id":"p~size=300KB","enable_ai_reframe":true,"ratio":"`+ratio+`"}`, 0)
			path := filepath.Join(t.TempDir(), "clip.mp4")
			if err := os.WriteFile(path, whole(t, c), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(ffprobe, "-v", "error", "-count_frames", "-show_entries",
				"stream=codec_name,width,height,nb_read_frames:format=duration", "-of", "json", path).CombinedOutput()
			var probe struct {
				Streams []struct {
					Codec  string `json:"codec_name"`
					Width  int    `json:"width"`
					Height int    `json:"height"`
					Frames string `json:"nb_read_frames"`
				}
			}
			if err != nil || json.Unmarshal(out, &probe) != nil || len(probe.Streams) != 2 {
				t.Fatalf("%v: %s", err, out)
			}
			video := probe.Streams[0]
			if video.Codec != "h264" || video.Frames != "30" || probe.Streams[1].Codec != "aac" ||
				want != strings.Join([]string{itoa(video.Width), itoa(video.Height)}, "x") {
				t.Errorf("ffprobe says %s", out)
			}
		})
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func TestSampleProjects(t *testing.T) {
	for id, want := range map[string]struct {
		clips int
		size  int64
		fail  string
	}{
		"proj_abc123":                  {3, 0, ""},
		"x~clips=40":                   {40, 0, ""},
		"x~clips=2~size=1.5MB":         {2, 1_500_000, ""},
		"x~clips=1~fail":               {1, 0, "rendering failed"},
		"x~clips=1~fail=no disk~x~y=z": {1, 0, "no disk"},
		"x~clips=1~size=51GB":          {1, 0, ""},
		"x~clips=1~size=-1":            {1, 0, ""},
		"x~clips=1~size=NaN":           {1, 0, ""},
	} {
		p := SampleProject(0, id)
		if p.Clips != want.clips || p.Clip(0).Size != want.size || p.Fail != want.fail {
			t.Errorf("%s: %d clips of %d bytes, fail %q", id, p.Clips, p.Clip(0).Size, p.Fail)
		}
	}
	for _, id := range []string{"x", "x~clips=0", "x~clips=99999", "x~clips=many"} {
		if n := SampleProject(0, id).Clips; n < 3 || n > 12 {
			t.Errorf("%s has %d clips", id, n)
		}
	}
	hostile := SampleProject(0, "x~titles=hostile")
	for idx, want := range hostileTitles {
		if got := hostile.Clip(idx).Title; got != want {
			t.Errorf("title %d is %q, want %q", idx, got, want)
		}
	}
}

func TestHostileTitlesArrive(t *testing.T) {
	p := start(t, Options{})
	id := p.submitted(`{"project_id":"x~titles=hostile~clips=20"}`)
	p.clock.advance(200_000_000_000)
	for i, c := range p.looked(id).Clips {
		if c.Title != hostileTitles[i] {
			t.Errorf("title %d is %q, want %q", i, c.Title, hostileTitles[i])
		}
	}
}
