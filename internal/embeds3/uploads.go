package embeds3

import (
	"cmp"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// upload is an unfinished multipart upload, and how it is listed.
type upload struct {
	Key       string
	UploadID  string `xml:"UploadId"`
	Initiated time.Time
	bucket    string
	parts     []part // by their numbers
	attributes
}

// part is what is known of a part beside its bytes, how it is listed, and how
// clients name it.
type part struct {
	PartNumber    int
	LastModified  time.Time
	ETag          string
	Size          int64
	ChecksumCRC32 string
}

const (
	maxParts    = 10_000
	minPartSize = 5 << 20 // of all but the last part
)

func (s *Server) partFile(id string, number int) string {
	return filepath.Join(s.work(), id+"."+strconv.Itoa(number))
}

func quote(sum []byte) string { return `"` + hex.EncodeToString(sum) + `"` }

// findUpload returns the upload that the request is about. The caller holds the lock.
func (s *Server) findUpload(r *request) (upload, error) {
	u, there := s.uploads[r.query.Get("uploadId")]
	if !there || u.bucket != r.bucket || u.Key != r.key {
		return u, errNoSuchUpload
	}
	return u, nil
}

// endUpload forgets an upload with its parts. The caller holds the lock.
func (s *Server) endUpload(u upload) {
	delete(s.uploads, u.UploadID)
	for _, p := range u.parts {
		_ = os.Remove(s.partFile(u.UploadID, p.PartNumber)) // nothing refers to it any more
	}
}

func (s *Server) createUpload(w http.ResponseWriter, r *request) error {
	at, err := attributesOf(r.Header)
	if err != nil {
		return err
	}
	if a := r.Header.Get("X-Amz-Checksum-Algorithm"); a != "" && a != "CRC32" {
		return notImplemented("checksums by " + a)
	}
	u := upload{UploadID: rand.Text(), bucket: r.bucket, Key: r.key, Initiated: time.Now().UTC(), attributes: at}
	s.mu.Lock()
	s.uploads[u.UploadID] = u
	s.mu.Unlock()
	w.Header().Set("X-Amz-Checksum-Algorithm", "CRC32")
	w.Header().Set(typeHeader, wholeType)
	return writeXML(w, struct {
		XMLName     xml.Name `xml:"InitiateMultipartUploadResult"`
		Bucket, Key string
		UploadID    string `xml:"UploadId"`
	}{Bucket: r.bucket, Key: r.key, UploadID: u.UploadID})
}

func (s *Server) uploadPart(w http.ResponseWriter, r *request) error {
	number, err := strconv.Atoi(r.query.Get("partNumber"))
	if err != nil || number < 1 || number > maxParts {
		return invalidArgument("partNumber must be from 1 to 10000")
	}
	body, err := s.receive(w, r, maxBody)
	if err != nil {
		return err
	}
	defer body.discard()
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.findUpload(r)
	if err != nil {
		return err
	}
	if err := os.Rename(body.file, s.partFile(u.UploadID, number)); err != nil {
		return err
	}
	p := part{PartNumber: number, LastModified: time.Now().UTC(), ETag: quote(body.md5), Size: body.size, ChecksumCRC32: body.crc}
	u.parts = slices.Clone(u.parts) // others may be reading the list as it was
	if at, found := slices.BinarySearchFunc(u.parts, number, byNumber); found {
		u.parts[at] = p
	} else {
		u.parts = slices.Insert(u.parts, at, p)
	}
	s.uploads[u.UploadID] = u
	w.Header().Set("ETag", p.ETag)
	w.Header().Set(crcHeader, p.ChecksumCRC32)
	return nil
}

func byNumber(p part, number int) int { return p.PartNumber - number }

func (s *Server) listParts(w http.ResponseWriter, r *request) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	u, err := s.findUpload(r)
	if err != nil {
		return err
	}
	marker, err := strconv.Atoi(cmp.Or(r.query.Get("part-number-marker"), "0"))
	if err != nil {
		return invalidArgument("part-number-marker is no number")
	}
	some, more, err := page(u.parts, func(p part) bool { return p.PartNumber > marker }, r.query.Get("max-parts"))
	if err != nil {
		return err
	}
	l := struct {
		XMLName              xml.Name `xml:"ListPartsResult"`
		Bucket, Key          string
		UploadID             string `xml:"UploadId"`
		ChecksumAlgorithm    string
		ChecksumType         string
		IsTruncated          bool
		NextPartNumberMarker int    `xml:",omitempty"`
		Parts                []part `xml:"Part"`
	}{Bucket: r.bucket, Key: u.Key, UploadID: u.UploadID, ChecksumAlgorithm: "CRC32", ChecksumType: wholeType, IsTruncated: more, Parts: some}
	if more {
		l.NextPartNumberMarker = some[len(some)-1].PartNumber
	}
	return writeXML(w, l)
}

