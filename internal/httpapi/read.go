package httpapi

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/view"
)

// The provider's statuses.
const (
	statusCreated   = "CREATED"
	statusQueued    = "QUEUED"
	statusOngoing   = "ONGOING"
	statusSucceeded = "SUCCEEDED"
	statusFailed    = "FAILED"
)

// statusOf says an export's state in the provider's words.
//
// An export is SUCCEEDED only once its manifest is written: a program that has seen
// SUCCEEDED may download at once. A held one is ONGOING, although a person has
// to decide about it: the provider may be rendering it, and FAILED would invite
// the program to order, and pay for, the same export again.
var statusOf = map[export.State]string{
	export.Queued:     statusQueued,
	export.Submitting: statusQueued,
	export.Rendering:  statusOngoing,
	export.Mirroring:  statusOngoing,
	export.Held:       statusOngoing,
	export.Unreadable: statusOngoing, // for the same reason
	export.Archived:   statusSucceeded,
	export.Failed:     statusFailed,
	export.Expired:    statusFailed,
	export.Canceled:   statusFailed,
}

// task is the provider's answer to a status read.
type task struct {
	ExportTaskID string   `json:"export_task_id"`
	Name         string   `json:"name"`
	Status       string   `json:"status"`
	ErrorMessage string   `json:"error_message,omitempty"`
	Reason       string   `json:"reason,omitempty"` // ours: the code of that
	ExpireAt     int64    `json:"expire_at,omitempty"`
	CostUsage    *float64 `json:"cost_usage,omitempty"`
	Clips        []clip   `json:"clips"`
}

// clip is one rendered clip, as the provider shows it.
type clip struct {
	Idx        int      `json:"idx"`
	Title      string   `json:"title"`
	BeginMS    int64    `json:"begin_ms"`
	EndMS      int64    `json:"end_ms"`
	Thumbnail  string   `json:"thumbnail"`
	Tags       []string `json:"tags"`
	Desc       string   `json:"desc"`
	Score      float64  `json:"score"`
	ExportLink string   `json:"export_link"`
}

// read is GET /api/v2/clips/export/{id}.
func (a *API) read(w http.ResponseWriter, r *http.Request) error {
	id, err := idOf(r)
	if err != nil {
		return err
	}
	record, err := a.exports(r.Context()).Get(r.Context(), id)
	if err == nil && a.o.Whole != nil {
		record, err = a.o.Whole(r.Context(), record)
	}
	if err != nil {
		return err
	}
	return writeData(w, a.taskOf(record, a.links.base(r)))
}

// taskOf shows a record as the provider would; base starts its links. Only
// archived clips are in it, each with its link, so that a program which takes
// whatever is there never meets one that it can't download.
func (a *API) taskOf(r *export.Record, base string) task {
	t := task{ExportTaskID: r.ID, Name: r.Name, Status: statusOf[r.State], Clips: []clip{}}
	if t.Name == "" {
		t.Name = nameOf(r.ProjectID)
	}
	if t.Status == statusFailed {
		t.ErrorMessage, t.Reason = errorOf(r), cmp.Or(string(r.Problem.Reason), string(r.State))
	}
	if t.Status == statusSucceeded || t.Status == statusFailed {
		t.ExpireAt = r.UpdatedAt.Add(a.o.Retention).UnixMilli()
	}
	if t.Status == statusSucceeded || r.CostUsage != 0 {
		t.CostUsage = &r.CostUsage
	}
	for _, idx := range slices.Sorted(maps.Keys(r.Clips)) {
		if c := r.Clips[idx]; c.State == export.ClipArchived {
			t.Clips = append(t.Clips, a.clipOf(c, base))
		}
	}
	return t
}

func errorOf(r *export.Record) string {
	switch {
	case !r.Problem.None():
		return view.Sentence(r, view.HTTP)
	case r.State == export.Canceled:
		return "canceled at " + r.UpdatedAt.UTC().Format(time.RFC3339)
	default:
		return "no reason is recorded"
	}
}

func (a *API) clipOf(c *export.Clip, base string) clip {
	out := clip{
		Idx: c.Idx, Title: c.Title, BeginMS: c.BeginMS, EndMS: c.EndMS, Desc: c.Desc, Score: c.Score,
		Tags: append([]string{}, c.Tags...), ExportLink: base + a.links.path(c.Object.Key),
	}
	if c.Thumb != nil {
		out.Thumbnail = base + a.links.path(c.Thumb.Key)
	}
	return out
}
