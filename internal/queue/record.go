package queue

import (
	"encoding/json"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/tasks"
)

// NewRecord returns the record of an export as it is taken up from its first task.
// It was created when its producer says so, or now.
func NewRecord(s tasks.Submit, headers map[string]string, now time.Time) *export.Record {
	created := now
	if at := tasks.EnqueuedAt(headers); !at.IsZero() && at.Before(now) && now.Sub(at) < ledger.DefaultRetention {
		created = at
	}
	r := export.New(s.ID, s.Request.Body(), s.Request.Digest(), s.Request.ProjectID, created)
	r.Priority = s.Request.Priority
	r.Account = s.Request.Account
	r.Wanted = s.Request.ClipIndices
	if s.Request.Notify != nil {
		r.Notify, _ = json.Marshal(s.Request.Notify) // three strings always marshal
	}
	return r
}
