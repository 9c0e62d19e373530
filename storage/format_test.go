package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/s3test"
)

// movOf is a QuickTime file of exactly size bytes.
func movOf(size int, seed uint64) []byte {
	b := clipOf(size, seed)
	copy(b[8:], "qt  ")
	return b
}

// serveStream serves one file in one piece, without its length.
func serveStream(t *testing.T, b []byte) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write(b)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/clip.mp4"
}

// A QuickTime file is called one in S3, in its key and in its name, however it gets
// there.
func TestQuickTime(t *testing.T) {
	servers(t, func(t *testing.T, srv *s3test.Server) {
		for _, size := range []int{5000, 2*minPartSize + 5} {
			clip := movOf(size, 95)
			for name, source := range map[string]string{"ranged": serveFile(t, clip), "streamed": serveStream(t, clip)} {
				a := newArchive(t, srv)
				job := Job{Export: "e", Key: fmt.Sprintf("exports/p/%s/clip-%d.mp4", name, size), Link: source, Filename: "Café.mp4"}
				obj, err := a.Mirror(t.Context(), job)
				if err != nil || obj.Key != strings.TrimSuffix(job.Key, ".mp4")+".mov" || obj.ContentType != "video/quicktime" {
					t.Fatalf("%s, %d bytes: %+v, %v", name, size, obj, err)
				}
				if !bytes.Equal(stored(t, a, obj.Key), clip) {
					t.Errorf("%s, %d bytes: the object is not the clip", name, size)
				}
				out, err := srv.Client().HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(s3test.Bucket), Key: &obj.Key})
				if err != nil {
					t.Fatal(err)
				}
				if aws.ToString(out.ContentType) != obj.ContentType || srv.Name != "rclone" && !strings.Contains(aws.ToString(out.ContentDisposition), ".mov") {
					t.Errorf("%s, %d bytes: S3 has %s, %s", name, size, aws.ToString(out.ContentType), aws.ToString(out.ContentDisposition))
				}
				job.Link = "http://127.0.0.1:1/gone" // it is found under its own name
				if again, err := a.Mirror(t.Context(), job); err != nil || !again.Found || again.Key != obj.Key {
					t.Errorf("%s, %d bytes, again: %+v, %v", name, size, again, err)
				}
			}
		}
	})
}

// One in parts is resumed under its own name, and its upload is no orphan.
func TestQuickTimeIsResumed(t *testing.T) {
	srv := s3test.Start(t)
	clip := movOf(5*minPartSize, 96)
	a := newArchive(t, srv)
	store := newMemory()
	a.opts.Checkpoints = store
	ctx, cancel := context.WithCancel(t.Context())
	store.saved = func(r *record) {
		if r.Parts >= 2 {
			cancel()
		}
	}
	job := Job{Export: "e", Key: "exports/p/t/clip-000.mp4", Link: serveFile(t, clip)}
	if _, err := a.Mirror(ctx, job); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	rec := a.loadRecord(t.Context(), job.Key)
	u := types.MultipartUpload{Key: &rec.Key, UploadId: &rec.Upload, Initiated: aws.Time(time.Now().Add(-2 * time.Hour))}
	if a.isOrphan(t.Context(), u, time.Now().Add(-time.Hour)) {
		t.Errorf("the upload of %s is taken for an orphan", rec.Key)
	}
	store.saved = nil
	obj, err := a.Mirror(t.Context(), job)
	if err != nil || obj.Key != "exports/p/t/clip-000.mov" || obj.SHA256 != sum(clip) {
		t.Errorf("%+v, %v", obj, err)
	}
}

// An object of another export is this one's clip only if its bytes are.
func TestAnotherExportsObject(t *testing.T) {
	srv := s3test.Start(t)
	a := newArchive(t, srv)
	for _, size := range []int{5000, 2*minPartSize + 5} {
		job := Job{Export: "first", Key: fmt.Sprintf("exports/p/t/clip-%d.mp4", size), Link: serveFile(t, clipOf(size, 97))}
		first, err := a.Mirror(t.Context(), job)
		if err != nil {
			t.Fatal(err)
		}
		job.Export = "second"
		if obj, err := a.Mirror(t.Context(), job); err != nil || !obj.Found || obj.SHA256 != first.SHA256 {
			t.Errorf("%d bytes, the same: %+v, %v", size, obj, err)
		}
		job.Link = serveFile(t, clipOf(size, 98))
		obj, err := a.Mirror(t.Context(), job)
		if fault.ClassOf(err) != fault.Terminal || !strings.Contains(fault.SentenceOf(err), "belongs to export first") {
			t.Errorf("%d bytes, another: %+v, %v", size, obj, err)
		}
		job.Export = "first" // another rendering of its own clip
		if obj, err := a.Mirror(t.Context(), job); err != nil || !obj.Found || obj.SHA256 != first.SHA256 {
			t.Errorf("%d bytes, its own: %+v, %v", size, obj, err)
		}
	}
}
