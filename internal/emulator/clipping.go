package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/clipferry/clipferry/tasks"
)

// call is a kind of task of the API: what makes one, and where its results are.
type call struct {
	kind, prefix string // of its tasks' ids
	// submits and reads are paths below the API's root; an id follows reads.
	submits, reads string
	// tell writes what a task has that has no clips, once it has succeeded.
	tell func(*task, *readAnswer)
}

var (
	exports   = &call{kind: "export", prefix: "export_task_", submits: "/clips/export", reads: "/clips/export"}
	moments   = &call{kind: "moments", prefix: "moments_", submits: "/clips/find-moments", reads: "/clips/find-moments/results"}
	clippings = &call{kind: "clips", prefix: "clips_", submits: "/clips", reads: "/clips/results"}
	calls     = []*call{
		exports, moments, clippings,
		{kind: "summary", prefix: "summary_", submits: "/summaries", reads: "/summaries/results", tell: tellSummary},
		{kind: "transcript", prefix: "transcript_", submits: "/transcripts", reads: "/transcripts/results", tell: tellTranscript},
	}
)

func (c *call) submitRoute() string {
	if c == exports {
		return RouteSubmit
	}
	return RouteCreate
}

func (c *call) readRoute() string {
	if c == exports {
		return RouteRead
	}
	return RouteResults
}

// order is what a task that is no export is asked for, beside the export's own
// fields. Fields that are not here are ignored.
type order struct {
	VideoURL       string `json:"video_url"`
	ProjectName    string `json:"project_name"`
	Query          string `json:"query"`
	TargetDuration string `json:"target_duration"`
	Limit          int    `json:"limit"`
	EnableExport   bool   `json:"enable_export"`

	export tasks.Export
}

var targetDurations = []string{
	"", "DURATION_0_30", "DURATION_0_60", "DURATION_0_90", "DURATION_30_60", "DURATION_30_90", "DURATION_60_90",
	"DURATION_60_120", "DURATION_90_180", "DURATION_180_300",
}

// parse reads a request for a task of the call. The caller holds mu.
func (s *Server) parse(c *call, body []byte) (order, error) {
	if c == exports {
		e, err := parseExport(body)
		return order{export: e}, err
	}
	var o order
	if err := json.Unmarshal(body, &o); err != nil {
		return o, fmt.Errorf("the body is not understood: %w", err)
	}
	switch {
	case o.VideoURL == "":
		return o, errors.New("video_url: required")
	case strings.HasPrefix(o.VideoURL, uploadPrefix) && !s.uploaded(o.VideoURL):
		return o, errors.New("video_url: no such upload, or nothing was put there")
	case c == moments && o.Query == "":
		return o, errors.New("query: required")
	case !slices.Contains(targetDurations, o.TargetDuration):
		return o, fmt.Errorf("target_duration: must be one of %s", strings.Join(targetDurations[1:], ", "))
	case o.Limit < 0 || o.Limit > 10_000:
		return o, errors.New("limit: must be from 1 to 10000")
	}
	var err error
	o.export, err = o.settings(body)
	return o, err
}

// settings are the export's own fields in the request, which count with enable_export.
// The project that is made is known by its name until it has an id.
func (o order) settings(body []byte) (tasks.Export, error) {
	name := o.ProjectName
	if name == "" {
		name = o.VideoURL
	}
	if !o.EnableExport {
		return tasks.Export{ProjectID: name}, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return tasks.Export{}, fmt.Errorf("the body is not understood: %w", err)
	}
	for field := range fields {
		if !slices.Contains(tasks.FieldNames(), field) {
			delete(fields, field)
		}
	}
	fields["project_id"] = encode(name)
	return parseExport(encode(fields))
}

// project is what the provider knows of a project: one that a task here has made,
// or any other.
func (s *Server) project(id string) Project {
	if t := s.tasks[id]; t != nil && t.source != nil {
		return *t.source
	}
	return s.opts.Project(id)
}

// task returns the task of an id: one that was accepted or, with Options.AnyProject, the
// one that must have made the project of that id. The caller holds mu.
func (s *Server) task(id string) *task {
	if t := s.tasks[id]; t != nil || !s.opts.AnyProject {
		return t
	}
	others := func(c *call) bool { return c != clippings && strings.HasPrefix(id, c.prefix) }
	e := tasks.Export{ProjectID: id}
	if slices.ContainsFunc(calls, others) || e.Validate() != nil {
		return nil
	}
	project := s.opts.Project(id)
	now, _ := s.now()
	// It is made anew for each read, and must not change from one to the next.
	made := now.Truncate(max(s.opts.Expiry/2, 1))
	t := &task{
		id: id, call: clippings, renders: true, project: id, name: project.Name, export: e.WithDefaults(),
		accepted: made, expires: made.Add(s.opts.Expiry), source: &project,
	}
	for idx := range project.Clips {
		t.clips = append(t.clips, rendered{Clip: project.Clip(idx), idx: idx, ready: s.start})
	}
	t.units = t.cost()
	return t
}

// late moves the clips of a task with enable_export to where they are seen in use:
// it has succeeded while some of them, or all, are still rendered.
func (t *task) late(from time.Time, c *chance) {
	total := t.ended.Sub(from)
	begin := from.Add(time.Duration(float64(total) * (0.5 + 0.6*c.unit())))
	for i := range t.clips {
		t.clips[i].ready = begin.Add(total * time.Duration(i+1) / time.Duration(len(t.clips)) * 7 / 10)
	}
}

func tellSummary(t *task, a *readAnswer) {
	a.Summary = "It is about " + t.clips[0].Title + ", and about little else."
}

func tellTranscript(t *task, a *readAnswer) {
	for _, c := range t.clips {
		a.Transcript = append(a.Transcript, line{c.BeginMS, c.EndMS, c.Desc})
	}
}
