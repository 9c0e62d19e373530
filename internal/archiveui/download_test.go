package archiveui

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/s3test"
)

func TestDownloads(t *testing.T) {
	s := newSite(t)
	m := s.add("e", "p", []clipOf{{Title: "First"}, {Title: "日本語 / second", Video: bytes.Repeat([]byte("video"), 100_000)}, {Title: "third", Video: []byte{}}})
	read := func(path string, want ...int) *http.Response {
		t.Helper()
		resp, body := s.get(path)
		if resp.StatusCode != 200 || resp.ContentLength != int64(len(body)) || len(resp.TransferEncoding) > 0 {
			t.Fatalf("%s: %d, %d of %d bytes", path, resp.StatusCode, len(body), resp.ContentLength)
		}
		z, err := zip.NewReader(strings.NewReader(body), int64(len(body)))
		if err != nil {
			t.Fatal(err)
		}
		if len(z.File) != len(want) {
			t.Fatalf("%s: %d files", path, len(z.File))
		}
		for i, f := range z.File {
			clip := m.Clips[want[i]]
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r) // archive/zip compares the CRC32
			if err != nil || int64(len(got)) != clip.Size || f.Method != zip.Store || !strings.HasSuffix(clip.Key, "/"+f.Name) || f.NonUTF8 {
				t.Errorf("%s: %s: %d of %d bytes, %v", path, f.Name, len(got), clip.Size, err)
			}
		}
		return resp
	}
	all := read("/archive/exports/e/zip", 0, 1, 2)
	if got := all.Header.Get("Content-Disposition"); got != `attachment; filename=e.zip` || all.Header.Get("Content-Type") != "application/zip" {
		t.Errorf("%q, %v", got, all.Header)
	}
	some := read("/archive/exports/e/zip?clip=2&clip=0&clip=2", 0, 2)
	if all.Header.Get("ETag") == some.Header.Get("ETag") {
		t.Error("two files with one validator")
	}
	for _, bad := range []string{"7", "-1", "x", "", "00"} {
		if resp, _ := s.get("/archive/exports/e/zip?clip=" + bad); resp.StatusCode != 404 {
			t.Errorf("clip %q: %d", bad, resp.StatusCode)
		}
	}
}

// A download that was cut goes on where it was, wherever that is.
func TestARangeOfADownload(t *testing.T) {
	s := newSite(t)
	s.add("e", "p", []clipOf{{Title: "First"}, {Title: "Second"}})
	_, whole := s.get("/archive/exports/e/zip")
	resp, _ := s.get("/archive/exports/e/zip", "Range", "bytes=5-9")
	etag := resp.Header.Get("ETag")
	for at := range len(whole) {
		resp, body := s.get("/archive/exports/e/zip", "Range", fmt.Sprintf("bytes=%d-", at), "If-Range", etag)
		if resp.StatusCode != http.StatusPartialContent || body != whole[at:] {
			t.Fatalf("from %d: %d, %d bytes", at, resp.StatusCode, len(body))
		}
	}
	if resp, body := s.get("/archive/exports/e/zip", "Range", "bytes=5-9", "If-Range", `"another"`); resp.StatusCode != 200 || body != whole {
		t.Errorf("of another file: %d", resp.StatusCode)
	}
}

// What is not what was archived breaks the connection: nobody takes it for the file.
func TestADownloadThatGoesWrong(t *testing.T) {
	for what, spoil := range map[string]func(s *site, key string){
		"another byte": func(s *site, key string) { s.put(key, "video/mp4", []byte("clip X of e")) },
		"too short":    func(s *site, key string) { s.put(key, "video/mp4", []byte("clip")) },
		"too long":     func(s *site, key string) { s.put(key, "video/mp4", []byte("clip 1 of e and more")) },
		"gone": func(s *site, key string) {
			_, err := s.s3.Client().DeleteObject(s.t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(s3test.Bucket), Key: &key})
			if err != nil {
				s.t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newSite(t)
			m := s.add("e", "p", []clipOf{{Title: "First"}, {Title: "Second"}, {Title: "Third"}})
			spoil(s, m.Clips[1].Key)
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/archive/exports/e/zip", nil)
			req.SetBasicAuth("mia", password)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return // broken before a byte was there
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if what == "too long" { // the bytes that were archived are there
				if err != nil {
					t.Errorf("%v", err)
				}
				return
			}
			if err == nil {
				t.Errorf("%d of %d bytes and no error", len(body), resp.ContentLength)
			}
			if !strings.Contains(s.log.String(), "download broken off") {
				t.Errorf("log:\n%s", s.log.String())
			}
		})
	}
}

