package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
)

// details is everything a person wants to know of one export.
func details(c *console, r *export.Record, waitingFor string, notified *notify.Notification) []cli.Styled {
	v := view.Of(r, view.CLI)
	out := []cli.Styled{cli.Sprintf("%s  %s", v.ID, cli.Paint(v.State, c.color(r.State)))}
	add := func(name, format string, args ...any) {
		out = append(out, cli.Sprintf("  %-9s %s", name, cli.Sprintf(format, args...)))
	}
	if v.Error != "" {
		add("error", "%s%s", v.Error, whenTried(v.Since, v.NextTry))
	}
	if waitingFor != "" {
		add("waits for", "%s", waitingFor)
	}
	if v.Account != "" {
		add("account", "%s", v.Account)
	}
	if v.Tenant != tasks.DefaultTenant {
		add("tenant", "%s", v.Tenant)
	}
	for _, name := range slices.Sorted(maps.Keys(v.Labels)) {
		add("label", "%s=%s", name, v.Labels[name])
	}
	if v.Batch != "" {
		add("batch", "%s", v.Batch)
	}
	if v.ProjectID != "" {
		add("project", "%s", v.ProjectID)
	}
	if what := ordered(r.Request); what != "" {
		add("ordered", "%s", what)
	}
	if v.ExportTaskID != "" {
		add("task", "%s (%s)", v.ExportTaskID, taskFacts(v))
	}
	if v.InDoubt > 0 {
		add("in doubt", "%d of %d paid requests: their answers were lost", v.InDoubt, v.Attempts)
	}
	for _, task := range v.Duplicates {
		add("duplicate", "%s: paid for as well, after a lost answer", task)
	}
	for _, warning := range v.Warnings {
		add("warning", "%s", warning)
	}
	if v.ExpireAt != nil {
		add("expires", "%s (%s)", v.ExpireAt.Format(time.DateTime+" MST"), untilText(*v.ExpireAt))
	}
	if !v.CreatedAt.IsZero() { // of a record that can't be read nobody knows
		add("created", "%s", v.CreatedAt.Format(time.DateTime+" MST"))
		add("updated", "%s", v.UpdatedAt.Format(time.DateTime+" MST"))
	}
	if len(v.Clips) > 0 {
		add("clips", "%d of %d archived", r.ArchivedCount, r.ClipCount)
	}
	for _, clip := range v.Clips {
		out = append(out, clipLine(clip))
		if clip.Key != "" && clip.Title != "" {
			out = append(out, cli.Sprintf("%29s%s", "", cli.Cut(clip.Title, 60)))
		}
	}
	if v.Manifest != "" {
		add("manifest", "%s", v.Manifest)
	}
	if notified != nil {
		add("notified", "%s", notifiedLine(notified))
	}
	return out
}

// taskFacts is what is known of the provider's task. A record that was rebuilt from S3
// knows no polls.
func taskFacts(v view.Export) string {
	var facts []string
	if v.ProviderStatus != "" {
		facts = append(facts, v.ProviderStatus)
	}
	if v.Polls > 0 {
		facts = append(facts, fmt.Sprintf("%d polls", v.Polls))
	}
	return strings.Join(append(facts, fmt.Sprintf("%g units", v.CostUsage)), ", ")
}

// notifiedLine is what became of a notification.
func notifiedLine(n *notify.Notification) string {
	line := fmt.Sprintf("%s: %s", n.To, n.State)
	if n.Tries > 0 && n.State != notify.WasSent || n.Tries > 1 {
		line += fmt.Sprintf(" after %d %s", n.Tries, map[bool]string{true: "try", false: "tries"}[n.Tries == 1])
	}
	if n.NextTry != nil && time.Until(*n.NextTry) > 0 {
		line += ", next try in " + briefly(time.Until(*n.NextTry))
	}
	if n.Error != "" {
		line += ": " + n.Error
	}
	return line
}

// ordered is what the request asked for beyond its project, as it was written.
func ordered(request json.RawMessage) string {
	e, err := tasks.ParseSent(request)
	if err != nil {
		return ""
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(e.Body(), &fields) != nil {
		return ""
	}
	var parts []string
	for _, name := range append(tasks.FieldNames(), slices.Sorted(maps.Keys(e.Extra))...) {
		if value, given := fields[name]; given && name != "project_id" {
			parts = append(parts, name+" "+strings.Trim(string(value), `"`))
		}
	}
	return strings.Join(parts, ", ")
}

// whenTried says since when what failed fails, and when it is tried next.
func whenTried(since, next *time.Time) string {
	var parts []string
	if since != nil {
		parts = append(parts, "since "+since.Format(time.DateTime+" MST"))
	}
	if next != nil && time.Until(*next) > 0 {
		parts = append(parts, "next try in "+briefly(time.Until(*next)))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func clipLine(clip view.Clip) cli.Styled {
	line := cli.Sprintf("    %3d %-9s", clip.Idx, clip.State)
	switch {
	case clip.Key != "":
		line += cli.Sprintf(" %10s  %s", size(clip.Size), clip.Key)
	case clip.Error != "":
		line += cli.Sprintf(" %s", clip.Error)
		if clip.NextTry != nil && time.Until(*clip.NextTry) > 0 {
			line += cli.Sprintf("; next try in %s", briefly(time.Until(*clip.NextTry)))
		}
	default:
		line += cli.Sprintf(" %s", cli.Cut(clip.Title, 60))
	}
	return line
}
