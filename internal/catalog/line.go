package catalog

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/storage"
	"github.com/clipferry/clipferry/tasks"
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
	Kind         export.TaskKind   `json:"kind,omitempty"` // of a task that was made elsewhere
	Tenant       string            `json:"tenant"`
	Account      string            `json:"account"`
	Labels       map[string]string `json:"labels,omitempty"`
	// Settings are what was asked of the provider, apart from the project and the clips.
	Settings   json.RawMessage `json:"settings,omitempty"`
	Resolution string          `json:"resolution"` // such as FHD_1080; the provider's default where none was asked for
	Ratio      string          `json:"ratio"`      // such as RATIO_9_16; empty for the source's own
	CostUsage  float64         `json:"cost_usage"` // units, for all clips of the export
	CreatedAt  time.Time       `json:"created_at"`
	ArchivedAt time.Time       `json:"archived_at"`        // when the manifest was written
	Manifest   string          `json:"manifest"`           // its key
	Warnings   []string        `json:"warnings,omitempty"` // not kept in an Index

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

// LinesOf returns a line for each clip of a manifest that was read from key.
func LinesOf(m storage.Manifest, key string) []Line {
	resolution, ratio := formatOf(m.Request)
	lines := make([]Line, 0, len(m.Clips))
	for _, c := range m.Clips {
		l := Line{
			ExportID: m.ID, Idx: c.Idx, Revision: m.ArchivedAt.UnixMilli(),
			ProjectID: m.ProjectID, ExportTaskID: m.ExportTaskID, ExportName: m.Name, Kind: m.Kind, Warnings: m.Warnings,
			Tenant: cmp.Or(m.Tenant, export.DefaultTenant), Labels: m.Labels,
			Account: cmp.Or(m.Account, tasks.DefaultAccount), Settings: m.Settings, Resolution: resolution, Ratio: ratio,
			CostUsage: m.CostUsage, CreatedAt: m.CreatedAt.UTC(), ArchivedAt: m.ArchivedAt.UTC(), Manifest: key,
			Title: c.Title, Desc: c.Desc, Tags: append([]string{}, c.Tags...), Score: c.Score,
			BeginMS: c.BeginMS, EndMS: c.EndMS, DurationMS: c.DurationMS, Object: c.Object, Warning: c.Warning,
		}
		if c.Thumbnail != nil {
			l.Thumbnail = &c.Thumbnail.Object
		}
		lines = append(lines, l)
	}
	return lines
}

// formatOf is what a request says of the picture: where it says nothing, the
// provider's default, and no ratio.
func formatOf(request json.RawMessage) (resolution, ratio string) {
	var r struct {
		Resolution string `json:"resolution"`
		Reframe    bool   `json:"enable_ai_reframe"`
		Ratio      string `json:"ratio"`
	}
	if json.Unmarshal(request, &r) != nil {
		return "", ""
	}
	if r.Reframe {
		ratio = r.Ratio
	}
	return cmp.Or(r.Resolution, tasks.Export{}.WithDefaults().Resolution), ratio
}
