package storage

import (
	"io"
	"testing"

	"github.com/clipferry/clipferry/internal/s3test"
)

// Every server gives what is behind an offset, and says what is not there.
func TestReadFrom(t *testing.T) {
	servers(t, func(t *testing.T, srv *s3test.Server) {
		a := newArchive(t, srv)
		clip := clipOf(50_000, 7)
		key := a.Folder("p", "t") + "clip-000.mp4"
		if _, err := a.Mirror(t.Context(), Job{Export: "e", Key: key, Link: serveFile(t, clip)}); err != nil {
			t.Fatal(err)
		}
		for _, from := range []int64{0, 1, 49_999} {
			body, err := a.ReadFrom(t.Context(), key, from)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			if err != nil || string(got) != string(clip[from:]) {
				t.Errorf("from %d: %d bytes, %v", from, len(got), err)
			}
			_ = body.Close()
		}
		if _, err := a.ReadFrom(t.Context(), key+"x", 0); err == nil {
			t.Error("it reads what is not there")
		}
	})
}
