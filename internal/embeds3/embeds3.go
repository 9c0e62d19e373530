// Package embeds3 is a small S3 server over a local directory, for clipferry-dev
// and for tests. It does what the archive uses of S3, and that strictly:
// signatures, checksums and conditions are verified, anything else is refused as
// not implemented. Nothing of it belongs into production, where S3 is S3.
//
// An object is a plain file, DIR/<bucket>/<key>, so that it can be looked at and
// played. Bodies that are being received and parts of unfinished uploads are below
// DIR/.s3, which can't be a bucket. All else is in memory: a server begins with no
// objects, whatever is in its directory.
package embeds3

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// Options says where the server keeps its objects, and who may use it.
type Options struct {
	// Dir holds a directory for each bucket. It is created.
	Dir string
	// AccessKey and SecretKey are the only credentials.
	AccessKey, SecretKey string
}

// Server is an S3 server with the bucket in the path. It is an [http.Handler].
type Server struct {
	opts Options

	// mu guards what is below and lets nobody see a half of a change to the files.
	// It isn't held while bodies are received, joined or sent.
	mu      sync.RWMutex
	objects map[name]stored
	uploads map[string]upload // by their ids
}

// name is where an object is.
type name struct{ bucket, key string }

// New returns a server over a directory.
func New(o Options) (*Server, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("embedded S3: %w", err)
	}
	o.Dir = dir
	s := &Server{opts: o, objects: map[name]stored{}, uploads: map[string]upload{}}
	if err := os.MkdirAll(s.work(), 0o755); err != nil {
		return nil, fmt.Errorf("embedded S3: %w", err)
	}
	return s, nil
}

func (s *Server) work() string                   { return filepath.Join(s.opts.Dir, ".s3") }
func (s *Server) bucketDir(bucket string) string { return filepath.Join(s.opts.Dir, bucket) }

func (s *Server) objectFile(n name) string {
	return filepath.Join(s.bucketDir(n.bucket), filepath.FromSlash(n.key))
}

// request is one request to a bucket, or to an object if there is a key.
type request struct {
	*http.Request
	query url.Values
	name
}

// operations are all that the server does, by method and the query parameter that
// selects the operation.
var operations = map[string]func(*Server, http.ResponseWriter, *request) error{
	"PUT bucket":             (*Server).createBucket,
	"HEAD bucket":            (*Server).headBucket,
	"GET bucket?list-type":   (*Server).listObjects,
	"GET bucket?uploads":     (*Server).listUploads,
	"GET bucket?lifecycle":   (*Server).getLifecycle,
	"PUT object":             (*Server).putObject,
	"GET object":             (*Server).getObject,
	"HEAD object":            (*Server).getObject,
	"DELETE object":          (*Server).deleteObject,
	"PUT object?tagging":     (*Server).putTagging,
	"GET object?tagging":     (*Server).getTagging,
	"POST object?uploads":    (*Server).createUpload,
	"PUT object?uploadId":    (*Server).uploadPart,
	"GET object?uploadId":    (*Server).listParts,
	"POST object?uploadId":   (*Server).completeUpload,
	"DELETE object?uploadId": (*Server).abortUpload,
}

// arguments are query parameters that don't select an operation. An unknown
// parameter may be an operation that isn't here, so it is refused.
var arguments = regexp.MustCompile(`^(X-Amz-.*|response-.*|x-id|prefix|continuation-token|` +
	`max-keys|encoding-type|partNumber|part-number-marker|max-parts|key-marker|upload-id-marker|max-uploads)$`)

