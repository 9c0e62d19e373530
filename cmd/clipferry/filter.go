package main

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/tasks"
)

// filterFlags say which exports a command is about.
type filterFlags struct {
	set                                  *pflag.FlagSet
	state, project, tenant, batch, since string
	labels                               []string
}

// define adds the flags to a command.
func (f *filterFlags) define(cmd *cobra.Command) {
	f.set = cmd.Flags()
	set := f.set
	set.StringVar(&f.state, "state", "", "only exports in state `S`: "+strings.Join(stateNames(), ", "))
	set.StringVar(&f.project, "project", "", "only exports of project `P`")
	set.StringVar(&f.tenant, "tenant", "", "only exports of tenant `T`")
	set.StringArrayVar(&f.labels, "label", nil, "only exports with the label `NAME=VALUE`; may be repeated, all must match")
	set.StringVar(&f.batch, "batch", "", "only members of batch `NAME`")
	set.StringVar(&f.since, "since", "", "only exports created since `T`: a date (2026-04-01), a time (RFC 3339), or so long ago (12h, 7d)")
	completes(cmd, "state", stateNames())
}

// filterNames are the flags, whose values must not be empty.
var filterNames = []string{"state", "project", "tenant", "batch", "since"}

// given reports whether there is any of the flags.
func (f *filterFlags) given() bool {
	return slices.ContainsFunc(append([]string{"label"}, filterNames...), f.set.Changed)
}

// filter returns what the flags say; its error names all that are wrong.
func (f *filterFlags) filter(now time.Time) (ledger.Filter, error) {
	out := ledger.Filter{State: export.State(f.state), Project: f.project, Tenant: f.tenant, Batch: f.batch}
	faults := []error{cli.Empty(f.set, "all", filterNames...)}
	wrong := func(format string, args ...any) { faults = append(faults, cli.Usagef(format, args...)) }
	if f.state != "" && !out.State.Known() {
		wrong("--state must be one of %s, not %q", strings.Join(stateNames(), ", "), f.state)
	}
	if f.tenant != "" && !tasks.ValidTenant(f.tenant) {
		wrong("--tenant must be 1–32 of the characters a–z 0–9 -, the first not -, not %q", f.tenant)
	}
	if f.batch != "" && !tasks.ValidBatch(f.batch) {
		wrong("--batch must be %s, not %q", tasks.BatchRule, f.batch)
	}
	labels, wrongLabels := labelsOf(f.labels)
	for _, text := range wrongLabels {
		wrong("--label %s", text)
	}
	if len(labels) > 0 {
		out.Labels = labels
	}
	var err error
	out.Since, err = since(f.since, now)
	return out, errors.Join(append(faults, err)...)
}
