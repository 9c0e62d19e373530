package storage

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/s3test"
)

// quirks are what servers, and what stands before them, do otherwise than S3.
type quirks struct {
	bareMatch      bool   // If-Match is compared with the bare tag (Ceph)
	ignoreMatch    string // operations that ignore conditions: "put", "complete", "delete"
	neverCreates   bool   // If-None-Match is refused where nothing is there, too
	noConditions   bool   // conditional requests are not implemented (Swift)
	trusting       bool   // wrong checksums are accepted
	echoing        bool   // and shown as the object's
	noChecksums    bool   // no checksum is ever shown
	noXMLChecksums bool   // Complete with checksums is malformed (Swift)
	htmlBodies     bool   // PUT answers an empty text/html body (Swift)
	noListParts    int    // the status of ListParts, with the code NoSuchKey where it is 404
	weakTags       bool   // entity tags are weakened on the way
	noTags         bool   // entity tags are dropped on the way
	noExpect       bool   // Expect: 100-continue is answered with 417
	rewriteHeaders bool   // Accept-Encoding and the SDK's own headers are rewritten, so that they must not be signed
}

// quirkyS3 is an S3 in memory with quirks. It checks no signatures.
type quirkyS3 struct {
	quirks

	mu       sync.Mutex
	objects  map[string]*quirkyObject
	uploads  map[string]*quirkyUpload
	requests map[string]int
}

type quirkyObject struct {
	body    []byte
	header  http.Header
	etag    string
	crc     string
	changed time.Time
}

type quirkyUpload struct {
	key    string
	header http.Header
	parts  map[int]*quirkyObject
}

// quirky starts a server with quirks and returns an Archive on it that has yet to
// find them out.
func quirky(t *testing.T, q quirks, change ...func(*Options)) (*Archive, *quirkyS3) {
	t.Helper()
	s := &quirkyS3{quirks: q, objects: map[string]*quirkyObject{}, uploads: map[string]*quirkyUpload{}, requests: map[string]int{}}
	hs := httptest.NewServer(s)
	t.Cleanup(hs.Close)
	return untested(newArchive(t, &s3test.Server{Endpoint: hs.URL}, change...)), s
}

func (s *quirkyS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.noExpect && r.Header.Get("Expect") != "" {
		w.WriteHeader(http.StatusExpectationFailed)
		return
	}
	if signed := r.Header.Get("Authorization"); s.rewriteHeaders && (strings.Contains(signed, "accept-encoding") || strings.Contains(signed, "SignedHeaders=amz-sdk-") || strings.Contains(signed, ";amz-sdk-")) {
		s3Error(w, http.StatusForbidden, "SignatureDoesNotMatch")
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := kindOf(r)
	if r.Method == http.MethodDelete && !r.URL.Query().Has("uploadId") {
		kind = "delete"
	}
	s.requests[kind]++
	key := strings.TrimPrefix(r.URL.Path, "/"+s3test.Bucket+"/")
	upload := s.uploads[r.URL.Query().Get("uploadId")]
	switch {
	case r.URL.Path == "/"+s3test.Bucket:
	case kind == "put":
		s.put(w, r, key, body)
	case kind == "get", kind == "head":
		s.get(w, key)
	case kind == "delete":
		if s.refuses(w, r, "delete", s.objects[key]) {
			return
		}
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case kind == "create":
		id := strconv.Itoa(s.requests[kind])
		s.uploads[id] = &quirkyUpload{key: key, header: r.Header.Clone(), parts: map[int]*quirkyObject{}}
		_, _ = fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
	case kind == "tag":
		s3Error(w, http.StatusNotImplemented, "NotImplemented")
	case kind == "list" && s.noListParts != 0:
		s3Error(w, s.noListParts, "NoSuchKey")
	case upload == nil:
		s3Error(w, http.StatusNotFound, "NoSuchUpload")
	case kind == "part":
		n, _ := strconv.Atoi(r.URL.Query().Get("partNumber"))
		if o := s.store(w, r, body); o != nil {
			upload.parts[n] = o
		}
	case kind == "list":
		_, _ = io.WriteString(w, "<ListPartsResult>")
		for _, n := range slices.Sorted(maps.Keys(upload.parts)) {
			p := upload.parts[n]
			_, _ = fmt.Fprintf(w, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag><Size>%d</Size></Part>", n, p.etag, len(p.body))
		}
		_, _ = io.WriteString(w, "</ListPartsResult>")
	case kind == "complete":
		s.complete(w, r, upload, body)
	case kind == "abort":
		delete(s.uploads, r.URL.Query().Get("uploadId"))
		w.WriteHeader(http.StatusNoContent)
	}
}

// refuses answers a request whose conditions don't hold.
func (s *quirkyS3) refuses(w http.ResponseWriter, r *http.Request, kind string, o *quirkyObject) bool {
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	if s.noConditions && match+none != "" {
		s3Error(w, http.StatusNotImplemented, "NotImplemented")
		return true
	}
	if strings.Contains(s.ignoreMatch, kind) {
		return false
	}
	wrong := none != "" && (o != nil || s.neverCreates)
	if match != "" && o != nil {
		etag := o.etag
		if s.bareMatch {
			etag = strings.Trim(etag, `"`)
		}
		wrong = match != etag
	}
	if wrong {
		s3Error(w, http.StatusPreconditionFailed, "PreconditionFailed")
	}
	return wrong
}

func (s *quirkyS3) put(w http.ResponseWriter, r *http.Request, key string, body []byte) {
	if s.refuses(w, r, "put", s.objects[key]) {
		return
	}
	if o := s.store(w, r, body); o != nil {
		s.objects[key] = o
	}
}

// store answers a request with a body, and returns what it is to store.
func (s *quirkyS3) store(w http.ResponseWriter, r *http.Request, body []byte) *quirkyObject {
	sum := md5.Sum(body)
	crc := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(body)))
	claimed, claimedMD5 := r.Header.Get("X-Amz-Checksum-Crc32"), r.Header.Get("Content-Md5")
	wrong := claimed != "" && claimed != crc || claimedMD5 != "" && claimedMD5 != base64.StdEncoding.EncodeToString(sum[:])
	if wrong && !s.trusting {
		s3Error(w, http.StatusBadRequest, "BadDigest")
		return nil
	}
	if s.echoing {
		crc = claimed
	}
	o := &quirkyObject{body: body, header: r.Header.Clone(), etag: `"` + hex.EncodeToString(sum[:]) + `"`, crc: crc, changed: time.Now()}
	s.tag(w, o.etag)
	if s.htmlBodies {
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		w.Header().Set("X-Amz-Request-Id", "tx1")
	}
	return o
}

