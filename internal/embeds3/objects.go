package embeds3

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	crcHeader  = "X-Amz-Checksum-Crc32"
	typeHeader = "X-Amz-Checksum-Type"
	wholeType  = "FULL_OBJECT" // the only type: a sum of the parts' sums proves less
)

// stored is what is known of an object beside its bytes, and how it is listed.
type stored struct {
	Key          string
	LastModified time.Time
	ETag         string // with its quotes
	Size         int64
	crc          string // of the whole object
	attributes
}

// attributes are what a client gives an object.
type attributes struct {
	headers map[string]string
	tags    url.Values
}

// keptHeaders are returned as they were sent, as are those of the object's own metadata.
var keptHeaders = []string{"Content-Type", "Content-Disposition", "Cache-Control", "X-Amz-Storage-Class"}

func attributesOf(h http.Header) (attributes, error) {
	tags, err := url.ParseQuery(h.Get("X-Amz-Tagging"))
	if err != nil {
		return attributes{}, invalidArgument("the tags can't be read")
	}
	at := attributes{headers: map[string]string{}, tags: tags}
	for _, name := range keptHeaders {
		if v := h.Get(name); v != "" {
			at.headers[name] = v
		}
	}
	for name, values := range h {
		if strings.HasPrefix(name, "X-Amz-Meta-") {
			at.headers[name] = strings.Join(values, ",")
		}
	}
	return at, nil
}

func (s *Server) putObject(w http.ResponseWriter, r *request) error {
	at, err := attributesOf(r.Header)
	if err != nil {
		return err
	}
	body, err := s.receive(w, r, maxBody)
	if err != nil {
		return err
	}
	defer body.discard()
	o := stored{ETag: quote(body.md5), Size: body.size, crc: body.crc, attributes: at}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.commit(r, body.file, o); err != nil {
		return err
	}
	w.Header().Set("ETag", o.ETag)
	w.Header().Set(crcHeader, o.crc)
	return nil
}

// getObject answers GET and HEAD.
func (s *Server) getObject(w http.ResponseWriter, r *request) error {
	o, f, err := s.open(r)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if m := r.Header.Get("If-Match"); m != "" && !matches(m, o.ETag) {
		return errPrecondition
	}
	h := w.Header()
	h.Set("Content-Type", "binary/octet-stream")
	for name, value := range o.headers {
		h.Set(name, value)
	}
	for _, name := range keptHeaders { // a link may ask for another name or type
		if value := r.query.Get("response-" + strings.ToLower(name)); value != "" {
			h.Set(name, value)
		}
	}
	h.Set("ETag", o.ETag)
	if r.Header.Get("X-Amz-Checksum-Mode") != "" && r.Header.Get("Range") == "" {
		h.Set(crcHeader, o.crc)
		h.Set(typeHeader, wholeType)
	}
	http.ServeContent(w, r.Request, "", o.LastModified, f)
	return nil
}

func (s *Server) open(r *request) (stored, *os.File, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, there := s.objects[r.name]
	if !there {
		return o, nil, errNoSuchKey
	}
	f, err := os.Open(s.objectFile(r.name))
	if errors.Is(err, fs.ErrNotExist) {
		err = errNoSuchKey // somebody has removed the file
	}
	return o, f, err
}

// check returns an error unless the request's conditions hold of what is there
// under its key. The caller holds the lock.
func (s *Server) check(r *request) error {
	o, there := s.objects[r.name]
	match, noneMatch := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	switch {
	case noneMatch != "" && noneMatch != "*":
		return notImplemented("If-None-Match with an entity tag")
	case match != "" && !there:
		return errNoSuchKey
	case noneMatch != "" && there, match != "" && !matches(match, o.ETag):
		return errPrecondition
	}
	return nil
}

func matches(condition, etag string) bool {
	return condition == "*" || strings.Trim(condition, `"`) == strings.Trim(etag, `"`)
}

// commit makes a file an object, if the request's conditions hold. The caller
// holds the lock.
func (s *Server) commit(r *request, file string, o stored) error {
	if err := s.check(r); err != nil {
		return err
	}
	target := s.objectFile(r.name)
	err := os.MkdirAll(filepath.Dir(target), 0o755)
	if err == nil {
		err = os.Rename(file, target)
	}
	if err != nil { // a key below another one, or too long a name
		return invalidArgument(fmt.Sprintf("the key can't be a file here: %v", err))
	}
	o.Key, o.LastModified = r.key, time.Now().UTC()
	s.objects[r.name] = o
	return nil
}

func (s *Server) deleteObject(w http.ResponseWriter, r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(r); err != nil {
		return err
	}
	if _, there := s.objects[r.name]; there {
		file := s.objectFile(r.name)
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		delete(s.objects, r.name)
		// and the directories that nothing is in any more
		for dir := filepath.Dir(file); dir != s.bucketDir(r.bucket) && os.Remove(dir) == nil; {
			dir = filepath.Dir(dir)
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

type tag struct{ Key, Value string }

type tagging struct {
	XMLName xml.Name `xml:"Tagging"`
	TagSet  []tag    `xml:"TagSet>Tag"`
}

func (s *Server) getTagging(w http.ResponseWriter, r *request) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, there := s.objects[r.name]
	if !there {
		return errNoSuchKey
	}
	var set tagging
	for key := range o.tags {
		set.TagSet = append(set.TagSet, tag{key, o.tags.Get(key)})
	}
	return writeXML(w, set)
}

func (s *Server) putTagging(w http.ResponseWriter, r *request) error {
	var set tagging
	if err := s.readXML(w, r, &set); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, there := s.objects[r.name]
	if !there {
		return errNoSuchKey
	}
	o.tags = url.Values{}
	for _, t := range set.TagSet {
		o.tags.Set(t.Key, t.Value)
	}
	s.objects[r.name] = o
	return nil
}

// listObjects lists by key; the token of the next page is the last key of this one.
func (s *Server) listObjects(w http.ResponseWriter, r *request) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	prefix, token := r.query.Get("prefix"), r.query.Get("continuation-token")
	var all []stored
	for n, o := range s.objects {
		if n.bucket == r.bucket && strings.HasPrefix(n.key, prefix) {
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b stored) int { return strings.Compare(a.Key, b.Key) })
	some, more, err := page(all, func(o stored) bool { return o.Key > token }, r.query.Get("max-keys"))
	if err != nil {
		return err
	}
	l := struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		Name, Prefix          string
		KeyCount              int
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []stored
	}{Name: r.bucket, Prefix: prefix, KeyCount: len(some), IsTruncated: more, Contents: some}
	if more {
		l.NextContinuationToken = some[len(some)-1].Key
	}
	return writeXML(w, l)
}

// page is the part of a sorted list that comes after the page before, and is as
// long as the client wants and S3 allows; more says that it isn't the last.
func page[T any](all []T, after func(T) bool, size string) (some []T, more bool, err error) {
	limit := 1000
	if size != "" {
		n, err := strconv.Atoi(size)
		if err != nil || n < 1 {
			return nil, false, invalidArgument("the size of a page must be a number above 0")
		}
		limit = min(limit, n)
	}
	for _, item := range all {
		if !after(item) {
			continue
		}
		if len(some) == limit {
			return some, true, nil
		}
		some = append(some, item)
	}
	return some, false, nil
}
