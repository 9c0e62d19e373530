package storage

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/s3test"
)

// A record that another version wrote, or that was damaged, costs a transfer from
// the start at worst.
func TestARecordThatMakesNoSenseIsGivenUp(t *testing.T) {
	srv := s3test.Start(t)
	clip := clipOf(4*minPartSize+99, 61)
	for name, spoil := range map[string]func(r *record){
		"an algorithm that is not known": func(r *record) {
			r.Proof.Digests = []link.Digest{{Algorithm: "sha3-512", Sum: []byte{1}, Header: "repr-digest"}}
		},
		"a box header that is too long":  func(r *record) { r.Proof.Boxes.Head = make([]byte, 40) },
		"a box header that is complete":  func(r *record) { r.Proof.Boxes.Head = []byte("\x00\x00\x00\x08free") },
		"a box that began in the future": func(r *record) { r.Proof.Boxes.Skip = -5 },
		"no hash":                        func(r *record) { r.Proof.SHA = nil },
	} {
		t.Run(name, func(t *testing.T) {
			store := newMemory()
			a := newArchive(t, srv, func(o *Options) { o.Checkpoints = store })
			job, _ := halfway(t, a, store, clip, 3*minPartSize, name)
			rec := loaded(t, store, job.Key)
			spoil(rec)
			b, err := json.Marshal(rec)
			if err != nil {
				t.Fatal(err)
			}
			_ = store.Save(t.Context(), job.Key, b)
			obj, err := a.Mirror(t.Context(), job)
			if err != nil || obj.SHA256 != sum(clip) {
				t.Errorf("%+v, %v", obj, err)
			}
		})
	}
}

// A transfer that goes on under other settings than it began with ends all the same.
func TestSettingsChangeUnderATransfer(t *testing.T) {
	servers(t, func(t *testing.T, srv *s3test.Server) {
		clip := clipOf(6*minPartSize+99, 62)
		for name, change := range map[string][2]func(o *Options){
			"crc32 to md5":  {func(*Options) {}, func(o *Options) { o.Checksum = ChecksumMD5 }},
			"md5 to crc32":  {func(o *Options) { o.Checksum = ChecksumMD5 }, func(*Options) {}},
			"smaller parts": {func(o *Options) { o.PartSize = minPartSize + 1<<20 }, func(*Options) {}},
			"larger parts":  {func(*Options) {}, func(o *Options) { o.PartSize = minPartSize + 1<<20 }},
		} {
			store := newMemory()
			with := func(o *Options) { o.Checkpoints = store }
			a := newArchive(t, srv, with, change[0])
			job, _ := halfway(t, a, store, clip, 4*minPartSize, name)
			obj, err := newArchive(t, srv, with, change[1]).Mirror(t.Context(), job)
			if err != nil || obj.SHA256 != sum(clip) || !bytes.Equal(stored(t, a, job.Key), clip) {
				t.Errorf("%s: %+v, %v", name, obj, err)
			}
		}
	})
}

// An upload that S3 will not go on with, for whatever it was begun with, is begun anew.
func TestAnUploadThatS3TakesNoMoreOfIsGivenUp(t *testing.T) {
	srv := s3test.Start(t)
	store := newMemory()
	with := func(o *Options) { o.Checkpoints = store }
	a := newArchive(t, srv, with)
	o := newOrigin(clipOf(4*minPartSize, 63))
	o.holdFrom = 3 * minPartSize
	hs := httptest.NewServer(o)
	defer hs.Close()
	job := Job{Export: "e", Key: a.Folder("p", "t") + "clip-000.mp4", Link: hs.URL}
	interrupted(t, a, store, job, 2)
	o.mu.Lock()
	o.holdFrom = 0
	o.mu.Unlock()
	old := loaded(t, store, job.Key).Upload
	proxied := newS3Proxy(t, srv, func(kind string, _ int, w http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) bool {
		if kind != "part" || r.URL.Query().Get("uploadId") != old {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		s3Error(w, http.StatusBadRequest, "KMS.DisabledException")
		return true
	})
	a = newArchive(t, srv, with, func(o *Options) { o.Client = srv.ClientAt(proxied) })
	obj, err := a.Mirror(t.Context(), job)
	if err != nil || obj.SHA256 != sum(o.body) {
		t.Errorf("%+v, %v", obj, err)
	}
}