// refusedHeaders ask for what the server doesn't do, and must not seem to.
var refusedHeaders = []string{
	"X-Amz-Copy-Source", "X-Amz-Server-Side-Encryption", "X-Amz-Server-Side-Encryption-Customer-Algorithm",
	"X-Amz-Object-Lock-Mode", "X-Amz-Bucket-Object-Lock-Enabled", "X-Amz-Write-Offset-Bytes",
	"X-Amz-Checksum-Crc32c", "X-Amz-Checksum-Crc64nvme", "X-Amz-Checksum-Sha1", "X-Amz-Checksum-Sha256",
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := s.serve(w, r); err != nil {
		writeError(w, r, err)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return invalidArgument("the query can't be read")
	}
	if err := s.authenticate(r, query); err != nil {
		return err
	}
	req := &request{Request: r, query: query}
	req.bucket, req.key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	operation := r.Method + " bucket"
	if req.key != "" {
		operation = r.Method + " object"
	}
	for parameter := range query {
		if !arguments.MatchString(parameter) {
			operation += "?" + parameter
		}
	}
	do := operations[operation]
	if do == nil {
		return notImplemented(operation)
	}
	for _, h := range refusedHeaders {
		if r.Header.Get(h) != "" {
			return notImplemented(h)
		}
	}
	if err := s.checkName(req.name, operation); err != nil {
		return err
	}
	return do(s, w, req)
}

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// checkName refuses what can't be a file below the server's directory.
func (s *Server) checkName(n name, operation string) error {
	if !bucketName.MatchString(n.bucket) {
		return s3Error{http.StatusBadRequest, "InvalidBucketName", "the bucket's name is not valid"}
	}
	if _, err := os.Stat(s.bucketDir(n.bucket)); err != nil && operation != "PUT bucket" {
		return s3Error{http.StatusNotFound, "NoSuchBucket", "the bucket does not exist"}
	}
	if _, err := filepath.Localize(n.key); n.key != "" && err != nil {
		return invalidArgument("the key can't be a file's name here")
	}
	return nil
}

func (s *Server) createBucket(_ http.ResponseWriter, r *request) error {
	return os.MkdirAll(s.bucketDir(r.bucket), 0o755)
}

func (s *Server) headBucket(http.ResponseWriter, *request) error { return nil }

func (s *Server) getLifecycle(http.ResponseWriter, *request) error {
	return s3Error{http.StatusNotFound, "NoSuchLifecycleConfiguration", "this server has no lifecycle rules"}
}

// s3Error is an error as S3 has it.
type s3Error struct {
	status        int
	code, message string
}

func (e s3Error) Error() string { return e.code + ": " + e.message }

var (
	errNoSuchKey    = s3Error{http.StatusNotFound, "NoSuchKey", "the object does not exist"}
	errNoSuchUpload = s3Error{http.StatusNotFound, "NoSuchUpload", "the upload does not exist"}
	errPrecondition = s3Error{http.StatusPreconditionFailed, "PreconditionFailed", "a condition of the request does not hold"}
	errMalformedXML = s3Error{http.StatusBadRequest, "MalformedXML", "the body is not the XML that this operation takes"}
)

func invalidArgument(message string) error {
	return s3Error{http.StatusBadRequest, "InvalidArgument", message}
}

func notImplemented(what string) error {
	return s3Error{http.StatusNotImplemented, "NotImplemented", "this server does not have " + what}
}

func writeError(w http.ResponseWriter, r *http.Request, err error) {
	var e s3Error
	if !errors.As(err, &e) {
		e = s3Error{http.StatusInternalServerError, "InternalError", err.Error()}
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(e.status)
	_ = xml.NewEncoder(w).Encode(struct { // nobody is left to hear of a failure
		XMLName                 xml.Name `xml:"Error"`
		Code, Message, Resource string
	}{Code: e.code, Message: e.message, Resource: r.URL.Path})
}

func writeXML(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(v) // as above
	return nil
}

// readXML reads the XML of a request, which has checksums like any body.
func (s *Server) readXML(w http.ResponseWriter, r *request, v any) error {
	body, err := s.receive(w, r, maxXML)
	if err != nil {
		return err
	}
	defer body.discard()
	text, err := os.ReadFile(body.file)
	if err != nil {
		return err
	}
	if xml.Unmarshal(text, v) != nil {
		return errMalformedXML
	}
	return nil
}
