package storage

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/s3test"
)

// putForeign writes an object as somebody else would.
func putForeign(t *testing.T, srv *s3test.Server, key string, b []byte) {
	t.Helper()
	_, err := srv.Client().PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(s3test.Bucket), Key: &key, Body: bytes.NewReader(b)})
	if err != nil {
		t.Fatal(err)
	}
}

// The first file on a server without conditional writes finds out about that;
// what stands under its key stays.
func TestNothingIsOverwrittenByTheFirstFile(t *testing.T) {
	srv := s3test.Start(t)
	proxied := newS3Proxy(t, srv, func(_ string, _ int, w http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) bool {
		if r.Header.Get("If-None-Match") != "" {
			s3Error(w, http.StatusNotImplemented, "NotImplemented")
			return true
		}
		return false
	})
	for _, size := range []int{5000, minPartSize + 5} {
		a := untested(newArchive(t, srv, func(o *Options) { o.Client = srv.ClientAt(proxied) }))
		key := fmt.Sprintf("exports/p/t/clip-%d.mp4", size)
		theirs := clipOf(size, 81)
		putForeign(t, srv, key, theirs)
		_, err := a.Mirror(t.Context(), Job{Export: "e", Key: key, Link: serveFile(t, clipOf(size, 82))})
		if fault.ClassOf(err) != fault.Terminal {
			t.Errorf("%d bytes: %v", size, err)
		}
		if !bytes.Equal(stored(t, a, key), theirs) {
			t.Errorf("%d bytes: it was written over", size)
		}
	}
}

// What S3 stored wrong is removed only as long as it is that.
func TestAWrongObjectIsRemovedOnlyIfItStillStands(t *testing.T) {
	srv := s3test.Start(t)
	clip := clipOf(5000, 83)
	for name, known := range map[string]bool{"conditions known": true, "conditions unknown": false} {
		key := "exports/p/t/" + name + ".mp4"
		var conditions []string
		proxied := newS3Proxy(t, srv, func(kind string, _ int, w http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) bool {
			switch kind {
			case "head":
				w.Header().Set("Content-Length", "4999")
				w.Header().Set("ETag", `"wrong"`)
				w.Header().Set("X-Amz-Meta-"+metaExport, "e")
				w.Header().Set("X-Amz-Meta-"+metaSHA256, sum(clip))
				return true
			case "abort":
				conditions = append(conditions, r.Header.Get("If-Match"))
				if r.Header.Get("If-Match") == "" {
					return false
				}
				s3Error(w, http.StatusPreconditionFailed, "PreconditionFailed")
				return true
			}
			return false
		})
		a := newArchive(t, srv, func(o *Options) { o.Client = srv.ClientAt(proxied) })
		if !known {
			a.tested.known.Store(&features{create: true})
		}
		if _, err := a.Mirror(t.Context(), Job{Export: "e", Key: key, Link: serveFile(t, clip)}); err == nil || fault.ClassOf(err) != fault.Retry {
			t.Errorf("%s: %v", name, err)
		}
		_, stands, err := newArchive(t, srv).head(t.Context(), key)
		if err != nil || stands != known {
			t.Errorf("%s: stands %v, %v", name, stands, err)
		}
		if want := map[bool]string{true: `"wrong"`}[known]; len(conditions) == 0 || conditions[0] != want {
			t.Errorf("%s: removed under %q", name, conditions)
		}
	}
}

// A server, or what stands before it, that answers HEAD without a length is no
// reason to remove a good object: it is read.
func TestHeadWithoutALength(t *testing.T) {
	srv := s3test.Start(t)
	proxied := newS3Proxy(t, srv, func(kind string, _ int, w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) bool {
		if kind != "head" {
			return false
		}
		pass(&lengthless{ResponseWriter: w})
		return true
	})
	for _, size := range []int{5000, minPartSize + 5} {
		a := newArchive(t, srv, func(o *Options) { o.Client = srv.ClientAt(proxied) })
		clip := clipOf(size, 84)
		job := Job{Export: "e", Key: fmt.Sprintf("exports/p/t/clip-%d.mp4", size), Link: serveFile(t, clip)}
		for range 2 {
			obj, err := a.Mirror(t.Context(), job)
			if err != nil || obj.SHA256 != sum(clip) || obj.Size != int64(size) {
				t.Errorf("%d bytes: %+v, %v", size, obj, err)
			}
		}
	}
}

