// Package deploy_test holds the files of this folder to what the program and
// the documentation really have: metrics, labels and their values, sections of
// the runbook, configuration variables. promtool's and kubeconform's own checks
// run where they are installed.
package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/observe"
	"github.com/clipferry/clipferry/internal/queue"
	"github.com/clipferry/clipferry/internal/redistest"
	"github.com/clipferry/clipferry/internal/telemetry"
	"github.com/clipferry/clipferry/internal/units"
	"github.com/clipferry/clipferry/storage"
)

// catalog is every metric of the program with its labels and their values.
type catalog map[string]map[string]map[string]bool

type ledger struct{}

func (ledger) Counts(context.Context) (map[export.State]int64, error) { return nil, nil }

type queues struct{}

func (queues) Health() storage.Health { return storage.Health{} }

func (queues) Depths(context.Context, []string) (map[string]queue.Depth, error) { return nil, nil }
func (queues) Status(context.Context) (budget.Status, error)                    { return budget.Status{}, nil }

func (queues) Today(context.Context, time.Time) (units.Day, error) {
	return units.Day{}, nil
}

// families are the metrics of a process that has seen a sweep.
func families(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	rdb := redistest.Start(t).Client()
	tel := telemetry.New(telemetry.Options{Version: "v0"})
	tel.Watch(telemetry.Sources{
		Ledger: ledger{}, Queues: queues{}, Budgets: map[string]telemetry.Budget{"default": queues{}}, Units: map[string]telemetry.Units{"default": queues{}}, Bucket: queues{}, Catalog: queues{},
		Redis: telemetry.ReadRedis(rdb), Ready: func(context.Context) bool { return true },
	})
	tel.Swept(observe.Sweep{Open: []observe.Deadline{{State: export.Mirroring, ExpireAt: time.Now(), ClipsLeft: 1}}})
	tel.Verified(observe.Verification{})
	tel.Handler() // adds what it counts itself
	all, err := tel.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// gather returns the catalog of such a process.
func gather(t *testing.T) catalog {
	t.Helper()
	c := catalog{
		// Prometheus's own.
		"up":     {"job": {"clipferry": true}, "instance": nil},
		"ALERTS": {"alertname": nil, "alertstate": {"firing": true}, "severity": nil},
	}
	for _, f := range families(t) {
		labels := map[string]map[string]bool{"job": {"clipferry": true}, "instance": nil}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if labels[l.GetName()] == nil {
					labels[l.GetName()] = map[string]bool{}
				}
				labels[l.GetName()][l.GetValue()] = true
			}
		}
		names := []string{f.GetName()}
		if len(f.GetMetric()) > 0 && f.GetMetric()[0].GetHistogram() != nil {
			names = nil
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				names = append(names, f.GetName()+suffix)
			}
		}
		for _, name := range names {
			c[name] = labels
		}
	}
	return c
}

var (
	selector = regexp.MustCompile(`\b([a-zA-Z_][a-zA-Z0-9_]*)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	grouping = regexp.MustCompile(`\b(?:by|without|on|ignoring)\s*\(([^)]*)\)`)
	ours     = regexp.MustCompile(`^(clipferry|go|process|promhttp)_|^up$|^ALERTS$`)
)

// check returns what an expression names that the program doesn't have.
func (c catalog) check(expr string) error {
	var faults []error
	labels := map[string]bool{"le": true}
	named := 0
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		if !ours.MatchString(m[1]) {
			continue
		}
		named++
		known, ok := c[m[1]]
		if !ok {
			faults = append(faults, fmt.Errorf("no metric %s", m[1]))
			continue
		}
		for label := range known {
			labels[label] = true
		}
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			faults = append(faults, checkMatcher(m[1], known, l[1], l[2], l[3]))
		}
	}
	if named == 0 {
		faults = append(faults, errors.New("names no metric"))
	}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(g[1], ",") {
			if label = strings.TrimSpace(label); label != "" && !labels[label] {
				faults = append(faults, fmt.Errorf("groups by %s, which none of its metrics has", label))
			}
		}
	}
	return errors.Join(faults...)
}

// checkMatcher checks that some value of the label matches, so that a
// misspelled one is found.
func checkMatcher(metric string, known map[string]map[string]bool, label, op, value string) error {
	values, ok := known[label]
	if !ok {
		return fmt.Errorf("%s has no label %s", metric, label)
	}
	if values == nil || strings.HasPrefix(value, "$") {
		return nil // of the deployment, or a variable of the dashboard
	}
	if strings.HasSuffix(op, "~") {
		for alternative := range strings.SplitSeq(value, "|") {
			pattern, err := regexp.Compile("^(?:" + alternative + ")$")
			if err != nil {
				return fmt.Errorf("%s{%s}: %q is not a list of plain alternatives: %w", metric, label, value, err)
			}
			if !anyMatch(values, pattern) {
				return fmt.Errorf("%s{%s}: nothing matches %q", metric, label, alternative)
			}
		}
		return nil
	}
	if !values[value] {
		return fmt.Errorf("%s{%s} is never %q", metric, label, value)
	}
	return nil
}

func anyMatch(values map[string]bool, pattern *regexp.Regexp) bool {
	for v := range values {
		if pattern.MatchString(v) {
			return true
		}
	}
	return false
}

// TestTheCheckFindsFaults keeps the check itself honest.
func TestTheCheckFindsFaults(t *testing.T) {
	c := catalog{"clipferry_exports": {"state": {"held": true}}}
	for expr, ok := range map[string]bool{
		`max by (state) (clipferry_exports{state="held"})`: true,
		`clipferry_export{state="held"}`:                   false,
		`clipferry_exports{state="hold"}`:                  false,
		`clipferry_exports{status="held"}`:                 false,
		`clipferry_exports{state=~"held|hold"}`:            false,
		`sum by (kind) (clipferry_exports)`:                false,
		`vector(1)`:                                        false,
	} {
		if err := c.check(expr); (err == nil) != ok {
			t.Errorf("%s: %v", expr, err)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// promtool runs the tool in a folder, or skips the test where it is missing.
func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: apt-get install prometheus)")
	}
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
