package catalog

import (
	"encoding/json"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/storage"
)

// Line is one archived clip with all that is known of it: one line of the
// catalog's files. Of the lines of one clip (ExportID and Idx) the one with the
// highest Revision counts.
type Line struct {
	ExportID string `json:"export_id"`
	Idx      int    `json:"idx"`
	Revision int64  `json:"revision"` // when its manifest was made, in Unix milliseconds

	// Of the export.
	ProjectID    string            `json:"project_id"`
	ExportTaskID string            `json:"export_task_id"`
	ExportName   string            `json:"export_name"`
	Tenant       string            `json:"tenant"`
	Account      string            `json:"account"`
	Labels       map[string]string `json:"labels,omitempty"`
	// Settings are what was asked of the provider, apart from the project and the clips.
	Settings   json.RawMessage `json:"settings,omitempty"`
	Resolution string          `json:"resolution"` // such as FHD_1080; the provider's default where none was asked for
	Ratio      string          `json:"ratio"`      // such as RATIO_9_16; empty for the source's own
	CostUsage  float64         `json:"cost_usage"` // units, for all clips of the export
	CreatedAt  time.Time       `json:"created_at"`
	ArchivedAt time.Time       `json:"archived_at"` // when the manifest was written
	Manifest   string          `json:"manifest"`    // its key

	// Of the clip.
	Title      string   `json:"title"`
	Desc       string   `json:"desc"`
	Tags       []string `json:"tags"`
	Score      float64  `json:"score"`
	BeginMS    int64    `json:"begin_ms"` // in the source
	EndMS      int64    `json:"end_ms"`
	DurationMS int64    `json:"duration_ms"`
	export.Object
	Thumbnail *export.Object `json:"thumbnail,omitempty"`
	Warning   string         `json:"warning,omitempty"` // why there is no thumbnail
}

// LinesOf returns a line for each clip of a manifest, which is under key.
func LinesOf(m storage.Manifest, key string) []Line {
	settings := settingsOf(m.Request)
	lines := make([]Line, 0, len(m.Clips))
	for _, c := range m.Clips {
		l := Line{
			ExportID: m.ID, Idx: c.Idx, Revision: m.ArchivedAt.UnixMilli(),
			ProjectID: m.ProjectID, ExportTaskID: m.ExportTaskID, Settings: settings.all,
			Resolution: settings.resolution, Ratio: settings.ratio,
			CostUsage: m.CostUsage, CreatedAt: m.CreatedAt.UTC(), ArchivedAt: m.ArchivedAt.UTC(), Manifest: key,
			Title: c.Title, Desc: c.Desc, Tags: append([]string{}, c.Tags...), Score: c.Score,
			BeginMS: c.BeginMS, EndMS: c.EndMS, DurationMS: max(0, c.EndMS-c.BeginMS), Object: c.Object, Warning: c.Warning,
		}
		if c.Thumbnail != nil {
			l.Thumbnail = &c.Thumbnail.Object
		}
		lines = append(lines, l)
	}
	return lines
}

// settings are what an export was ordered with.
type settings struct {
	all               json.RawMessage
	resolution, ratio string
}

// defaultResolution is what the provider renders where none is asked for.
const defaultResolution = "SD_480"

// settingsOf reads a request. One that nobody can read has no settings.
func settingsOf(request json.RawMessage) settings {
	s := settings{resolution: defaultResolution}
	var fields map[string]json.RawMessage
	if json.Unmarshal(request, &fields) != nil {
		return s
	}
	delete(fields, "project_id")
	delete(fields, "clip_indices")
	if len(fields) > 0 {
		s.all, _ = json.Marshal(fields) // of what was read as JSON a moment ago
	}
	var known struct {
		Resolution string `json:"resolution"`
		Ratio      string `json:"ratio"`
		Reframe    bool   `json:"enable_ai_reframe"`
	}
	if json.Unmarshal(request, &known) != nil {
		return s
	}
	if known.Resolution != "" {
		s.resolution = known.Resolution
	}
	if known.Reframe {
		s.ratio = known.Ratio
	}
	return s
}
