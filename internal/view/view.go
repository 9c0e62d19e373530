// Package view is an export as it is shown: by `clipferry status --json`, by the
// HTTP API, and in the events that producers get. It is the one place where
// what is wrong, a code and facts in the record, is put into words; what there is
// to do is said in the words of whoever reads it. It is pure, and shows no secret.
//
// It is not for what an export waits for, which takes a look at the queues and
// the budgets: package status.
package view

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/tasks"
)

// Export is an export as it is shown. Field names are part of the outside contract.
type Export struct {
	ID             string        `json:"id"`
	State          string        `json:"state"`
	ProjectID      string        `json:"project_id"`
	ExportTaskID   string        `json:"export_task_id"`
	ProviderStatus string        `json:"provider_status"`
	Reason         export.Reason `json:"reason"`
	Error          string        `json:"error"`
	ExpireAt       *time.Time    `json:"expire_at"`
	CostUsage      float64       `json:"cost_usage"`
	CreatedAt      time.Time     `json:"created_at,omitzero"`
	UpdatedAt      time.Time     `json:"updated_at,omitzero"`
	Polls          int           `json:"polls"`
	Clips          []Clip        `json:"clips"`
	Manifest       string        `json:"manifest"`

	Tenant string `json:"tenant"`
	Kind   string `json:"kind,omitempty"` // of a task that was made elsewhere

	// Since is when the problem that Reason names began, NextTry when what failed is
	// tried again at the earliest; nil where there is none.
	Since   *time.Time `json:"since,omitempty"`
	NextTry *time.Time `json:"next_try,omitempty"`
	// TraceID is the provider's name of the request that failed; its support asks for it.
	TraceID string `json:"trace_id,omitempty"`

	Account    string            `json:"account,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Batch      string            `json:"batch,omitempty"`
	Attempts   int               `json:"attempts,omitempty"`
	InDoubt    int               `json:"in_doubt,omitempty"`
	Duplicates []string          `json:"duplicates,omitempty"`
	// Warnings say what is odd about the request; a list has none.
	Warnings []string `json:"warnings,omitempty"`
}

// Clip is one clip of an Export.
type Clip struct {
	Idx     int           `json:"idx"`
	State   string        `json:"state"`
	Title   string        `json:"title"`
	Key     string        `json:"key"`
	Size    int64         `json:"size"`
	SHA256  string        `json:"sha256"`
	Reason  export.Reason `json:"reason,omitempty"`
	Error   string        `json:"error,omitempty"`
	Since   *time.Time    `json:"since,omitempty"`
	NextTry *time.Time    `json:"next_try,omitempty"`
	Tries   int           `json:"tries,omitempty"` // transfers that failed
}

// Of returns the record as it is shown to the reader.
func Of(r *export.Record, to Reader) Export {
	p, next := problemOf(r)
	v := Export{
		ID: r.ID, Tenant: r.TenantName(), State: string(r.State), Kind: string(r.Kind), ProjectID: r.ProjectID, ExportTaskID: r.ExportTaskID,
		ProviderStatus: r.ProviderStatus, Reason: p.Reason, Error: Sentence(r, to), CostUsage: r.CostUsage,
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(), Polls: r.Polls, Manifest: r.Manifest,
		Clips: make([]Clip, 0, len(r.Clips)), Account: r.Account, Labels: r.Labels, Batch: r.Batch,
		Attempts: r.Attempts, InDoubt: r.Doubts, Duplicates: r.Duplicates,
		Warnings: warningsOf(r), ExpireAt: moment(r.ExpireAt), Since: moment(p.Since), NextTry: moment(next), TraceID: p.TraceID,
	}
	for _, idx := range slices.Sorted(maps.Keys(r.Clips)) {
		v.Clips = append(v.Clips, clipOf(r, r.Clips[idx]))
	}
	return v
}

// At is the export as it is shown at the time: a next try that is past waits for something
// else, such as an account that is halted, and says nothing.
func (e Export) At(now time.Time) Export {
	if e.NextTry != nil && e.NextTry.Before(now) {
		e.NextTry = nil
	}
	for i := range e.Clips {
		if next := e.Clips[i].NextTry; next != nil && next.Before(now) {
			e.Clips[i].NextTry = nil
		}
	}
	return e
}

func warningsOf(r *export.Record) []string {
	if len(r.Late) > 0 {
		return []string{fmt.Sprintf("clips %v appeared after the archive was sealed and are taken up as %s", r.Late, export.NextPart(r.ID))}
	}
	e, err := tasks.ParseSent(r.Request)
	if err != nil { // it is not loaded, or was never one
		return nil
	}
	return e.Lint().Texts()
}

func clipOf(r *export.Record, c *export.Clip) Clip {
	v := Clip{
		Idx: c.Idx, State: string(c.State), Title: c.Title, Key: c.Object.Key,
		Size: c.Object.Size, SHA256: c.Object.SHA256,
		Reason: c.Problem.Reason, Error: sentence(r, c.Problem), Since: moment(c.Problem.Since),
	}
	if r.State.Final() && c.State != export.ClipArchived { // nothing more is done for it
		v.State = string(export.ClipFailed)
		if r.State == export.Canceled {
			v.State = string(export.Canceled)
		}
	}
	if !c.Problem.None() {
		v.NextTry, v.Tries = moment(clipNext(r, c)), c.Faults
	}
	return v
}

// problemOf returns what is wrong with the export now, and when what failed is tried
// again: its own problem or, while it is open, that of the clip which is longest in
// trouble.
func problemOf(r *export.Record) (export.Problem, time.Time) {
	switch {
	case r.State.Final():
		return r.Problem, time.Time{}
	case !r.Problem.None():
		return r.Problem, ownNext(r)
	}
	var worst *export.Clip
	for _, idx := range slices.Sorted(maps.Keys(r.Clips)) {
		c := r.Clips[idx]
		if !c.Problem.None() && (worst == nil || c.Problem.Since.Before(worst.Problem.Since)) {
			worst = c
		}
	}
	switch {
	case worst != nil:
		p := worst.Problem
		p.Clip = worst.Idx
		return p, clipNext(r, worst)
	case r.FailedCount > 0: // its clips were not loaded
		return r.ClipProblem, time.Time{}
	}
	return export.Problem{}, time.Time{}
}

// ownNext is when the export's own step is done again: all but transfers.
func ownNext(r *export.Record) time.Time {
	for _, step := range export.Due(r) {
		if step.Kind != export.StepMirror {
			return step.At
		}
	}
	return time.Time{}
}

// clipNext is when the clip is tried again: its transfer, or the read for a link.
func clipNext(r *export.Record, c *export.Clip) time.Time {
	switch {
	case r.State.Final():
		return time.Time{}
	case c.State == export.ClipReady:
		return c.NotBefore
	case c.State == export.ClipStale, c.State == export.ClipWaiting:
		return r.PollAt
	}
	return time.Time{}
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
