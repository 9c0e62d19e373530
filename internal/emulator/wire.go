package emulator

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The API's answers, with their fields in the page's order.

type submitAnswer struct {
	ExportTaskID string `json:"export_task_id,omitempty"`
	ID           string `json:"id,omitempty"`
	Name         string `json:"name"`
	Status       string `json:"status"`
}

type readAnswer struct {
	ExportTaskID string       `json:"export_task_id,omitempty"`
	ID           string       `json:"id,omitempty"`
	Name         string       `json:"name"`
	Status       string       `json:"status"`
	ErrorMessage string       `json:"error_message,omitempty"`
	ExpireAt     int64        `json:"expire_at"`
	CostUsage    units        `json:"cost_usage"`
	Clips        []clipAnswer `json:"clips,omitzero"`
	Summary      string       `json:"summary,omitempty"`
	Transcript   []line       `json:"transcript,omitempty"`
}

// line is one of a transcript.
type line struct {
	BeginMS int64  `json:"begin_ms"`
	EndMS   int64  `json:"end_ms"`
	Text    string `json:"text"`
}

type clipAnswer struct {
	Idx        int      `json:"idx"`
	Title      string   `json:"title"`
	BeginMS    int64    `json:"begin_ms"`
	EndMS      int64    `json:"end_ms"`
	Thumbnail  string   `json:"thumbnail"`
	Tags       []string `json:"tags"`
	Desc       string   `json:"desc"`
	Score      float64  `json:"score"`
	ExportLink string   `json:"export_link,omitempty"`
}

// units is written with its point, as the page has it: 48.0.
type units float64

// MarshalJSON writes at least one decimal.
func (u units) MarshalJSON() ([]byte, error) {
	s := strconv.FormatFloat(float64(u), 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return []byte(s), nil
}

// refusal is the body of an error of the gateway, failure of one of the service
// behind it: 400 and 500.
type refusal struct {
	Timestamp string `json:"timestamp"`
	Status    int    `json:"status"`
	Error     string `json:"error"`
	Message   string `json:"message,omitempty"`
	Path      string `json:"path"`
}

type failure struct {
	Message string `json:"message"`
	TraceID string `json:"trace_id"`
}

func (s *Server) refusal(r *http.Request, status int, message string) []byte {
	now, _ := s.now()
	if status == http.StatusBadRequest || status == http.StatusInternalServerError {
		return encode(failure{cmp.Or(message, http.StatusText(status)), name(s.opts.Seed, "trace", r.URL.Path, message, now)})
	}
	return encode(refusal{
		Timestamp: now.UTC().Format("2006-01-02T15:04:05.000-07:00"),
		Status:    status, Error: http.StatusText(status), Message: message, Path: r.URL.Path,
	})
}

func encode(v any) []byte {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		// Only our own shapes come here: a bug, not an event.
		panic(err)
	}
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}

// answerOf is what a read at that moment says. link makes the address of a clip's
// file or thumbnail.
func answerOf(t *task, virtual time.Time, link func(kind string, c rendered) string) readAnswer {
	a := readAnswer{
		ID: t.id, Name: t.name, Status: t.status(virtual),
		ExpireAt: t.expires.UnixMilli(), CostUsage: units(t.units),
	}
	if t.call == exports {
		a.ID, a.ExportTaskID = "", t.id
	}
	if a.Status == statusFailed {
		a.ErrorMessage = t.fail
	}
	if t.call.tell != nil {
		if a.Status == statusSucceeded {
			t.call.tell(t, &a)
		}
		return a
	}
	a.Clips = []clipAnswer{}
	for _, c := range t.ready(virtual) {
		a.Clips = append(a.Clips, clipAnswer{
			Idx: c.idx, Title: c.Title, BeginMS: c.BeginMS, EndMS: c.EndMS, Thumbnail: link(kindThumbnail, c),
			Tags: c.Tags, Desc: c.Desc, Score: c.Score, ExportLink: link(kindClip, c),
		})
	}
	return a
}
