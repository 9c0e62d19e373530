package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/clipferry/clipferry/internal/s3test"
)

func readSeeker(b []byte) io.ReadSeeker { return bytes.NewReader(b) }

func base64SHA(b []byte) string {
	s := sha256.Sum256(b)
	return base64.StdEncoding.EncodeToString(s[:])
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// stored reads an object as any client would.
func stored(t testing.TB, a *Archive, key string) []byte {
	t.Helper()
	link, err := a.Presign(t.Context(), key, "", presignTTL)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b := make([]byte, max(0, resp.ContentLength)) // growing it costs the race detector more than the test
	_, err = io.ReadFull(resp.Body, b)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v: %.300s", key, resp.Status, err, b)
	}
	return b
}

// servers runs a test against every kind of S3 server that can be started here.
func servers(t *testing.T, test func(t *testing.T, srv *s3test.Server)) {
	t.Run("versitygw", func(t *testing.T) { test(t, s3test.Start(t)) })
	t.Run("rclone", func(t *testing.T) { test(t, s3test.StartWeak(t)) })
	t.Run("embeds3", func(t *testing.T) { test(t, s3test.StartEmbedded(t)) })
}

func TestMirror(t *testing.T) {
	servers(t, func(t *testing.T, srv *s3test.Server) {
		a := newArchive(t, srv)
		for name, size := range map[string]int{
			"small": 100_000, "one part": minPartSize, "two parts": minPartSize + 1,
			"large": 5*minPartSize + 12345,
		} {
			t.Run(name, func(t *testing.T) {
				clip := clipOf(size, uint64(size))
				job := Job{
					Export: "exp_1", Key: a.Folder("proj", "task") + ClipName(size, name) + ".mp4",
					Link: serveFile(t, clip), Filename: "Café.mp4", Metadata: map[string]string{"title": "Café"},
				}
				obj, err := a.Mirror(context.Background(), job)
				if err != nil {
					t.Fatal(err)
				}
				if obj.SHA256 != sum(clip) || obj.Size != int64(size) || obj.Found {
					t.Errorf("got %+v", obj)
				}
				if !bytes.Equal(stored(t, a, obj.Key), clip) {
					t.Error("the object is not the clip")
				}
				t.Log(obj.Proofs, obj.Fetched, obj.Refetched)
				again, err := a.Mirror(context.Background(), job)
				if err != nil {
					t.Fatal(err)
				}
				if !again.Found || again.SHA256 != obj.SHA256 {
					t.Errorf("again: %+v", again)
				}
				t.Log(again.Proofs, again.Fetched)
			})
		}
	})
}

func TestSelfTest(t *testing.T) {
	servers(t, func(t *testing.T, srv *s3test.Server) {
		a := newArchive(t, srv)
		for _, r := range a.SelfTest(t.Context()) {
			t.Logf("%s: optional %v, %v (%s)", r.Name, r.Optional, r.Err, r.Note)
			if r.Err != nil && !r.Optional {
				t.Errorf("%s: %v", r.Name, r.Err)
			}
		}
	})
}

// A clip that stands in S3 needs no living link.
func TestArchivedClipNeedsNoLink(t *testing.T) {
	srv := s3test.Start(t)
	a := newArchive(t, srv)
	for _, size := range []int{1000, minPartSize + 1} {
		o := newOrigin(clipOf(size, 1))
		hs := httptest.NewServer(o)
		job := Job{Export: "e", Key: ClipName(size, "") + ".mp4", Link: hs.URL}
		var done int64
		job.Progress = func(n, total int64) { done = n }
		obj, err := a.Mirror(t.Context(), job)
		hs.Close()
		if err != nil || done != int64(size) {
			t.Fatal(err, done)
		}
		again, err := a.Mirror(t.Context(), job)
		if err != nil || !again.Found || again.SHA256 != obj.SHA256 || again.Fetched != 0 {
			t.Errorf("%+v, %v", again, err)
		}
	}
}
