package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/s3test"
)

// A worker that is killed midway costs no more than the parts in flight, on a
// server that lists checksums and on one that does not.
func TestResumeAfterKill(t *testing.T) {
	const parts = 10
	servers(t, func(t *testing.T, srv *s3test.Server) {
		clip := clipOf(parts*minPartSize, 3)
		spec := mirrorSpec{Key: "killed.mp4", Checkpoints: t.TempDir(), PartSize: minPartSize}
		killMidway(t, srv, &spec, newOrigin(clip), parts-4)
		a, err := spec.archive(srv.Client())
		if err != nil {
			t.Fatal(err)
		}
		obj, err := a.Mirror(t.Context(), Job{Export: "e", Key: spec.Key, Link: spec.Link})
		if err != nil {
			t.Fatal(err)
		}
		if obj.SHA256 != sum(clip) || !bytes.Equal(stored(t, a, spec.Key), clip) {
			t.Error("the object is not the clip")
		}
		// what was not recorded was in flight; the kill itself takes a moment
		if obj.Resumed < (parts-4)*minPartSize || obj.Fetched != int64(len(clip))-obj.Resumed {
			t.Errorf("fetched %d of %d bytes, found %d", obj.Fetched, len(clip), obj.Resumed)
		}
		noUploads(t, srv)
	})
}

// The S3 server dies as well: some keep their uploads, rclone forgets them and
// everything begins anew; all end with the clip.
func TestResumeAfterServerRestart(t *testing.T) {
	servers(t, func(t *testing.T, srv *s3test.Server) {
		clip := clipOf(6*minPartSize, 4)
		spec := mirrorSpec{Key: "killed.mp4", Checkpoints: t.TempDir(), PartSize: minPartSize}
		killMidway(t, srv, &spec, newOrigin(clip), 3)
		srv.Kill()
		srv.Restart(t)
		a, err := spec.archive(srv.Client())
		if err != nil {
			t.Fatal(err)
		}
		obj, err := a.Mirror(t.Context(), Job{Export: "e", Key: spec.Key, Link: spec.Link})
		if err != nil {
			t.Fatal(err)
		}
		if obj.SHA256 != sum(clip) || !bytes.Equal(stored(t, a, spec.Key), clip) {
			t.Error("the object is not the clip")
		}
		if resumed := obj.Resumed > 0; resumed == (srv.Name == "rclone") {
			t.Errorf("%d bytes were found", obj.Resumed)
		}
	})
}

// noUploads checks that nothing unfinished is left.
func noUploads(t *testing.T, srv *s3test.Server) {
	t.Helper()
	out, err := srv.Client().ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String(s3test.Bucket)})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range out.Uploads {
		t.Errorf("unfinished: %s", aws.ToString(u.Key))
	}
}

// interrupted runs a transfer that is stopped, as at SIGTERM, once so many parts
// are recorded.
func interrupted(t *testing.T, a *Archive, store *memory, job Job, parts int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	store.saved = func(rec *record) {
		if rec.Parts >= parts {
			cancel()
		}
	}
	if obj, err := a.Mirror(ctx, job); err == nil || fault.ClassOf(err) != fault.Retry {
		t.Fatalf("not interrupted: %+v, %v", obj, err)
	}
	store.saved = nil
}

// halfway interrupts the transfer of a clip whose source hung at the offset, and
// has the source go on.
func halfway(t *testing.T, a *Archive, store *memory, clip []byte, at int, name string) (Job, *origin) {
	t.Helper()
	o := newOrigin(clip)
	o.holdFrom = at
	hs := httptest.NewServer(o)
	t.Cleanup(hs.Close)
	job := Job{Export: "e", Key: a.Folder("p", name) + "clip-000.mp4", Link: hs.URL}
	interrupted(t, a, store, job, 2)
	o.mu.Lock()
	o.holdFrom = 0
	o.mu.Unlock()
	return job, o
}

