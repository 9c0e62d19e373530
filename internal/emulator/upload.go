package emulator

import (
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	uploadPrefix   = "upload_"
	uploadLifetime = time.Hour
	// maxUpload bounds a file, in bytes: it is read, and only its size is kept.
	maxUpload = 64 << 20
	// maxUploads bounds how many are remembered.
	maxUploads = 10_000
)

// upload is a place where one file may be put.
type upload struct {
	until time.Time
	size  int64 // -1 while nothing was put there
}

// uploaded reports whether there is a file under the identity. The caller holds mu.
func (s *Server) uploaded(identity string) bool {
	u := s.files[identity]
	now, _ := s.now()
	return u != nil && u.size >= 0 && now.Before(u.until)
}

// askUpload is POST /upload/single-file. It costs a request and no project.
func (s *Server) askUpload(w *recorder, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	x := s.exchange(w, Request{Route: RouteUpload, Clip: -1, HTTP: r})
	if x.before() {
		return
	}
	var file struct {
		Name string `json:"name"`
	}
	if err == nil {
		err = decodeStrict(body, &file)
	}
	if err == nil && file.Name == "" {
		err = errors.New("name: required")
	}
	identity, refused := s.makeUpload(r, err)
	if refused != nil {
		x.refuse(refused.status, refused.message)
		return
	}
	x.answer(http.StatusOK, data(struct {
		UploadURL string `json:"upload_url"`
		Identity  string `json:"identity"`
	}{s.base(r) + "/upload/" + identity, identity}))
}

func (s *Server) makeUpload(r *http.Request, wrong error) (identity string, refused *no) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, refused := s.admit(r); refused != nil {
		return "", refused
	}
	switch {
	case wrong != nil:
		s.counts.refused["invalid"]++
		return "", &no{http.StatusBadRequest, wrong.Error()}
	case len(s.files) == maxUploads:
		return "", &no{http.StatusBadRequest, "too many uploads; reset the emulator"}
	}
	identity = uploadPrefix + name(s.opts.Seed, "upload", len(s.files))
	now, _ := s.now()
	s.files[identity] = &upload{until: now.Add(uploadLifetime), size: -1}
	return identity, nil
}

// putUpload is the PUT of the file itself, which no key protects and no limit counts.
func (s *Server) putUpload(w *recorder, r *http.Request) {
	size, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxUpload))
	x := &exchange{s: s, w: w, r: r}
	s.mu.Lock()
	u := s.files[r.PathValue("identity")]
	now, _ := s.now()
	known := u != nil && now.Before(u.until)
	if known && err == nil {
		u.size = size
	}
	s.mu.Unlock()
	switch {
	case !known:
		x.deny(http.StatusNotFound, "The specified key does not exist.")
	case err != nil:
		x.refuse(http.StatusRequestEntityTooLarge, "the emulator takes small files only")
	default:
		x.send(http.StatusOK, "application/xml", nil)
	}
}