func (s *quirkyS3) tag(w http.ResponseWriter, etag string) {
	switch {
	case s.noTags:
	case s.weakTags:
		w.Header().Set("ETag", "W/"+etag)
	default:
		w.Header().Set("ETag", etag)
	}
}

func (s *quirkyS3) get(w http.ResponseWriter, key string) {
	o := s.objects[key]
	if o == nil {
		s3Error(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	s.tag(w, o.etag)
	for name, values := range o.header {
		if strings.HasPrefix(name, "X-Amz-Meta-") || name == "Content-Type" {
			w.Header()[name] = values
		}
	}
	if !s.noChecksums && o.crc != "" {
		w.Header().Set("X-Amz-Checksum-Crc32", o.crc)
	}
	w.Header().Set("Last-Modified", o.changed.UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Length", strconv.Itoa(len(o.body)))
	_, _ = w.Write(o.body)
}

func (s *quirkyS3) complete(w http.ResponseWriter, r *http.Request, u *quirkyUpload, body []byte) {
	var in struct {
		Part []struct {
			PartNumber          int
			ETag, ChecksumCRC32 string
		}
	}
	if err := xml.Unmarshal(body, &in); err != nil || s.noXMLChecksums && strings.Contains(string(body), "Checksum") {
		s3Error(w, http.StatusBadRequest, "MalformedXML")
		return
	}
	if s.refuses(w, r, "complete", s.objects[u.key]) {
		return
	}
	whole := &quirkyObject{header: u.header, crc: cmp.Or(r.Header.Get("X-Amz-Checksum-Crc32")), changed: time.Now()}
	for _, p := range in.Part {
		stored := u.parts[p.PartNumber]
		if stored == nil || strings.Trim(stored.etag, `"`) != strings.Trim(p.ETag, `"`) {
			s3Error(w, http.StatusBadRequest, "InvalidPart")
			return
		}
		whole.body = append(whole.body, stored.body...)
	}
	sum := md5.Sum(whole.body)
	whole.etag = fmt.Sprintf(`"%x-%d"`, sum, len(in.Part))
	s.objects[u.key] = whole
	delete(s.uploads, r.URL.Query().Get("uploadId"))
	_, _ = fmt.Fprintf(w, "<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>", whole.etag)
}

// On a server that lists no parts an interrupted transfer begins anew.
func TestNoListParts(t *testing.T) {
	for _, status := range []int{http.StatusMethodNotAllowed, http.StatusNotFound, http.StatusNotImplemented} {
		a, s := quirky(t, quirks{noListParts: status})
		store := newMemory()
		a.opts.Checkpoints = store
		ctx, cancel := context.WithCancel(t.Context())
		store.saved = func(r *record) {
			if r.Parts >= 2 {
				cancel()
			}
		}
		clip := clipOf(4*minPartSize, 92)
		job := Job{Export: "e", Key: "exports/p/t/clip.mp4", Link: serveFile(t, clip)}
		if _, err := a.Mirror(ctx, job); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		store.saved = nil
		obj, err := a.Mirror(t.Context(), job)
		if err != nil || obj.SHA256 != sum(clip) || obj.Resumed != 0 {
			t.Errorf("%d: %+v, %v", status, obj, err)
		}
		if len(s.uploads) != 0 {
			t.Errorf("%d: %d uploads are left", status, len(s.uploads))
		}
		said := ""
		for _, r := range a.SelfTest(t.Context()) {
			if r.Err != nil && r.Name == "list parts" && r.Optional {
				said = r.Note
			} else if r.Err != nil && !r.Optional {
				t.Errorf("%d: %s: %v", status, r.Name, r.Err)
			}
		}
		if !strings.Contains(said, "begins anew") {
			t.Errorf("%d: the self-test says %q", status, said)
		}
	}
}

// Each server is found out, and what it can't do is not relied upon; the clips are
// archived nonetheless.
func TestQuirks(t *testing.T) {
	full := allFeatures
	with := func(change func(*features)) features {
		f := full
		change(&f)
		return f
	}
	for name, c := range map[string]struct {
		quirks quirks
		want   features
	}{
		"none": {quirks{}, full},
		"Ceph": {
			quirks{bareMatch: true, ignoreMatch: "complete delete", trusting: true, noChecksums: true},
			with(func(f *features) {
				f.replace, f.complete, f.remove, f.verifiesPut, f.verifiesPart = unquotedMatch, false, false, false, false
			}),
		},
		"Swift": {
			quirks{noConditions: true, noXMLChecksums: true, htmlBodies: true, trusting: true, noChecksums: true},
			features{plainComplete: true},
		},
		"s3rver": {
			quirks{ignoreMatch: "put complete delete", noListParts: http.StatusMethodNotAllowed},
			with(func(f *features) { f.create, f.complete, f.replace, f.remove = false, false, noMatch, false }),
		},
		"a server that creates nothing":      {quirks{neverCreates: true}, with(func(f *features) { f.create, f.complete = false, false })},
		"a proxy that weakens tags":          {quirks{weakTags: true}, full},
		"a proxy that drops tags":            {quirks{noTags: true}, with(func(f *features) { f.replace, f.remove = noMatch, false })},
		"a proxy that knows no expectations": {quirks{noExpect: true}, full},
		"a proxy that rewrites headers":      {quirks{rewriteHeaders: true}, full},
		"a server that believes":             {quirks{trusting: true, echoing: true}, with(func(f *features) { f.verifiesPut, f.verifiesPart, f.echoes = false, false, true })},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, s := quirky(t, c.quirks)
			for _, size := range []int{5000, minPartSize - 1, 2*minPartSize + 5} {
				clip := clipOf(size, 91)
				job := Job{Export: "e", Key: fmt.Sprintf("exports/p/t/clip-%d.mp4", size), Link: serveFile(t, clip)}
				obj, err := a.Mirror(t.Context(), job)
				if err != nil || obj.SHA256 != sum(clip) || obj.Found || sum(s.objects[job.Key].body) != sum(clip) {
					t.Fatalf("%d bytes: %+v, %v", size, obj, err)
				}
				verified := c.want.verifiesPut && size <= minPartSize || c.want.verifiesPart && size > minPartSize
				if slices.Contains(obj.Proofs, ProofS3Parts) != verified {
					t.Errorf("%d bytes: %v of a server that verifies: %v", size, obj.Proofs, verified)
				}
				if slices.Contains(obj.Proofs, ProofS3Object) == slices.Contains(obj.Proofs, ProofReadBack) {
					t.Errorf("%d bytes: %v", size, obj.Proofs)
				}
				if again, err := a.Mirror(t.Context(), job); err != nil || !again.Found || again.SHA256 != obj.SHA256 {
					t.Errorf("%d bytes, again: %+v, %v", size, again, err)
				}
			}
			if got := *a.tested.known.Load(); got != c.want {
				t.Errorf("found out %+v, not %+v", got, c.want)
			}
			for range 3 { // as often as it changes, and no more
				if err := a.SyncReceipt(t.Context(), Receipt{ID: "e", ExportTaskID: "t", State: ReceiptOpen}); err != nil {
					t.Error(err)
				}
			}
			before := s.requests["put"]
			if err := a.SyncReceipt(t.Context(), Receipt{ID: "e", ExportTaskID: "t", State: ReceiptDone, Manifest: "m"}); err != nil || s.requests["put"] != before+1 {
				t.Errorf("a change of a receipt took %d PUTs, %v", s.requests["put"]-before, err)
			}
			if r, ok, err := a.Receipt(t.Context(), "e"); err != nil || !ok || r.State != ReceiptDone {
				t.Errorf("%+v, %v", r, err)
			}
			for key := range s.objects {
				if strings.Contains(key, selfTestFolder) {
					t.Errorf("%s was left", key)
				}
			}
			for _, r := range a.SelfTest(t.Context()) {
				if r.Err != nil && !r.Optional {
					t.Errorf("%s: %v", r.Name, r.Err)
				}
			}
		})
	}
}
