package storage

import (
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/s3test"
)

// misbehave is a source that does what do says with request n (from 1), and
// serves its file honestly where do returns false.
type misbehave struct {
	*origin
	do func(n int, o *origin, w http.ResponseWriter, r *http.Request) bool
	n  int
	mu sync.Mutex
}

func (m *misbehave) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.n++
	n := m.n
	m.mu.Unlock()
	if !m.do(n, m.origin, w, r) {
		m.origin.ServeHTTP(w, r)
	}
}

// cutter lets a number of body bytes through, then does as it is told.
type cutter struct {
	http.ResponseWriter
	left int
	then func()
}

func (c *cutter) Write(b []byte) (int, error) {
	if len(b) > c.left {
		n, _ := c.ResponseWriter.Write(b[:c.left])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		c.left = 0
		c.then()
		return n, io.ErrClosedPipe
	}
	c.left -= len(b)
	return c.ResponseWriter.Write(b)
}

func reset() { panic(http.ErrAbortHandler) }

type sourceFault struct {
	name string
	do   func(n int, o *origin, w http.ResponseWriter, r *http.Request) bool
	// want is the class of the error, "" for success; content says that it wraps ErrContent.
	want    fault.Class
	content bool
}

const tooMuch = 1 << 20

// cutAt cuts the first requests, each after so many bytes.
func cutAt(times, after int) func(int, *origin, http.ResponseWriter, *http.Request) bool {
	return func(n int, o *origin, w http.ResponseWriter, r *http.Request) bool {
		if n > times {
			return false
		}
		o.ServeHTTP(&cutter{w, after, reset}, r)
		return true
	}
}

// answer sends a file without ranges or validator.
func answer(w http.ResponseWriter, b []byte, length int) {
	if length >= 0 {
		w.Header().Set("Content-Length", fmt.Sprint(length))
	}
	_, _ = w.Write(b)
}

func sourceFaults() []sourceFault {
	whole := func(length func(b []byte) int, body func(b []byte) []byte) func(int, *origin, http.ResponseWriter, *http.Request) bool {
		return func(_ int, o *origin, w http.ResponseWriter, _ *http.Request) bool {
			answer(w, body(o.body), length(o.body))
			return true
		}
	}
	same := func(b []byte) []byte { return b }
	size := func(b []byte) int { return len(b) }
	unknown := func([]byte) int { return -1 }
	late := func(do func(n int, o *origin, w http.ResponseWriter, r *http.Request)) func(int, *origin, http.ResponseWriter, *http.Request) bool {
		return func(n int, o *origin, w http.ResponseWriter, r *http.Request) bool {
			if n < 3 {
				return false
			}
			do(n, o, w, r)
			return true
		}
	}
	return []sourceFault{
		{name: "honest", do: cutAt(0, 0)},
		{name: "cut in the first part", do: cutAt(1, 1000)},
		{name: "cut at a part boundary", do: cutAt(1, minPartSize)},
		{name: "cut again and again", do: cutAt(7, 700_000)},
		{name: "cut before the first byte, for ever", do: cutAt(1<<30, 0), want: fault.Retry},
		{name: "stall", do: func(n int, o *origin, w http.ResponseWriter, r *http.Request) bool {
			if n != 2 {
				return false
			}
			o.ServeHTTP(&cutter{w, 5000, func() { <-r.Context().Done() }}, r)
			return true
		}},
		{name: "503 now and then", do: func(n int, _ *origin, w http.ResponseWriter, _ *http.Request) bool {
			if n%2 == 0 {
				w.WriteHeader(503)
			}
			return n%2 == 0
		}},
		{name: "429 for long", do: func(_ int, _ *origin, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "600")
			w.WriteHeader(429)
			return true
		}, want: fault.Retry},
		{name: "403 midway", do: late(func(_ int, _ *origin, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }), want: fault.LinkExpired},
		{name: "404 at once", do: func(_ int, _ *origin, w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(404)
			return true
		}, want: fault.LinkExpired},
		{name: "206 of another range", do: late(func(_ int, o *origin, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", o.etag)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", minPartSize-1, len(o.body)))
			w.WriteHeader(206)
			_, _ = w.Write(o.body[:minPartSize])
		}), want: fault.Retry, content: true},
		{name: "206 of another size", do: late(func(_ int, o *origin, w http.ResponseWriter, r *http.Request) {
			o2 := newOrigin(o.body[:len(o.body)-1])
			o2.ServeHTTP(w, r)
		}), want: fault.Retry, content: true},
		{name: "ranges only at first", do: late(func(_ int, o *origin, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", o.etag)
			answer(w, o.body, len(o.body))
		})},
		{name: "no ranges", do: whole(size, same)},
		{name: "no length", do: whole(unknown, same)},
		{name: "no length, cut cleanly", do: whole(unknown, func(b []byte) []byte { return b[:len(b)-5] }), want: fault.Retry, content: true},
		{name: "no length, cut in the first part", do: whole(unknown, func(b []byte) []byte { return b[:1000] }), want: fault.Retry, content: true},
		{name: "no length, cut behind the clip", do: whole(unknown, func(b []byte) []byte { return append(bytes.Clone(b), "\x00\x00\x10\x00free, and cut"...) }), want: fault.Retry, content: true},
		{name: "announced shorter", do: whole(func(b []byte) int { return len(b) - 100 }, func(b []byte) []byte { return b[:len(b)-100] }), want: fault.Retry, content: true},
		{name: "announced longer", do: whole(func(b []byte) int { return len(b) + 100 }, same), want: fault.Retry},
		{name: "error page with 200", do: func(_ int, _ *origin, w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write([]byte("<html>" + strings.Repeat("expired ", 100)))
			return true
		}, want: fault.Retry, content: true},
		{name: "large error page", do: func(_ int, _ *origin, w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("ETag", `"page"`)
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(strings.Repeat("<html>", 2<<20)))
			return true
		}, want: fault.Retry, content: true},
		{name: "416 to every range", do: func(_ int, o *origin, w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Range") != "" {
				w.WriteHeader(416)
				return true
			}
			answer(w, o.body, len(o.body))
			return true
		}},
		{name: "plain bytes called gzip", do: func(_ int, o *origin, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Encoding", "gzip")
			answer(w, o.body, len(o.body))
			return true
		}},
		{name: "gzip", do: func(_ int, o *origin, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(o.body)
			_ = z.Close()
			return true
		}, want: fault.Retry, content: true},
		{name: "wrong digest", do: func(_ int, o *origin, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-MD5", "XrY7u+Ae7tCTyyK7j1rNww==")
			answer(w, o.body, len(o.body))
			return true
		}, want: fault.Retry, content: true},
		{name: "flipped bit, told by its digest", do: func(_ int, o *origin, w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Digest", "sha-256="+base64SHA(o.body))
			b := bytes.Clone(o.body)
			b[len(b)/2] ^= 1
			w.Header().Set("ETag", o.etag)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
			return true
		}, want: fault.Retry, content: true},
		{name: "a tag that looks like an MD5 and is none", do: func(_ int, o *origin, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Server", "AmazonS3")
			o.mu.Lock()
			o.etag = `"5eb63bbbe01eeed093cb22bb8f5acdc3"`
			o.mu.Unlock()
			return false
		}},
		{name: "flipped bits, told by a tag", do: func(n int, o *origin, w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Server", "AmazonS3")
			md5sum := md5.Sum(o.body)
			w.Header().Set("ETag", `"`+hex.EncodeToString(md5sum[:])+`"`)
			b := bytes.Clone(o.body)
			b[n]++ // each time another one
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
			return true
		}, want: fault.Retry, content: true},
		{name: "right digest", do: func(_ int, o *origin, w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Digest", "sha-256="+base64SHA(o.body))
			o.ServeHTTP(w, r)
			return true
		}},
		{name: "changes midway", do: func(n int, o *origin, _ http.ResponseWriter, _ *http.Request) bool {
			if n == 3 {
				o.mu.Lock()
				o.body, o.etag = clipOf(len(o.body), 77), `"v2"`
				o.mu.Unlock()
			}
			return false
		}},
		{name: "every answer names another version", do: func(n int, o *origin, _ http.ResponseWriter, _ *http.Request) bool {
			o.mu.Lock()
			o.etag = fmt.Sprintf(`"v%d"`, n)
			o.mu.Unlock()
			return false
		}},
		{name: "a piece of a range at a time", do: func(_ int, o *origin, w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("ETag", o.etag)
			if r.Header.Get("Range") == "" {
				answer(w, o.body, len(o.body))
				return true
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-999999/%d", len(o.body)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(o.body[:1_000_000])
			return true
		}},
		{name: "changes with every request", do: func(n int, o *origin, _ http.ResponseWriter, _ *http.Request) bool {
			o.mu.Lock()
			o.body, o.etag = bytes.Clone(o.body), fmt.Sprintf(`"v%d"`, n)
			o.body[len(o.body)/2]++
			o.mu.Unlock()
			return false
		}}, // one answer is of one version
	}
}

