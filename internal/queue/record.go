package queue

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/tasks"
)

// NewRecord returns the record of an export as it is taken up from its first task.
// It was created when its producer says so, if that is within the retention, or now.
func NewRecord(s Step, headers map[string]string, retention time.Duration, now time.Time) *export.Record {
	created := now
	if at := EnqueuedAt(headers); !at.IsZero() && at.Before(now) && now.Sub(at) < retention {
		created = at
	}
	r := export.New(s.ID, s.Request.Body(), s.Request.Digest(), s.Request.ProjectID, created)
	r.Priority = s.Request.Priority
	r.Account, r.Labels = s.Request.Account, s.Request.Labels
	if s.Request.Tenant != tasks.DefaultTenant {
		r.Tenant = s.Request.Tenant
	}
	if _, _, tenant := tasks.ParseQueue(s.Queue); tenant == r.Tenant {
		r.Lane = tenant
	}
	if batch := headers[tasks.HeaderBatch]; tasks.ValidBatch(batch) {
		r.Batch = batch
	}
	r.Wanted = s.Request.ClipIndices
	if s.Request.Notify != nil {
		r.Notify, _ = json.Marshal(s.Request.Notify) // three strings always marshal
	}
	return r
}

// EnqueuedAt returns when the task with these headers was enqueued. It is zero
// where that is not known: a bare Asynq producer need not say it.
func EnqueuedAt(headers map[string]string) time.Time {
	ms, err := strconv.ParseInt(headers[tasks.HeaderEnqueuedAt], 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
