package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/s3test"
)

// A server that kept half of a PUT whose worker died leaves an object with our
// mark and the hash of the whole. The mark proves nothing: the bytes do.
func TestHalfAnObjectIsNotTheClip(t *testing.T) {
	servers(t, func(t *testing.T, srv *s3test.Server) {
		a := newArchive(t, srv)
		clip := clipOf(200_000, 21)
		for name, wrong := range map[string][]byte{"short": clip[:150_000], "flipped": flipped(clip)} {
			t.Run(name, func(t *testing.T) {
				job := Job{Export: "e", Key: name + ".mp4", Link: serveFile(t, clip)}
				_, err := srv.Client().PutObject(t.Context(), &s3.PutObjectInput{
					Bucket: aws.String(s3test.Bucket), Key: &job.Key, Body: bytes.NewReader(wrong),
					Metadata:          map[string]string{metaExport: "e", metaSHA256: sum(clip)},
					ChecksumAlgorithm: "CRC32",
				})
				if err != nil {
					t.Fatal(err)
				}
				if obj, err := a.Mirror(t.Context(), job); err == nil || fault.ClassOf(err) != fault.Retry {
					t.Errorf("taken for the clip: %+v, %v", obj, err)
				}
				obj, err := a.Mirror(t.Context(), job)
				if err != nil || obj.SHA256 != sum(clip) || !bytes.Equal(stored(t, a, job.Key), clip) {
					t.Errorf("afterwards: %+v, %v", obj, err)
				}
			})
		}
	})
}

func flipped(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)/2] ^= 1
	return b
}

// On a server without conditional writes another worker's clip may come between
// our write and our look at it: it was proven by that worker and must stay.
func TestAnotherWorkersObjectIsNotRemoved(t *testing.T) {
	srv := s3test.Start(t)
	ours, theirs := clipOf(50_000, 31), clipOf(50_000, 32)
	for _, size := range []int{50_000, 2*minPartSize + 5} {
		if size > 50_000 {
			ours, theirs = clipOf(size, 31), clipOf(size, 32)
		}
		job := Job{Export: "e", Key: fmt.Sprintf("raced-%d.mp4", size), Link: serveFile(t, ours)}
		other := job
		other.Link = serveFile(t, theirs)
		proxied := newS3Proxy(t, srv, func(kind string, _ int, w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) bool {
			if kind != "put" && kind != "complete" {
				return false
			}
			pass(w)
			_, err := srv.Client().DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(s3test.Bucket), Key: &job.Key})
			if err != nil {
				t.Error(err)
			}
			if _, err := newArchive(t, srv).Mirror(t.Context(), other); err != nil {
				t.Error(err)
			}
			return true
		})
		a := newArchive(t, srv, func(o *Options) { o.Client = srv.ClientAt(proxied) })
		a.tested.known.Store(&features{}) // no conditions, that is
		obj, err := a.Mirror(t.Context(), job)
		if err != nil || obj.SHA256 != sum(theirs) || !obj.Found {
			t.Errorf("%+v, %v", obj, err)
		}
		if !bytes.Equal(stored(t, a, job.Key), theirs) {
			t.Error("the other worker's clip is gone")
		}
	}
}

// A source that ignores If-Range and no longer says which version it sends must
// not be mixed with what was read before.
func TestRangesOfAnUnnamedVersion(t *testing.T) {
	srv := s3test.Start(t)
	for _, size := range []int{100_000, 2*minPartSize + tooMuch} {
		old, fresh := clipOf(size, 41), clipOf(size, 42)
		hs := httptest.NewServer(&misbehave{origin: newOrigin(old), do: func(n int, o *origin, w http.ResponseWriter, r *http.Request) bool {
			if n == 1 {
				o.ServeHTTP(&cutter{w, size / 2, reset}, r)
				return true
			}
			r.Header.Del("If-Range")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(fresh))
			return true
		}})
		hs.Config.ErrorLog = nil
		a := newArchive(t, srv)
		job := Job{Export: "e", Key: fmt.Sprintf("unnamed-%d.mp4", size), Link: hs.URL}
		obj, err := a.Mirror(t.Context(), job)
		hs.Close()
		if err != nil || obj.SHA256 != sum(fresh) {
			t.Errorf("%d bytes: %+v, %v", size, obj, err)
		}
	}
}

