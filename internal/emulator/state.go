package emulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// statusReset stands for a status where there was none: the connection was reset.
const statusReset = "reset"

// counts are since the start, or the last reset.
type counts struct {
	requests map[string]map[string]int
	refused  map[string]int
}

func newCounts() counts {
	return counts{map[string]map[string]int{}, map[string]int{"key": 0, "rate": 0, "active": 0, "invalid": 0}}
}

// recorder counts how a request was answered, before the client can see it.
type recorder struct {
	http.ResponseWriter
	s      *Server
	route  string
	status string
}

// note counts the request, the first time that it is called. The caller doesn't
// hold mu.
func (w *recorder) note(status string) {
	if w.status != "" {
		return
	}
	w.status = status
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	by := w.s.counts.requests[w.route]
	if by == nil {
		by = map[string]int{}
		w.s.counts.requests[w.route] = by
	}
	by[status]++
}

// WriteHeader counts the first final status.
func (w *recorder) WriteHeader(status int) {
	if status >= 200 {
		w.note(strconv.Itoa(status))
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write counts as status 200 if there is none yet.
func (w *recorder) Write(b []byte) (int, error) {
	w.note("200")
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// counted counts the requests of a route by how they were answered: "none" if the
// client left before.
func (s *Server) counted(route string, h func(*recorder, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w, s: s, route: route}
		defer rec.note("none")
		h(rec, r)
	}
}

// State is everything that happened, for tests and for people.
type State struct {
	// Now is by the clock, Virtual what it is for renders and windows.
	Now     time.Time `json:"now"`
	Virtual time.Time `json:"virtual_now"`
	Speed   float64   `json:"speed"`
	Seed    uint64    `json:"seed"`
	Limits  Limits    `json:"limits"`
	// Active counts unfinished exports of all keys.
	Active int `json:"active"`
	// Requests are counted by route and then by status ("reset" and "none" where
	// there was none).
	Requests map[string]map[string]int `json:"requests"`
	// Refused are counted by reason: key, rate, active, invalid.
	Refused map[string]int `json:"refused"`
	// Submits are the accepted ones, in order: what was charged.
	Submits []Submit `json:"submits"`
	Faults  []Armed  `json:"faults"`
}

// Submit is one accepted and charged task.
type Submit struct {
	TaskID string `json:"task_id"`
	// Kind is export, clips, moments, summary or transcript.
	Kind      string          `json:"kind"`
	ProjectID string          `json:"project_id"`
	Status    string          `json:"status"`
	Active    bool            `json:"active"`
	Body      json.RawMessage `json:"body"`
	// BodySHA256 is of the bytes as they were sent, in hexadecimal.
	BodySHA256 string  `json:"body_sha256"`
	CostUsage  float64 `json:"cost_usage"`
	Clips      []int   `json:"clips"`
	// AnswerLost is set if the client may not have learned the task's id: a fault
	// took or spoiled the answer, or the client had left.
	AnswerLost bool      `json:"answer_lost"`
	AcceptedAt time.Time `json:"accepted_at"`
	// EndsAt is by the clock, as is EndSeenAt, when a read first told of the end.
	EndsAt    time.Time `json:"ends_at"`
	EndSeenAt time.Time `json:"end_seen_at,omitzero"`
	ExpireAt  time.Time `json:"expire_at"`
	Reads     int       `json:"reads"`
}

// State returns a copy of everything that happened.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, virtual := s.now()
	st := State{
		Now: now, Virtual: virtual, Speed: s.opts.Speed, Seed: s.opts.Seed, Limits: s.limits,
		Requests: map[string]map[string]int{}, Refused: map[string]int{}, Submits: []Submit{}, Faults: []Armed{},
	}
	for route, by := range s.counts.requests {
		st.Requests[route] = map[string]int{}
		for status, n := range by {
			st.Requests[route][status] = n
		}
	}
	for reason, n := range s.counts.refused {
		st.Refused[reason] = n
	}
	for _, t := range s.order {
		if t.active(virtual) {
			st.Active++
		}
		st.Submits = append(st.Submits, s.submitOf(t, virtual))
	}
	for _, a := range s.faults.list {
		st.Faults = append(st.Faults, *a)
	}
	return st
}

func (s *Server) submitOf(t *task, virtual time.Time) Submit {
	clips := make([]int, len(t.clips))
	for i, c := range t.clips {
		clips[i] = c.idx
	}
	return Submit{
		TaskID: t.id, Kind: t.call.kind, ProjectID: t.project, Status: t.status(virtual), Active: t.active(virtual),
		Body: t.body, BodySHA256: t.digest, CostUsage: t.units, Clips: clips, AnswerLost: t.lost,
		AcceptedAt: t.accepted, EndsAt: s.realOf(t.ended), EndSeenAt: t.seenEnded, ExpireAt: t.expires, Reads: t.reads,
	}
}

// Reset forgets every export, count and limiter; faults stay.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reset()
}

// SetLimits changes the limits from now on, or says what is wrong with them.
func (s *Server) SetLimits(l Limits) error {
	if err := l.validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = l
	return nil
}