// lengthless drops the Content-Length.
type lengthless struct{ http.ResponseWriter }

func (l *lengthless) WriteHeader(status int) {
	l.Header().Del("Content-Length")
	l.ResponseWriter.WriteHeader(status)
}

// An upload without a name would have its parts taken for the object itself.
func TestAnUploadWithoutAnID(t *testing.T) {
	srv := s3test.StartWeak(t)
	proxied := newS3Proxy(t, srv, func(kind string, _ int, _ http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) bool {
		return kind == "create" // 200 with nothing in it
	})
	a := newArchive(t, srv, func(o *Options) { o.Client = srv.ClientAt(proxied) })
	key := "exports/p/t/clip.mp4"
	_, err := a.Mirror(t.Context(), Job{Export: "e", Key: key, Link: serveFile(t, clipOf(minPartSize+5, 85))})
	if err == nil || fault.ClassOf(err) != fault.Retry {
		t.Error(err)
	}
	if _, stands, err := a.head(t.Context(), key); stands || err != nil {
		t.Error("something stands there", err)
	}
}

// A file that has to be compared while all buffers are in use is not waited for.
func TestComparingTakesNoBuffer(t *testing.T) {
	srv := s3test.Start(t)
	a := newArchive(t, srv, func(o *Options) { o.PartsInFlight = 1 })
	clip, key := clipOf(5000, 86), "exports/p/t/clip.mp4"
	putForeign(t, srv, key, clip)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	obj, err := a.Mirror(ctx, Job{Export: "e", Key: key, Link: serveFile(t, clip)})
	if err != nil || obj.SHA256 != sum(clip) {
		t.Errorf("%+v, %v", obj, err)
	}
}

// A listing that never ends, because its pages repeat themselves, is an error
// where a part of it would be taken for the whole.
func TestListingsThatRepeatThemselves(t *testing.T) {
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Query().Has("uploads"):
			_, _ = fmt.Fprint(w, `<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>exports/k</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker></ListMultipartUploadsResult>`)
		case r.URL.Query().Has("list-type"):
			_, _ = fmt.Fprint(w, `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>`)
		}
	}))
	defer hs.Close()
	a := newArchive(t, &s3test.Server{Endpoint: hs.URL})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := a.AbortOrphans(ctx, time.Hour); err == nil || ctx.Err() != nil {
		t.Errorf("uploads: %v", err)
	}
	var last error
	for _, err := range a.Receipts(ctx, time.Time{}) {
		last = err
	}
	if last == nil || ctx.Err() != nil {
		t.Errorf("receipts: %v", last)
	}
}

// A server that shows a checksum that it was sent, right or wrong, is not believed:
// objects are read again, and the self-test says so.
func TestAChecksumThatIsTakenOnTrust(t *testing.T) {
	for name, q := range map[string]quirks{"kept": {trusting: true, echoing: true}, "forgotten": {trusting: true, noChecksums: true}} {
		a, _ := quirky(t, q)
		clip := clipOf(5000, 87)
		obj, err := a.Mirror(t.Context(), Job{Export: "e", Key: "exports/p/t/clip.mp4", Link: serveFile(t, clip)})
		if err != nil || !slices.Contains(obj.Proofs, ProofReadBack) || slices.Contains(obj.Proofs, ProofS3Object) || slices.Contains(obj.Proofs, ProofS3Parts) {
			t.Errorf("%s: %v, %v", name, obj.Proofs, err)
		}
		for _, r := range a.SelfTest(t.Context()) {
			if r.Name == "wrong checksum refused" && (r.Err == nil || !r.Optional) {
				t.Errorf("%s: optional %v, %v", name, r.Optional, r.Err)
			}
		}
	}
}