// A thumbnail's source that turns out to ignore ranges is a Fault as any other.
func TestImageFaultsAreFaults(t *testing.T) {
	srv := s3test.Start(t)
	img := append([]byte("\xff\xd8\xff\xe0"), noise[:50_000]...)
	hs := httptest.NewServer(&misbehave{origin: newOrigin(img), do: func(n int, o *origin, w http.ResponseWriter, r *http.Request) bool {
		if n%2 == 1 {
			o.ServeHTTP(&cutter{w, 1000, reset}, r)
			return true
		}
		w.Header().Set("ETag", o.etag)
		answer(w, img, len(img))
		return true
	}})
	defer hs.Close()
	_, err := newArchive(t, srv).Mirror(t.Context(), Job{Export: "e", Key: "thumb", Link: hs.URL, Kind: Image})
	var f *fault.Fault
	if err == nil || !errors.As(err, &f) {
		t.Errorf("got %v", err)
	}
}

// A thumbnail that fails once is asked for again: nobody comes back for it later.
func TestImagesGetASecondTry(t *testing.T) {
	srv := s3test.Start(t)
	a := newArchive(t, srv)
	img := append([]byte("\xff\xd8\xff\xe0"), noise[:50_000]...)
	for name, fails := range map[string]func(w http.ResponseWriter){
		"503":   func(w http.ResponseWriter) { w.WriteHeader(503) },
		"403":   func(w http.ResponseWriter) { w.WriteHeader(403) },
		"reset": func(http.ResponseWriter) { reset() },
		"page":  func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>wait</html>")) },
	} {
		hs := httptest.NewServer(&misbehave{origin: newOrigin(img), do: func(n int, _ *origin, w http.ResponseWriter, _ *http.Request) bool {
			if n <= 2 {
				fails(w)
			}
			return n <= 2
		}})
		obj, err := a.Mirror(t.Context(), Job{Export: "e", Key: "second-try/" + name, Link: hs.URL, Kind: Image})
		hs.Close()
		if err != nil || obj.SHA256 != sum(img) {
			t.Errorf("%s: %+v, %v", name, obj, err)
		}
	}
}

// What a phone leaves behind the last box is archived with it, and the proof says so.
func TestATailIsArchived(t *testing.T) {
	a := newArchive(t, s3test.Start(t))
	for name, tail := range map[string]string{"line-break": "\r\n", "zeros": "\x00\x00\x00"} {
		for _, size := range []int{5000, minPartSize + 1000} {
			clip := append(clipOf(size, 9), tail...)
			obj, err := a.Mirror(t.Context(), Job{Export: "e", Key: fmt.Sprintf("tail/%s-%d.mp4", name, size), Link: serveFile(t, clip)})
			if err != nil || obj.SHA256 != sum(clip) || !slices.Contains(obj.Proofs, ProofContainerTail) {
				t.Errorf("%s of %d: %+v, %v", name, size, obj, err)
			}
		}
	}
}

// On its last try, what begins like a video and comes twice the same is archived
// rather than lost; nothing else is.
func TestALastTryArchivesWhatIsServedTwice(t *testing.T) {
	a := newArchive(t, s3test.Start(t))
	cutClip := func(size int) []byte { return clipOf(size, 5)[:size-200] }
	webm := append([]byte("\x1a\x45\xdf\xa3\x01\x00\x00\x00\x00\x00\x00\x1f\x42\x86\x81\x01"), noise[:5000]...)
	for name, c := range map[string]struct {
		file   []byte
		ending string // "" for a refusal
		odd    func(n int, b []byte) []byte
	}{
		"cut":             {file: cutClip(5000), ending: ".mp4"},
		"large and cut":   {file: cutClip(minPartSize + 5000), ending: ".mp4"},
		"webm":            {file: webm, ending: ".webm"},
		"transport":       {file: append([]byte("G\x40\x11\x10\x00\x42\xf0\x25"), noise[:5000]...), ending: ".ts"},
		"page":            {file: []byte("<html>" + strings.Repeat("gone ", 100))},
		"zeros":           {file: make([]byte, 5000)},
		"nothing":         {file: nil},
		"another, always": {file: cutClip(5000), odd: func(n int, b []byte) []byte { b[3000] = byte(n); return b }},
		"shorter, always": {file: cutClip(5000), odd: func(n int, b []byte) []byte { return b[:len(b)-n] }},
	} {
		hs := httptest.NewServer(&misbehave{origin: newOrigin(c.file), do: func(n int, o *origin, w http.ResponseWriter, _ *http.Request) bool {
			if c.odd == nil {
				return false
			}
			b := c.odd(n, bytes.Clone(o.body))
			answer(w, b, len(b))
			return true
		}})
		job := Job{Export: "e", Key: "last/" + name + ".mp4", Link: hs.URL, Filename: "Film.mp4"}
		if obj, err := a.Mirror(t.Context(), job); !errors.Is(err, ErrContent) {
			t.Errorf("%s, not the last try: %+v, %v", name, obj, err)
		}
		job.LastTry = true
		obj, err := a.Mirror(t.Context(), job)
		if c.ending == ".webm" || c.ending == ".ts" { // and is found there, with its link and without
			job.LastTry = false
			for range 2 {
				if again, err := a.Mirror(t.Context(), job); err != nil || !again.Found || again.Key != obj.Key || again.SHA256 != obj.SHA256 {
					t.Errorf("%s, once more: %+v, %v", name, again, err)
				}
				hs.Close()
			}
		}
		hs.Close()
		if c.ending == "" {
			if !errors.Is(err, ErrContent) {
				t.Errorf("%s: %+v, %v", name, obj, err)
			}
			continue
		}
		if err != nil || obj.Key != "last/"+name+c.ending || obj.SHA256 != sum(c.file) || !slices.Contains(obj.Proofs, ProofServedTwice) {
			t.Errorf("%s: %+v, %v", name, obj, err)
		}
	}
	whole := clipOf(5000, 6)
	obj, err := a.Mirror(t.Context(), Job{Export: "e", Key: "last/whole.mp4", Link: serveFile(t, whole), LastTry: true})
	if err != nil || !slices.Contains(obj.Proofs, ProofContainer) || obj.Fetched != int64(len(whole)) {
		t.Errorf("a whole file on its last try: %+v, %v", obj, err)
	}
}

