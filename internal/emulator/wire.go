package emulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The API's answers, with their fields in the page's order.

type submitAnswer struct {
	ExportTaskID string `json:"export_task_id"`
	Name         string `json:"name"`
	Status       string `json:"status"`
}

type readAnswer struct {
	ExportTaskID string       `json:"export_task_id"`
	Name         string       `json:"name"`
	Status       string       `json:"status"`
	ErrorMessage string       `json:"error_message,omitempty"`
	ExpireAt     int64        `json:"expire_at"`
	CostUsage    units        `json:"cost_usage"`
	Clips        []clipAnswer `json:"clips"`
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

// refusal is the body of every error.
type refusal struct {
	Timestamp string `json:"timestamp"`
	Status    int    `json:"status"`
	Error     string `json:"error"`
	Message   string `json:"message,omitempty"`
	Path      string `json:"path"`
}

func (s *Server) refusal(r *http.Request, status int, message string) []byte {
	now, _ := s.now()
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
		ExportTaskID: t.id, Name: t.name, Status: t.status(virtual),
		ExpireAt: t.expires.UnixMilli(), CostUsage: units(t.units), Clips: []clipAnswer{},
	}
	if a.Status == statusFailed {
		a.ErrorMessage = t.fail
	}
	for _, c := range t.ready(virtual) {
		a.Clips = append(a.Clips, clipAnswer{
			Idx: c.idx, Title: c.Title, BeginMS: c.BeginMS, EndMS: c.EndMS, Thumbnail: link(kindThumbnail, c),
			Tags: c.Tags, Desc: c.Desc, Score: c.Score, ExportLink: link(kindClip, c),
		})
	}
	return a
}