// What may have become of a transfer between two runs.
func TestResumeCases(t *testing.T) {
	srv := s3test.Start(t)
	const size = 6 * minPartSize
	clip := clipOf(size, 5) // of all cases: fresh memory is dear under the race detector
	abort := func(t *testing.T, a *Archive, key string, store *memory) {
		rec := loaded(t, store, key)
		if err := a.tryAbort(t.Context(), key, rec.Upload); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		between func(t *testing.T, a *Archive, key string, o *origin, store *memory)
		resumes bool
	}{
		"nothing": {func(*testing.T, *Archive, string, *origin, *memory) {}, true},
		"a part was lost": {func(t *testing.T, a *Archive, key string, _ *origin, store *memory) {
			removePart(t, srv, loaded(t, store, key).Upload, 1)
		}, true},
		"the source changed": {func(_ *testing.T, _ *Archive, _ string, o *origin, _ *memory) {
			o.mu.Lock()
			o.body, o.etag = clipOf(size, 99), `"v2"`
			o.mu.Unlock()
		}, false},
		"the source grew": {func(_ *testing.T, _ *Archive, _ string, o *origin, _ *memory) {
			o.mu.Lock()
			o.body = clipOf(size+5, 99)
			o.mu.Unlock()
		}, false},
		"the source lost its tag": {func(_ *testing.T, _ *Archive, _ string, o *origin, _ *memory) {
			o.mu.Lock()
			o.etag = `W/"v1"`
			o.mu.Unlock()
		}, false},
		"the upload was aborted": {func(t *testing.T, a *Archive, key string, _ *origin, store *memory) { abort(t, a, key, store) }, false},
		"the record is rubbish": {func(t *testing.T, _ *Archive, key string, _ *origin, store *memory) {
			_ = store.Save(t.Context(), key, []byte(`{"v":1,"upload":"x"}`))
		}, false},
		"the record lies": {func(t *testing.T, _ *Archive, key string, _ *origin, store *memory) {
			rec := loaded(t, store, key)
			rec.CRCs[0]++
			b, err := json.Marshal(rec)
			if err != nil {
				t.Fatal(err)
			}
			_ = store.Save(t.Context(), key, b)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newMemory()
			a := newArchive(t, srv, func(o *Options) { o.Checkpoints = store })
			job, o := halfway(t, a, store, clip, 4*minPartSize, name)
			c.between(t, a, job.Key, o, store)
			obj, err := a.Mirror(t.Context(), job)
			if err != nil {
				t.Fatal(err)
			}
			if obj.SHA256 != sum(o.body) || !bytes.Equal(stored(t, a, job.Key), o.body) {
				t.Error("the object is not the clip")
			}
			if (obj.Resumed > 0) != c.resumes {
				t.Errorf("found %d bytes", obj.Resumed)
			}
			if _, left := store.m[job.Key]; left {
				t.Error("a checkpoint is left")
			}
		})
	}
}

func loaded(t *testing.T, store *memory, key string) *record {
	t.Helper()
	b, _ := store.Load(t.Context(), key)
	rec, err := parseRecord(b)
	if err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if rec.Parts < 2 {
		t.Fatalf("only %d parts were recorded", rec.Parts)
	}
	return rec
}

// removePart takes a part away behind versitygw's back.
func removePart(t *testing.T, srv *s3test.Server, upload string, number int) {
	t.Helper()
	var found bool
	err := filepath.WalkDir(srv.Dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == fmt.Sprint(number) && filepath.Base(filepath.Dir(path)) == upload {
			found = true
			return os.Remove(path)
		}
		return err
	})
	if err != nil || !found {
		t.Fatalf("part %d of %s: found %v, %v", number, upload, found, err)
	}
}

// Workers that carry the same clip at the same time end with one object and one truth.
func TestTwoWorkers(t *testing.T) {
	srv := s3test.Start(t)
	for _, size := range []int{50_000, 3 * minPartSize} {
		clip := clipOf(size, 6)
		link := serveFile(t, clip)
		store := newMemory()
		objs, errs := make([]Result, 4), make([]error, 4)
		var wg sync.WaitGroup
		for i := range objs {
			a := newArchive(t, srv, func(o *Options) { o.Checkpoints = store })
			wg.Go(func() {
				objs[i], errs[i] = a.Mirror(t.Context(), Job{Export: "e", Key: fmt.Sprintf("same-%d.mp4", size), Link: link})
			})
		}
		wg.Wait()
		for i := range objs {
			if errs[i] != nil || objs[i].SHA256 != sum(clip) || objs[i].Size != int64(size) {
				t.Errorf("%d: %+v, %v", size, objs[i], errs[i])
			}
		}
	}
	noUploads(t, srv)
}

// An object without our mark is only taken for the clip if it has its bytes.
func TestForeignObject(t *testing.T) {
	srv := s3test.Start(t)
	a := newArchive(t, srv)
	clip := clipOf(50_000, 8)
	link := serveFile(t, clip)
	for key, body := range map[string][]byte{"same.mp4": clip, "other.mp4": clipOf(50_000, 9), "page.mp4": []byte("<html>")} {
		_, err := srv.Client().PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(s3test.Bucket), Key: &key, Body: bytes.NewReader(body)})
		if err != nil {
			t.Fatal(err)
		}
		obj, err := a.Mirror(t.Context(), Job{Export: "e", Key: key, Link: link})
		if same := key == "same.mp4"; same != (err == nil && obj.Found && obj.SHA256 == sum(clip)) {
			t.Errorf("%s: %+v, %v", key, obj, err)
		}
		if err != nil && fault.ClassOf(err) != fault.Terminal {
			t.Errorf("%s: %v", key, err)
		}
		if !bytes.Equal(stored(t, a, key), body) {
			t.Errorf("%s was written over", key)
		}
	}
}

func TestDeadline(t *testing.T) {
	srv := s3test.Start(t)
	a := newArchive(t, srv)
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hs.Close()
	_, err := a.Mirror(t.Context(), Job{Key: "late.mp4", Link: hs.URL, Deadline: time.Now().Add(100 * time.Millisecond)})
	if fault.ClassOf(err) != fault.Retry || err == nil {
		t.Errorf("got %v", err)
	}
}
