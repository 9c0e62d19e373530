package storage

import (
	"net/http"
	"testing"

	"github.com/clipferry/clipferry/internal/s3test"
)

// A server may refuse a conditional PUT and cut the connection while the body is
// still on its way: its answer is then never read. The object stands all the same.
func TestATakenKeyWhoseRefusalIsNeverRead(t *testing.T) {
	srv := s3test.Start(t)
	clip := clipOf(3<<20, 7)
	job := Job{Export: "e", Key: "exports/p/t/clip-000-cut.mp4", Link: serveFile(t, clip)}
	first, err := newArchive(t, srv).Mirror(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	cut := newS3Proxy(t, srv, func(kind string, _ int, _ http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) bool {
		if kind == "put" {
			reset()
		}
		return false
	})
	a := newArchive(t, srv, func(o *Options) { o.Client = srv.ClientAt(cut) })
	again, err := a.Mirror(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	if !again.Found || again.SHA256 != first.SHA256 {
		t.Errorf("again: %+v", again)
	}
}
