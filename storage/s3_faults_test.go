package storage

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/s3test"
)

// s3Proxy stands between us and S3. It keeps the Host, which is signed.
type s3Proxy struct {
	proxy *httputil.ReverseProxy
	// do may answer request n (from 1) of its kind instead; see kindOf.
	do   func(kind string, n int, w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) bool
	mu   sync.Mutex
	seen map[string]int
}

func newS3Proxy(t *testing.T, srv *s3test.Server, do func(string, int, http.ResponseWriter, *http.Request, func(http.ResponseWriter)) bool) string {
	t.Helper()
	target, err := url.Parse(srv.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := &s3Proxy{do: do, seen: map[string]int{}, proxy: &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
	}}
	hs := httptest.NewServer(p)
	hs.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	t.Cleanup(hs.Close)
	return hs.URL
}

func kindOf(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case r.Method == "HEAD":
		return "head"
	case r.Method == "POST" && q.Has("uploads"):
		return "create"
	case r.Method == "POST":
		return "complete"
	case r.Method == "PUT" && q.Has("partNumber"):
		return "part"
	case r.Method == "PUT" && q.Has("tagging"):
		return "tag"
	case r.Method == "PUT":
		return "put"
	case r.Method == "DELETE":
		return "abort"
	case q.Has("uploadId"):
		return "list"
	}
	return "get"
}

func (p *s3Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := kindOf(r)
	p.mu.Lock()
	p.seen[kind]++
	n := p.seen[kind]
	p.mu.Unlock()
	pass := func(w http.ResponseWriter) { p.proxy.ServeHTTP(w, r) }
	if !p.do(kind, n, w, r, pass) {
		pass(w)
	}
}

func s3Error(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>m</Message></Error>", code)
}

// Whatever happens on the way to S3, the same holds; and every fault here is one
// that a transfer must survive.
func TestS3Faults(t *testing.T) {
	type do = func(kind string, n int, w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) bool
	failing := func(kind string, times int, fail func(w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter))) do {
		return func(k string, n int, w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) bool {
			if k != kind || n > times {
				return false
			}
			fail(w, r, pass)
			return true
		}
	}
	status := func(code int, name string) func(http.ResponseWriter, *http.Request, func(http.ResponseWriter)) {
		return func(w http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) { s3Error(w, code, name) }
	}
	// the deed is done, its answer is lost
	lost := func(_ http.ResponseWriter, _ *http.Request, pass func(http.ResponseWriter)) {
		pass(httptest.NewRecorder())
		reset()
	}
	// half a body arrives
	half := func(_ http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) {
		_, _ = io.CopyN(io.Discard, r.Body, 100_000)
		reset()
	}
	// the body is changed on the way
	corrupt := func(w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			reset()
		}
		b[len(b)/2] ^= 1
		r.Body = io.NopCloser(bytes.NewReader(b))
		pass(w)
	}
	srv := s3test.Start(t)
	clips := map[int][]byte{} // of all cases: fresh memory is dear under the race detector
	for _, size := range []int{5000, 2*minPartSize + 5} {
		clips[size] = clipOf(size, 19)
	}
	for name, c := range map[string]struct {
		size int
		do   do
	}{
		"part 503":             {2*minPartSize + 5, failing("part", 3, status(503, "SlowDown"))},
		"part 500":             {2*minPartSize + 5, failing("part", 2, status(500, "InternalError"))},
		"part answer lost":     {2*minPartSize + 5, failing("part", 2, lost)},
		"part cut":             {2*minPartSize + 5, failing("part", 2, half)},
		"part corrupted":       {2*minPartSize + 5, failing("part", 2, corrupt)},
		"create answer lost":   {2*minPartSize + 5, failing("create", 1, lost)},
		"complete answer lost": {2*minPartSize + 5, failing("complete", 1, lost)},
		"complete 500":         {2*minPartSize + 5, failing("complete", 1, status(500, "InternalError"))},
		"complete 409":         {2*minPartSize + 5, failing("complete", 1, status(409, "ConditionalRequestConflict"))},
		"complete: no upload":  {2*minPartSize + 5, failing("complete", 1, status(404, "NoSuchUpload"))},
		"part: no upload":      {2*minPartSize + 5, failing("part", 1, status(404, "NoSuchUpload"))},
		"put 503":              {5000, failing("put", 2, status(503, "SlowDown"))},
		"put answer lost":      {5000, failing("put", 1, lost)},
		"put corrupted":        {5000, failing("put", 1, corrupt)},
		"no tags":              {2*minPartSize + 5, failing("tag", 1<<30, status(501, "NotImplemented"))},
		"head 500":             {5000, failing("head", 1, status(500, "InternalError"))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clip := clips[c.size]
			proxied := newS3Proxy(t, srv, c.do)
			a := newArchive(t, srv, func(o *Options) { o.Client = srv.ClientAt(proxied) })
			job := Job{Export: "e", Key: a.Folder("p", name) + "clip-000.mp4", Link: serveFile(t, clip)}
			var obj Result
			var err error
			for range 3 { // a fault that is handed up is retried by whoever schedules
				if obj, err = a.Mirror(t.Context(), job); fault.ClassOf(err) != fault.Retry || err == nil {
					break
				}
				t.Log(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := stored(t, a, job.Key); !bytes.Equal(got, clip) || obj.SHA256 != sum(clip) {
				t.Errorf("the object is not the clip: %d bytes", len(got))
			}
		})
	}
}

// A server that stored something else than it was sent is found out, and what
// it stored is removed.
func TestS3StoresWrong(t *testing.T) {
	srv := s3test.Start(t)
	honest := newArchive(t, srv)
	head := func(w http.ResponseWriter, size, crc string) bool {
		w.Header().Set("Content-Length", size)
		w.Header().Set("X-Amz-Meta-"+metaExport, "e")
		if crc != "" {
			w.Header().Set("X-Amz-Checksum-Crc32", crc)
		}
		return true
	}
	for name, do := range map[string]func(kind string, w http.ResponseWriter) bool{
		"size": func(kind string, w http.ResponseWriter) bool { return kind == "head" && head(w, "4999", "") },
		"crc":  func(kind string, w http.ResponseWriter) bool { return kind == "head" && head(w, "5000", encodeCRC(1)) },
		"bytes, without a checksum": func(kind string, w http.ResponseWriter) bool {
			if kind == "get" {
				answer(w, clipOf(5000, 2), 5000)
				return true
			}
			return kind == "head" && head(w, "5000", "")
		},
	} {
		proxied := newS3Proxy(t, srv, func(kind string, _ int, w http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) bool {
			return do(kind, w)
		})
		a := newArchive(t, srv, func(o *Options) { o.Client = srv.ClientAt(proxied) })
		key := a.Folder("p", name) + "clip-000.mp4"
		_, err := a.Mirror(t.Context(), Job{Export: "e", Key: key, Link: serveFile(t, clipOf(5000, 1))})
		if fault.ClassOf(err) != fault.Retry || err == nil || !strings.Contains(err.Error(), "stored") {
			t.Errorf("%s: %v", name, err)
		}
		if _, exists, err := honest.head(t.Context(), key); err != nil || exists {
			t.Errorf("%s: it still stands there: %v %v", name, exists, err)
		}
	}
}
