package embeds3

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"os"
)

const (
	maxBody = 5 << 30 // what S3 takes in one request
	maxXML  = 4 << 20 // of which 10,000 parts with their checksums need a half
)

// received is a body on disk that has arrived whole and is what its sender says.
type received struct {
	file string
	size int64
	md5  []byte
	crc  string // as in X-Amz-Checksum-Crc32
}

// discard removes the file, unless somebody has moved it.
func (b received) discard() { _ = os.Remove(b.file) }

var errBadDigest = s3Error{http.StatusBadRequest, "BadDigest", "the body does not have the checksum that came with it"}

// receive writes the body to a file and verifies every checksum that came with it.
func (s *Server) receive(w http.ResponseWriter, r *request, limit int64) (_ received, err error) {
	signed := r.Header.Get("X-Amz-Content-Sha256")
	switch {
	case r.ContentLength < 0:
		return received{}, s3Error{http.StatusLengthRequired, "MissingContentLength", "a body needs a length"}
	case r.ContentLength > limit:
		return received{}, s3Error{http.StatusBadRequest, "EntityTooLarge", "the body is larger than this operation takes"}
	case signed != unsignedPayload && len(signed) != 2*sha256.Size:
		return received{}, notImplemented("bodies in signed chunks or with a trailer, which are for TLS")
	}
	whole, crc, sha := md5.New(), crc32.NewIEEE(), sha256.New()
	sinks := []io.Writer{whole, crc}
	if signed != unsignedPayload {
		sinks = append(sinks, sha)
	}
	got := received{}
	got.file, got.size, err = s.save(func(f io.Writer) (int64, error) {
		return io.Copy(io.MultiWriter(append(sinks, f)...), http.MaxBytesReader(w, r.Body, limit))
	})
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = s3Error{http.StatusBadRequest, "IncompleteBody", "the body ended early"}
	}
	if err != nil {
		return received{}, err
	}
	got.md5, got.crc = whole.Sum(nil), base64.StdEncoding.EncodeToString(crc.Sum(nil))
	switch sentMD5, sentCRC := r.Header.Get("Content-Md5"), r.Header.Get(crcHeader); {
	case signed != unsignedPayload && signed != hex.EncodeToString(sha.Sum(nil)):
		err = s3Error{http.StatusBadRequest, "XAmzContentSHA256Mismatch", "the body is not the one that was signed"}
	case sentMD5 != "" && sentMD5 != base64.StdEncoding.EncodeToString(got.md5), sentCRC != "" && sentCRC != got.crc:
		err = errBadDigest
	}
	if err != nil {
		got.discard()
	}
	return got, err
}

// save writes a file that is to be moved to its place once it is whole.
func (s *Server) save(write func(io.Writer) (int64, error)) (name string, n int64, err error) {
	f, err := os.CreateTemp(s.work(), "")
	if err != nil {
		return "", 0, err
	}
	n, err = write(f)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name())
	}
	return f.Name(), n, err
}
