package emulator

import (
	"bytes"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

func TestLinksAnswerRanges(t *testing.T) {
	p := start(t, Options{ClipSize: 100_000})
	id, link := p.finished("p")
	content, err := p.Content(id, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := string(whole(t, content))
	etag := content.ETag()
	for _, tc := range []struct {
		name, method string
		header       []string
		status       int
		from, to     int // of the body
		contentRange string
	}{
		{"whole", "GET", nil, 200, 0, 100_000, ""},
		{"head", "HEAD", nil, 200, 0, 0, ""},
		{"from the start", "GET", []string{"Range", "bytes=0-99"}, 206, 0, 100, "bytes 0-99/100000"},
		{"to the end", "GET", []string{"Range", "bytes=99000-"}, 206, 99_000, 100_000, "bytes 99000-99999/100000"},
		{"the last", "GET", []string{"Range", "bytes=-7"}, 206, 99_993, 100_000, "bytes 99993-99999/100000"},
		{"beyond", "GET", []string{"Range", "bytes=100000-"}, 416, 0, 0, "bytes */100000"},
		{"if it is the same", "GET", []string{"Range", "bytes=5-9", "If-Range", etag}, 206, 5, 10, "bytes 5-9/100000"},
		{"if it is not", "GET", []string{"Range", "bytes=5-9", "If-Range", `"other"`}, 200, 0, 100_000, ""},
		{"not modified", "GET", []string{"If-None-Match", etag}, 304, 0, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := p.must(tc.method, link, "", tc.header...)
			if a.status != tc.status || a.header.Get("Content-Range") != tc.contentRange {
				t.Errorf("%d, %s", a.status, a.header.Get("Content-Range"))
			}
			if tc.status != 416 && a.body != all[tc.from:tc.to] {
				t.Errorf("%d bytes, not those from %d to %d", len(a.body), tc.from, tc.to)
			}
			if tc.status < 300 && (a.header.Get("ETag") != etag || a.header.Get("Content-Type") != "video/mp4" || a.header.Get("Accept-Ranges") != "bytes") {
				t.Errorf("header is %v", a.header)
			}
			if tc.method == "HEAD" && a.header.Get("Content-Length") != "100000" {
				t.Errorf("HEAD says %s", a.header.Get("Content-Length"))
			}
		})
	}
}

func TestThumbnailsAreServed(t *testing.T) {
	p := start(t, Options{})
	id, _ := p.finished("p")
	want, err := p.Thumbnail(id, 0)
	if err != nil {
		t.Fatal(err)
	}
	a := p.must("GET", p.looked(id).Clips[0].Thumbnail, "")
	if a.status != 200 || a.header.Get("Content-Type") != "image/jpeg" || a.body != string(want) {
		t.Errorf("%d %s, %d bytes", a.status, a.header.Get("Content-Type"), len(a.body))
	}
}

// A clip that isn't ready has no link yet, and a link can't be guessed; but one
// that was made for another clip of the task must not open it either.
func TestClipsAreServedWhenReady(t *testing.T) {
	p := start(t, Options{})
	id := p.submitted(`{"project_id":"p","clip_indices":[0]}`)
	early := p.link(p.base, kindClip, p.tasks[id], 0, p.clock.Now())
	if a := p.must("GET", early, ""); a.status != 404 || !strings.Contains(a.body, "NoSuchKey") {
		t.Errorf("before it is ready: %d %s", a.status, a.body)
	}
}

func TestFiftyGigabytesTakeNoMemory(t *testing.T) {
	p := start(t, Options{})
	id, link := p.finished("p~size=50GB")
	content, err := p.Content(id, 0)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", link, nil)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	resp, err := p.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	const read = 64 << 20
	n, err := io.CopyN(io.Discard, resp.Body, read)
	_ = resp.Body.Close()
	runtime.ReadMemStats(&after)
	if resp.ContentLength != 50e9 || n != read || err != nil {
		t.Errorf("length %d, read %d, %v", resp.ContentLength, n, err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
		t.Errorf("%d bytes were allocated", grown)
	}
	end := p.must("GET", link, "", "Range", "bytes=49999999000-")
	want := make([]byte, 1000)
	if _, err := content.ReadAt(want, 49_999_999_000); err != nil || !bytes.Equal(want, []byte(end.body)) {
		t.Errorf("the end differs: %d bytes, %v", len(end.body), err)
	}
}
