package emulator

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// serveClip is GET and HEAD /cdn/export/{task}/{file}.
func (s *Server) serveClip(w *recorder, r *http.Request) {
	x, t, c, ok := s.follow(w, r, RouteClip, ".mp4")
	if !ok {
		return
	}
	content := s.content(t, c, 0)
	var from io.ReaderAt = content
	etag := content.ETag()
	if f, ok := x.plan.get(FaultChanged); ok {
		other := s.content(t, c, 1)
		from = other
		if f.Bytes > 0 {
			from = spliced{content, other, f.Bytes}
		}
		if !f.KeepETag {
			etag = other.ETag()
		}
	}
	x.serve("video/mp4", etag, s.realOf(c.ready), io.NewSectionReader(from, 0, content.Size()))
}

// serveThumbnail is GET and HEAD /cdn/thumb/{task}/{file}.
func (s *Server) serveThumbnail(w *recorder, r *http.Request) {
	x, t, c, ok := s.follow(w, r, RouteThumbnail, ".jpg")
	if !ok {
		return
	}
	picture, err := s.thumbnail(t, c)
	if err != nil {
		x.refuse(http.StatusInternalServerError, err.Error())
		return
	}
	etag := fmt.Sprintf(`"thumb-%s-%d"`, t.id, c.idx)
	x.serve("image/jpeg", etag, s.realOf(c.ready), strings.NewReader(string(picture)))
}

// follow finds what a link leads to; ok is false if the answer has been given.
func (s *Server) follow(w *recorder, r *http.Request, route, ending string) (x *exchange, t *task, c rendered, ok bool) {
	now, virtual := s.now()
	number, named := strings.CutPrefix(strings.TrimSuffix(r.PathValue("file"), ending), "clip_")
	idx, err := strconv.Atoi(number)
	if !named || err != nil {
		idx = -1
	}
	req := Request{Route: route, Task: r.PathValue("task"), Clip: idx, HTTP: r}
	s.mu.Lock()
	if t = s.task(req.Task); t != nil {
		req.Project, req.Status = t.project, t.status(virtual)
		c, ok = t.clip(idx)
	}
	s.mu.Unlock()
	x = s.exchange(w, req)
	if x.before() {
		return x, t, c, false
	}
	if f, dead := x.plan.get(FaultDeadLink); dead {
		x.deny(f.Status, "Request has expired")
		return x, t, c, false
	}
	if message := s.alive(r, now); message != "" {
		x.deny(http.StatusForbidden, message)
		return x, t, c, false
	}
	if !ok || virtual.Before(c.ready) || route == RouteClip && !t.renders || t.fail != "" && !t.active(virtual) {
		x.deny(http.StatusNotFound, "The specified key does not exist.")
		return x, t, c, false
	}
	return x, t, c, true
}

// deny answers as an object store does, in XML.
func (x *exchange) deny(status int, message string) {
	code := "AccessDenied"
	switch status {
	case 0:
		status = http.StatusForbidden
	case http.StatusNotFound:
		code = "NoSuchKey"
	}
	x.send(status, "application/xml", fmt.Appendf(nil,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>", code, message))
}

// serve sends a file, ranges and conditions included, with what goes wrong in it.
func (x *exchange) serve(contentType, etag string, modified time.Time, from io.ReadSeeker) {
	if x.plan.has(FaultLost) {
		x.reset()
		return
	}
	if f, ok := x.plan.get(FaultStatus); ok {
		x.fail(f)
		return
	}
	if f, ok := x.plan.get(FaultBody); ok {
		status := f.Status
		if status == 0 {
			status = http.StatusOK
		}
		x.send(status, contentType, []byte(f.Body))
		return
	}
	if x.plan.has(FaultBomb) {
		x.send(http.StatusOK, contentType, nil)
		return
	}
	r := x.r
	if x.plan.has(FaultIgnoreRange) {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
	}
	h := x.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("ETag", etag)
	h.Set("Cache-Control", "private")
	http.ServeContent(x.paced(), r, "", modified, from)
}
