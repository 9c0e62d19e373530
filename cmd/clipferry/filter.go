package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/tasks"
)

// filterFlags say which exports a command is about.
type filterFlags struct {
	state, project, tenant, batch, since string
	labels                               []string
}

// define adds the flags to a command.
func (f *filterFlags) define(cmd *cobra.Command) {
	set := cmd.Flags()
	set.StringVar(&f.state, "state", "", "only exports in state `S`: "+strings.Join(stateNames(), ", "))
	set.StringVar(&f.project, "project", "", "only exports of project `P`")
	set.StringVar(&f.tenant, "tenant", "", "only exports of tenant `T`")
	set.StringArrayVar(&f.labels, "label", nil, "only exports with the label `NAME=VALUE`; may be repeated, all must match")
	set.StringVar(&f.batch, "batch", "", "only members of batch `NAME`")
	set.StringVar(&f.since, "since", "", "only exports created since `T`: a duration such as 2h, a date, or a time in RFC 3339")
	completes(cmd, "state", stateNames())
}

// empty reports whether no flag was given.
func (f *filterFlags) empty() bool {
	return f.state == "" && f.project == "" && f.tenant == "" && f.batch == "" && f.since == "" && len(f.labels) == 0
}

// filter returns what the flags say; its error names a wrong one.
func (f *filterFlags) filter(now time.Time) (ledger.Filter, error) {
	out := ledger.Filter{State: export.State(f.state), Project: f.project, Tenant: f.tenant, Batch: f.batch}
	switch {
	case f.state != "" && !out.State.Known():
		return out, cli.Usagef("--state must be one of %s, not %q", strings.Join(stateNames(), ", "), f.state)
	case f.tenant != "" && !tasks.ValidTenant(f.tenant):
		return out, cli.Usagef("--tenant must be 1–32 of the characters a–z 0–9 -, the first not -, not %q", f.tenant)
	case f.batch != "" && !tasks.ValidBatch(f.batch):
		return out, cli.Usagef("--batch must be %s, not %q", tasks.BatchRule, f.batch)
	}
	labels, err := labelsOf(f.labels)
	if err != nil {
		return out, cli.Usagef("--label %s", err)
	}
	if out.Labels = labels; len(labels) == 0 {
		out.Labels = nil
	}
	out.Since, err = parseSince(f.since, now)
	return out, err
}

// parseSince reads a duration before now, a date, or a time.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.ParseInLocation(form, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, cli.Usagef("--since must be a duration such as 2h, a date such as 2026-04-07, or a time in RFC 3339, not %q", text)
}
