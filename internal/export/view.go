package export

import (
	"maps"
	"slices"
	"time"
)

// View is an export as `status --json` shows it. Field names are part of the
// outside contract; it holds no secret.
type View struct {
	ID             string     `json:"id"`
	State          string     `json:"state"`
	ProjectID      string     `json:"project_id"`
	ExportTaskID   string     `json:"export_task_id"`
	ProviderStatus string     `json:"provider_status"`
	Error          string     `json:"error"`
	ExpireAt       *time.Time `json:"expire_at"`
	CostUsage      float64    `json:"cost_usage"`
	CreatedAt      time.Time  `json:"created_at"`
	UpdatedAt      time.Time  `json:"updated_at"`
	Polls          int        `json:"polls"`
	Clips          []ClipView `json:"clips"`
	Manifest       string     `json:"manifest"`

	Account    string   `json:"account,omitempty"`
	Attempts   int      `json:"attempts,omitempty"`
	InDoubt    int      `json:"in_doubt,omitempty"`
	Duplicates []string `json:"duplicates,omitempty"`
}

// ClipView is one clip of a View.
type ClipView struct {
	Idx    int    `json:"idx"`
	State  string `json:"state"`
	Title  string `json:"title"`
	Key    string `json:"key"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Error  string `json:"error,omitempty"`
}

// View returns the record as it is shown.
func (r *Record) View() View {
	v := View{
		ID: r.ID, State: string(r.State), ProjectID: r.ProjectID, ExportTaskID: r.ExportTaskID,
		ProviderStatus: r.ProviderStatus, Error: r.Error, CostUsage: r.CostUsage,
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(), Polls: r.Polls, Manifest: r.Manifest,
		Clips: make([]ClipView, 0, len(r.Clips)), Account: r.Account,
		Attempts: r.Attempts, InDoubt: r.Doubts, Duplicates: r.Duplicates,
	}
	if !r.ExpireAt.IsZero() {
		t := r.ExpireAt.UTC()
		v.ExpireAt = &t
	}
	for _, idx := range slices.Sorted(maps.Keys(r.Clips)) {
		c := r.Clips[idx]
		v.Clips = append(v.Clips, ClipView{
			Idx: idx, State: string(c.State), Title: c.Title, Key: c.Object.Key,
			Size: c.Object.Size, SHA256: c.Object.SHA256, Error: c.Error,
		})
	}
	return v
}