// Whatever the source does, what is completed is the source, and nothing else is
// completed; a transfer that failed leaves nothing behind but what it can resume from.
func TestSourceFaults(t *testing.T) {
	srv := s3test.Start(t)
	clip := clipOf(2*minPartSize+tooMuch, 20) // of all cases: fresh memory is dear under the race detector
	for i, f := range sourceFaults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(clip)
			hs := httptest.NewServer(&misbehave{origin: o, do: f.do})
			defer hs.Close()
			hs.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
			store := newMemory()
			a := newArchive(t, srv, func(o *Options) {
				o.Checkpoints = store
				o.Source = newFetch(t, func(fo *link.Options) {
					if fo.StallTimeout = 30 * time.Second; f.name == "stall" {
						fo.StallTimeout = time.Second
					}
				})
			})
			job := Job{Export: "e", Key: a.Folder("p", fmt.Sprint(i)) + "clip-000.mp4", Link: hs.URL}
			obj, err := a.Mirror(t.Context(), job)
			_, exists, herr := a.head(t.Context(), job.Key)
			if herr != nil {
				t.Fatal(herr)
			}
			if f.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if got := stored(t, a, job.Key); !bytes.Equal(got, o.body) || obj.SHA256 != sum(o.body) {
					t.Errorf("the object is not the source: %d bytes", len(got))
				}
				return
			}
			if err == nil || fault.ClassOf(err) != f.want || errors.Is(err, ErrContent) != f.content {
				t.Errorf("got %v", err)
			}
			if exists {
				t.Error("something was completed")
			}
			if f.content && len(store.m) > 0 {
				t.Error("wrong content left a checkpoint")
			}
			// the next run, with an honest link, ends well
			honest := httptest.NewServer(o)
			defer honest.Close()
			job.Link = honest.URL
			if obj, err = a.Mirror(t.Context(), job); err != nil || obj.SHA256 != sum(o.body) {
				t.Errorf("afterwards: %+v, %v", obj, err)
			}
		})
	}
}