// listing is as much of S3 as a listing of parts needs.
type listing struct {
	parts  int
	stuck  bool // the second page begins where the first one did
	pages  int
	perFew int
}

func (l *listing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.pages++
	after, _ := strconv.Atoi(r.URL.Query().Get("part-number-marker"))
	if l.stuck {
		after = 0
	}
	last := min(l.parts, after+l.perFew)
	var b strings.Builder
	fmt.Fprintf(&b, "<ListPartsResult><IsTruncated>%v</IsTruncated><NextPartNumberMarker>%d</NextPartNumberMarker>", last < l.parts, last)
	for n := after + 1; n <= last; n++ {
		fmt.Fprintf(&b, "<Part><PartNumber>%d</PartNumber><Size>%d</Size><ETag>e%d</ETag><ChecksumCRC32>%s</ChecksumCRC32></Part>", n, n, n, encodeCRC(uint32(n)))
	}
	_, _ = w.Write([]byte(b.String() + "</ListPartsResult>"))
}

func TestPartsAreListedInPages(t *testing.T) {
	l := &listing{parts: 2500, perFew: 1000}
	hs := httptest.NewServer(l)
	defer hs.Close()
	a := newArchive(t, &s3test.Server{Endpoint: hs.URL})
	parts, err := a.listParts(t.Context(), "k", "u")
	if err != nil || len(parts) != 2500 || l.pages != 3 {
		t.Fatalf("%d parts in %d pages, %v", len(parts), l.pages, err)
	}
	for n, p := range parts {
		if !p.is(int64(n+1), uint32(n+1), 0) || p.etag != fmt.Sprintf("e%d", n+1) {
			t.Errorf("part %d is %+v", n, p)
		}
	}
}

// A server that repeats itself ends the listing instead of keeping it busy for ever.
func TestListingThatRepeatsItself(t *testing.T) {
	hs := httptest.NewServer(&listing{parts: 2500, perFew: 1000, stuck: true})
	defer hs.Close()
	a := newArchive(t, &s3test.Server{Endpoint: hs.URL})
	parts, err := a.listParts(t.Context(), "k", "u")
	if err != nil || len(parts) != 1000 {
		t.Errorf("%d parts, %v", len(parts), err)
	}
}

// A record whose proof is of other bytes than its parts must not lead to the
// same refused completion again and again.
func TestARecordWithAWrongProofIsGivenUp(t *testing.T) {
	srv := s3test.Start(t)
	store := newMemory()
	a := newArchive(t, srv, func(o *Options) { o.Checkpoints = store })
	o := newOrigin(clipOf(4*minPartSize, 51))
	o.holdFrom = 2 * minPartSize
	hs := httptest.NewServer(o)
	defer hs.Close()
	job := Job{Export: "e", Key: "lied.mp4", Link: hs.URL}
	interrupted(t, a, store, job, 2)
	o.mu.Lock()
	o.holdFrom = 0
	o.mu.Unlock()
	rec := loaded(t, store, job.Key)
	rec.Proof.CRC++
	b, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	_ = store.Save(t.Context(), job.Key, b)
	obj, err := a.Mirror(t.Context(), job)
	if err != nil || obj.SHA256 != sum(o.body) {
		t.Errorf("%+v, %v", obj, err)
	}
	noUploads(t, srv)
}