func (s *Server) abortUpload(w http.ResponseWriter, r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.findUpload(r)
	if err != nil {
		return err
	}
	s.endUpload(u)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// listUploads lists unfinished uploads by their keys and ids.
func (s *Server) listUploads(w http.ResponseWriter, r *request) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []upload
	for _, u := range s.uploads {
		if u.bucket == r.bucket && strings.HasPrefix(u.Key, r.query.Get("prefix")) {
			all = append(all, u)
		}
	}
	order := func(a, b upload) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.UploadID, b.UploadID)) }
	slices.SortFunc(all, order)
	marker := upload{Key: r.query.Get("key-marker"), UploadID: r.query.Get("upload-id-marker")}
	some, more, err := page(all, func(u upload) bool { return order(u, marker) > 0 }, r.query.Get("max-uploads"))
	if err != nil {
		return err
	}
	l := struct {
		XMLName            xml.Name `xml:"ListMultipartUploadsResult"`
		Bucket             string
		IsTruncated        bool
		NextKeyMarker      string   `xml:",omitempty"`
		NextUploadIDMarker string   `xml:"NextUploadIdMarker,omitempty"`
		Uploads            []upload `xml:"Upload"`
	}{Bucket: r.bucket, IsTruncated: more, Uploads: some}
	if more {
		last := some[len(some)-1]
		l.NextKeyMarker, l.NextUploadIDMarker = last.Key, last.UploadID
	}
	return writeXML(w, l)
}

var errInvalidPart = s3Error{http.StatusBadRequest, "InvalidPart", "a part does not exist, or is another one"}

func (s *Server) completeUpload(w http.ResponseWriter, r *request) error {
	var named struct {
		XMLName xml.Name `xml:"CompleteMultipartUpload"`
		Parts   []part   `xml:"Part"`
	}
	crc := r.Header.Get(crcHeader)
	r.Header.Del(crcHeader) // it is of the object, not of the body
	if err := s.readXML(w, r, &named); err != nil {
		return err
	}
	s.mu.RLock()
	u, err := s.findUpload(r)
	if err == nil {
		err = s.check(r)
	}
	s.mu.RUnlock()
	if err != nil {
		return err
	}
	parts, err := u.named(named.Parts)
	if err != nil {
		return err
	}
	whole, err := s.join(u.UploadID, parts)
	if err != nil {
		return err
	}
	defer whole.discard()
	if crc != "" && crc != whole.crc {
		return errBadDigest
	}
	if size := r.Header.Get("X-Amz-Mp-Object-Size"); size != "" && size != strconv.FormatInt(whole.size, 10) {
		return s3Error{http.StatusBadRequest, "InvalidRequest", "the parts together are not as long as was said"}
	}
	o := stored{ETag: fmt.Sprintf(`"%x-%d"`, whole.md5, len(parts)), Size: whole.size, crc: whole.crc, attributes: u.attributes}
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, err = s.findUpload(r); err != nil { // it may have ended meanwhile
		return err
	}
	if err := s.commit(r, whole.file, o); err != nil {
		return err
	}
	s.endUpload(u)
	return writeXML(w, struct {
		XMLName                     xml.Name `xml:"CompleteMultipartUploadResult"`
		Bucket, Key, ETag           string
		ChecksumCRC32, ChecksumType string
	}{Bucket: r.bucket, Key: r.key, ETag: o.ETag, ChecksumCRC32: o.crc, ChecksumType: wholeType})
}

// named returns the parts that a client names, if they are there and may be an object.
func (u upload) named(wanted []part) (parts []part, err error) {
	if len(wanted) == 0 {
		return nil, errMalformedXML
	}
	for i, want := range wanted {
		at, found := slices.BinarySearchFunc(u.parts, want.PartNumber, byNumber)
		switch {
		case i > 0 && want.PartNumber <= wanted[i-1].PartNumber:
			return nil, s3Error{http.StatusBadRequest, "InvalidPartOrder", "the parts are not in order"}
		case !found, !matches(want.ETag, u.parts[at].ETag), want.ChecksumCRC32 != "" && want.ChecksumCRC32 != u.parts[at].ChecksumCRC32:
			return nil, errInvalidPart
		case i < len(wanted)-1 && u.parts[at].Size < minPartSize:
			return nil, s3Error{http.StatusBadRequest, "EntityTooSmall", "a part other than the last is too small"}
		}
		parts = append(parts, u.parts[at])
	}
	return parts, nil
}

// join writes the parts one after another into a file. It looks at their sums
// again: one may be replaced meanwhile, or removed with its upload. The MD5 of the
// whole is that of all the parts' MD5s, which S3 makes an entity tag of.
func (s *Server) join(id string, parts []part) (whole received, err error) {
	crc, sums := crc32.NewIEEE(), md5.New()
	whole.file, whole.size, err = s.save(func(to io.Writer) (n int64, err error) {
		for _, p := range parts {
			sum := md5.New()
			size, err := appendFile(io.MultiWriter(to, crc, sum), s.partFile(id, p.PartNumber))
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return n, errNoSuchUpload
			case err != nil:
				return n, err
			case quote(sum.Sum(nil)) != p.ETag:
				return n, errInvalidPart
			}
			sums.Write(sum.Sum(nil))
			n += size
		}
		return n, nil
	})
	whole.md5, whole.crc = sums.Sum(nil), base64.StdEncoding.EncodeToString(crc.Sum(nil))
	return whole, err
}

func appendFile(to io.Writer, name string) (int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	return io.Copy(to, f)
}