// A download takes as long as the client needs, whatever the server's limits are for
// other answers.
func TestASlowDownload(t *testing.T) {
	s := newSite(t)
	s.add("e", "p", []clipOf{{Title: "First", Video: bytes.Repeat([]byte("0123456789abcdef"), 1<<20)}})
	const limit = 100 * time.Millisecond
	server := httptest.NewUnstartedServer(s.ui)
	server.Config.ReadTimeout, server.Config.WriteTimeout = limit, limit
	server.Start()
	t.Cleanup(server.Close)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/archive/exports/e/zip", nil)
	req.SetBasicAuth("mia", password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got int64
	for began := time.Now(); ; {
		n, err := io.CopyN(io.Discard, resp.Body, 1<<20)
		if got += n; err != nil {
			if !errors.Is(err, io.EOF) || got != resp.ContentLength || time.Since(began) < 3*limit {
				t.Fatalf("%d of %d bytes in %s: %v", got, resp.ContentLength, time.Since(began), err)
			}
			return
		}
		time.Sleep(limit / 4)
	}
}

// More downloads than a server sends at once are told when to come again.
func TestTooManyDownloads(t *testing.T) {
	s := newSite(t)
	s.add("e", "p", []clipOf{{Title: "First"}})
	for range maxStreams {
		s.ui.streams <- struct{}{}
	}
	if resp, _ := s.get("/archive/exports/e/zip"); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || resp.Header.Get("Content-Disposition") != "" {
		t.Errorf("%d, %v", resp.StatusCode, resp.Header)
	}
	<-s.ui.streams
	for range 2 { // each gives its place back
		if resp, _ := s.get("/archive/exports/e/zip"); resp.StatusCode != http.StatusOK {
			t.Errorf("with a place: %d", resp.StatusCode)
		}
	}
}

// ticking fails after so many bytes of each stream.
type ticking struct {
	io.Reader
	left *int
}

func (b ticking) Read(p []byte) (int, error) {
	if *b.left == 0 {
		return 0, errors.New("connection reset")
	}
	n, err := b.Reader.Read(p[:min(len(p), *b.left)])
	*b.left -= n
	return n, err
}

func (ticking) Close() error { return nil }

func TestAStreamThatBreaksIsTakenUp(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 1000)
	entries := []entry{{name: "a", key: "a", size: int64(len(content)), crc: crc32.ChecksumIEEE(content), modified: time.Now()}}
	opened := 0
	open := func(each int) func(context.Context, string, int64) (io.ReadCloser, error) {
		return func(_ context.Context, _ string, from int64) (io.ReadCloser, error) {
			opened++
			left := each
			return ticking{bytes.NewReader(content[from:]), &left}, nil
		}
	}
	z := newZip(t.Context(), entries, open(777))
	body, err := io.ReadAll(z)
	if err != nil || int64(len(body)) != z.size || opened != 10000/777+1 {
		t.Fatalf("%d of %d bytes in %d streams: %v", len(body), z.size, opened, err)
	}
	if r, err := zip.NewReader(bytes.NewReader(body), z.size); err != nil || len(r.File) != 1 {
		t.Fatal(err)
	}
	opened = 0
	if _, err := io.ReadAll(newZip(t.Context(), entries, open(0))); err == nil || opened != maxResumes+1 {
		t.Errorf("without a byte: %v after %d streams", err, opened)
	}
}

// zeros are n bytes of nothing.
type zeros struct{ n int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), z.n))
	clear(p[:n])
	z.n -= int64(n)
	return n, nil
}

// readerAt reads a zipFile as archive/zip does.
type readerAt struct{ z *zipFile }

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	if _, err := r.z.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	return io.ReadFull(r.z, p)
}

// A file and a ZIP beyond 4 GiB, and more files than 65,535, are ZIP64.
func TestLargeDownloads(t *testing.T) {
	sizes := func(sizes ...int64) []entry {
		var entries []entry
		for i, size := range sizes {
			sum := crc32.ChecksumIEEE(make([]byte, min(size, 100))) // of those that are read to their ends
			entries = append(entries, entry{name: fmt.Sprintf("clip-%05d.mp4", i), key: fmt.Sprint(size), size: size, crc: sum, modified: time.Now()})
		}
		return entries
	}
	for what, entries := range map[string][]entry{
		"just below": sizes(math.MaxUint32-1, 5),
		"just above": sizes(math.MaxUint32, 5),
		"large":      sizes(5<<30, 7<<30, 3),
		"many":       sizes(make([]int64, 70_000)...),
		"none":       nil,
	} {
		z := newZip(t.Context(), entries, func(_ context.Context, key string, from int64) (io.ReadCloser, error) {
			var size int64
			fmt.Sscan(key, &size)
			return io.NopCloser(&zeros{size - from}), nil
		})
		r, err := zip.NewReader(readerAt{z}, z.size)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if len(r.File) != len(entries) {
			t.Fatalf("%s: %d files", what, len(r.File))
		}
		for i, f := range r.File {
			at, err := f.DataOffset()
			if err != nil || int64(f.UncompressedSize64) != entries[i].size || at != z.segments[2*i+1].from {
				t.Fatalf("%s: file %d: %d bytes at %d, %v", what, i, f.UncompressedSize64, at, err)
			}
		}
	}
}

// Programs that people have read it, from a file and from a stream.
func TestOtherProgramsReadDownloads(t *testing.T) {
	s := newSite(t)
	s.add("e", "p", []clipOf{{Title: "First", Video: sample(t, "16x9")}, {Title: "日本語", Video: sample(t, "9x16")}})
	_, body := s.get("/archive/exports/e/zip")
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 here")
	}
	c := exec.Command(python, "-c", "import sys,io,zipfile; z=zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read())); assert z.testzip() is None; print(*z.namelist())")
	c.Stdin = strings.NewReader(body)
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "clip-001-日本語.mp4") {
		t.Errorf("%v: %s", err, out)
	}
}
