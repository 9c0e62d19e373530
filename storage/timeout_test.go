package storage

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/s3test"
)

// A server that takes a request and never answers it, or stops in the middle of
// an object, is asked again: nothing waits for it until the deadline.
func TestS3FallsSilent(t *testing.T) {
	srv := s3test.Start(t)
	small, large := clipOf(5000, 71), clipOf(2*minPartSize+5, 72)
	for kind, clip := range map[string][]byte{
		"head": small, "create": large, "tag": large, "get": small, "get, midway": small, "list": large,
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			done := make(chan struct{})
			defer close(done)
			var silent atomic.Int32
			proxied := newS3Proxy(t, srv, func(k string, n int, w http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) bool {
				if k == "head" && strings.HasPrefix(kind, "get") {
					w.Header().Set("Content-Length", "5000") // without a checksum: it is read again
					return true
				}
				if n > 1 || !strings.HasPrefix(kind, k) {
					return false
				}
				if silent.Add(1); kind == "get, midway" {
					w.Header().Set("Content-Length", "5000")
					_, _ = w.Write(clip[:1000])
					_ = http.NewResponseController(w).Flush()
				}
				select {
				case <-r.Context().Done():
				case <-done:
				}
				return true
			})
			store := newMemory()
			a := newArchive(t, srv, func(o *Options) { o.Client, o.Checkpoints = srv.ClientAt(proxied), store })
			a.timeouts.response = 300 * time.Millisecond
			job := Job{Export: "e", Key: a.Folder("p", kind) + "clip-000.mp4", Link: serveFile(t, clip)}
			var obj Result
			var err error
			for range 2 { // what was handed up is tried again by whoever schedules
				if obj, err = a.Mirror(t.Context(), job); err == nil {
					break
				}
			}
			if err != nil || obj.SHA256 != sum(clip) || !bytes.Equal(stored(t, newArchive(t, srv), job.Key), clip) {
				t.Errorf("%+v, %v", obj, err)
			}
			if kind == "list" {
				_, _ = a.listParts(t.Context(), job.Key, "none")
			}
			if silent.Load() == 0 {
				t.Error("it was never silent")
			}
		})
	}
}

// Who reads slowly is not a server that is silent.
func TestASlowReaderIsNoSilence(t *testing.T) {
	srv := s3test.Start(t)
	a := newArchive(t, srv)
	clip := clipOf(3<<20, 73)
	job := Job{Export: "e", Key: "slow.mp4", Link: serveFile(t, clip)}
	if _, err := a.Mirror(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	a.timeouts.response = 200 * time.Millisecond
	out, err := a.get(t.Context(), job.Key)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	time.Sleep(2 * a.timeouts.response)
	if b, err := io.ReadAll(out.Body); err != nil || !bytes.Equal(b, clip) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