// Nothing is ordered where no clip could be archived: what clips are written with
// alone is tried before the first receipt, and the refusal names the variables.
func TestOptionsThatTheServerRefuses(t *testing.T) {
	srv := s3test.Start(t)
	for name, c := range map[string]struct {
		status  int
		code    string
		options ObjectOptions
		header  string
		hint    string
	}{
		"class":                         {http.StatusBadRequest, "InvalidArgument", ObjectOptions{StorageClass: "STANDARD_IA"}, "X-Amz-Storage-Class", "lacks what CLIPFERRY_S3_STORAGE_CLASS asks for"},
		"tags":                          {http.StatusNotImplemented, "NotImplemented", ObjectOptions{Tags: map[string]string{"a": "b"}, ACL: "public-read"}, "X-Amz-Tagging", "lacks what CLIPFERRY_S3_TAGS, CLIPFERRY_S3_ACL asks for"},
		"lock":                          {http.StatusBadRequest, "InvalidRequest", ObjectOptions{LockMode: "GOVERNANCE", LockFor: time.Hour}, "X-Amz-Object-Lock-Mode", "lacks what CLIPFERRY_S3_LOCK_MODE asks for"},
		"key":                           {http.StatusInternalServerError, "InternalError", ObjectOptions{SSE: "AES256"}, "X-Amz-Server-Side-Encryption", "lacks what CLIPFERRY_S3_SSE asks for"},
		"class of small clips":          {http.StatusBadRequest, "InvalidArgument", ObjectOptions{StorageClass: "STANDARD_IA"}, "put X-Amz-Storage-Class", "lacks what CLIPFERRY_S3_STORAGE_CLASS asks for"},
		"class, in a status of its own": {http.StatusMethodNotAllowed, "MethodNotAllowed", ObjectOptions{StorageClass: "STANDARD_IA"}, "create X-Amz-Storage-Class", "lacks what CLIPFERRY_S3_STORAGE_CLASS asks for"},
		"metadata":                      {http.StatusBadRequest, "InvalidArgument", ObjectOptions{}, "X-Amz-Meta-Clipferry-Export", "InvalidArgument"},
		"checksums of uploads":          {http.StatusBadRequest, "InvalidRequest", ObjectOptions{}, "create X-Amz-Checksum-Algorithm", "CLIPFERRY_S3_CHECKSUM=md5"},
		"checksums of parts":            {http.StatusBadRequest, "InvalidRequest", ObjectOptions{}, "part X-Amz-Checksum-Crc32", "CLIPFERRY_S3_CHECKSUM=md5"},
	} {
		t.Run(name, func(t *testing.T) {
			of, header, one := strings.Cut(c.header, " ")
			if !one {
				header = of
			}
			proxied := newS3Proxy(t, srv, func(kind string, _ int, w http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) bool {
				if r.Header.Get(header) == "" || one && kind != of {
					return false
				}
				s3Error(w, c.status, c.code)
				return true
			})
			a := untested(newArchive(t, srv, func(o *Options) { o.Client, o.Object, o.Prefix = srv.ClientAt(proxied), c.options, name }))
			if was, err := a.WriteReceipt(t.Context(), Receipt{ID: "e", State: ReceiptIntent}, Receipt{}); err == nil || was || !strings.Contains(fault.SentenceOf(err), c.hint) {
				t.Errorf("the receipt: %v, %v", was, fault.SentenceOf(err))
			}
			if err := a.Check(t.Context()); err == nil || !strings.Contains(fault.SentenceOf(err), c.hint) {
				t.Errorf("ready: %s", fault.SentenceOf(err))
			}
			found := false
			for _, r := range a.SelfTest(t.Context()) {
				found = found || !r.Optional && strings.Contains(fault.SentenceOf(r.Err), c.hint)
			}
			if !found {
				t.Error("the self-test finds nothing")
			}
		})
	}
}
