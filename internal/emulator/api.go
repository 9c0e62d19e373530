package emulator

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/clipferry/clipferry/tasks"
)

const (
	// maxRequest bounds a submit's body, in bytes.
	maxRequest = 1 << 20
	// maxIndex bounds clip_indices, since every clip costs memory.
	maxIndex = 100_000
)

// submit is the POST that makes a task of the call.
func (s *Server) submit(c *call, w *recorder, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	var named struct {
		ProjectID   string `json:"project_id"`
		ProjectName string `json:"project_name"`
	}
	// Whoever can't be understood has no project, and is told so below.
	_ = json.Unmarshal(body, &named)
	x := s.exchange(w, Request{Route: c.submitRoute(), Project: cmp.Or(named.ProjectID, named.ProjectName), Clip: -1, HTTP: r})
	if x.before() {
		return
	}
	if err != nil {
		x.refuse(http.StatusBadRequest, "the body could not be read, or is too large")
		return
	}
	t, refused := s.accept(c, r, body)
	if refused != nil {
		x.refuse(refused.status, refused.message)
		return
	}
	s.noteLoss(t, x)
	defer s.noteLoss(t, x) // by then the client may have left
	_, virtual := s.now()
	answer := submitAnswer{ID: t.id, Name: t.name, Status: t.status(virtual)}
	if c == exports {
		answer.ID, answer.ExportTaskID = "", t.id
	}
	x.answer(http.StatusOK, data(answer))
}

// noteLoss records whether the client may not have learned that the export was
// accepted: because that was ordered, or because it left.
func (s *Server) noteLoss(t *task, x *exchange) {
	_, status := x.plan.get(FaultStatus)
	lost := status || x.r.Context().Err() != nil
	for _, k := range []Kind{FaultLost, FaultBody, FaultMalformed, FaultTruncate, FaultHuge, FaultBomb} {
		lost = lost || x.plan.has(k)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.lost = lost
}

// no is a refusal before it is written.
type no struct {
	status  int
	message string
}

// accept creates the task, or says why not: first the key, then the rate, then
// the request, then the tasks at once, as a gateway in front of a service would.
func (s *Server) accept(c *call, r *http.Request, body []byte) (*task, *no) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, refused := s.admit(r)
	if refused != nil {
		return nil, refused
	}
	o, err := s.parse(c, body)
	if err != nil {
		s.counts.refused["invalid"]++
		return nil, &no{http.StatusBadRequest, err.Error()}
	}
	_, virtual := s.now()
	if limit := s.limits.MaxActive; limit > 0 && s.active(key, virtual) >= limit {
		s.counts.refused["active"]++
		return nil, &no{status: http.StatusTooManyRequests}
	}
	t := s.newTask(c, key, o, body)
	s.tasks[t.id] = t
	s.order = append(s.order, t)
	return t, nil
}

// parseExport is where an export is held against the page.
func parseExport(body []byte) (tasks.Export, error) {
	e, err := tasks.ParseBody(body)
	if err != nil {
		return e, err
	}
	switch {
	case e.JobID != "":
		return e, errors.New("job_id: unknown field")
	case e.Priority != "":
		return e, errors.New("priority: unknown field")
	case e.Notify != nil:
		return e, errors.New("notify: unknown field")
	case slices.ContainsFunc(e.ClipIndices, func(i int) bool { return i >= maxIndex }):
		return e, errors.New("clip_indices: the project has no clip of this index")
	}
	return e, nil
}

// admit checks what every request of the API must have, and counts it. The caller
// holds mu.
func (s *Server) admit(r *http.Request) (key string, refused *no) {
	key, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	known := len(s.opts.Keys) == 0 || slices.Contains(s.opts.Keys, key)
	if !bearer || key == "" || !known || r.Header.Get("x-wayinvideo-api-version") != "v2" {
		s.counts.refused["key"]++
		return "", &no{status: http.StatusForbidden}
	}
	l := s.keys[key]
	if l == nil {
		l = &limiter{}
		s.keys[key] = l
	}
	if _, virtual := s.now(); !l.allow(virtual, s.limits) {
		s.counts.refused["rate"]++
		return "", &no{status: http.StatusTooManyRequests}
	}
	return key, nil
}

// active counts the key's unfinished exports. The caller holds mu.
func (s *Server) active(key string, virtual time.Time) (n int) {
	for _, t := range s.order {
		if t.key == key && t.active(virtual) {
			n++
		}
	}
	return n
}

// read is the GET of a task of the call.
func (s *Server) read(c *call, w *recorder, r *http.Request) {
	req := Request{Route: c.readRoute(), Task: r.PathValue("taskId"), Clip: -1, HTTP: r}
	_, virtual := s.now()
	s.mu.Lock()
	if t := s.task(req.Task); t != nil {
		req.Project, req.Status = t.project, t.status(virtual)
	}
	s.mu.Unlock()
	x := s.exchange(w, req)
	if x.before() {
		return
	}
	body, refused := s.look(c, x, req.Task)
	if refused != nil {
		x.refuse(refused.status, refused.message)
		return
	}
	x.answer(http.StatusOK, body)
}

// look makes the answer to a read.
func (s *Server) look(c *call, x *exchange, id string) ([]byte, *no) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, refused := s.admit(x.r)
	if refused != nil {
		return nil, refused
	}
	now, virtual := s.now()
	t := s.task(id)
	if t == nil || t.call != c || t.key != "" && t.key != key || !now.Before(t.expires) {
		return nil, &no{status: http.StatusNotFound}
	}
	base := s.base(x.r)
	answer := answerOf(t, virtual, func(kind string, c rendered) string {
		if kind == kindClip && !t.renders {
			return ""
		}
		if f, ok := x.plan.get(FaultLink); ok && kind == kindClip && f.concerns(c.idx) {
			return f.URL
		}
		if f, ok := x.plan.get(FaultNoLink); ok && kind == kindClip && f.concerns(c.idx) {
			return ""
		}
		return s.link(base, kind, t, c.idx, now)
	})
	if f, ok := x.plan.get(FaultNoClip); ok {
		answer.Clips = slices.DeleteFunc(answer.Clips, func(c clipAnswer) bool { return f.concerns(c.Idx) })
	}
	t.reads++
	if !t.active(virtual) && t.seenEnded.IsZero() {
		t.seenEnded = now
	}
	return data(answer), nil
}

// data is an answer in its outermost layer.
func data(v any) []byte {
	return encode(struct {
		Data any `json:"data"`
	}{v})
}

// elsewhere is every other path and method.
func (s *Server) elsewhere(w *recorder, r *http.Request) {
	x := &exchange{s: s, w: w, r: r}
	x.refuse(http.StatusNotFound, "")
}

func (s *Server) wrongMethod(w *recorder, r *http.Request) {
	x := &exchange{s: s, w: w, r: r}
	x.refuse(http.StatusMethodNotAllowed, "")
}
