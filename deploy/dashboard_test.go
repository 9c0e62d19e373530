package deploy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Datasource  struct {
		UID string `json:"uid"`
	} `json:"datasource"`
	GridPos     struct{ X, Y, W, H int } `json:"gridPos"`
	FieldConfig struct {
		Defaults struct {
			Unit    string `json:"unit"`
			NoValue string `json:"noValue"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []struct {
		RefID        string `json:"refId"`
		Expr         string `json:"expr"`
		LegendFormat string `json:"legendFormat"`
		Interval     string `json:"interval"`
	} `json:"targets"`
}

type dashboard struct {
	UID        string  `json:"uid"`
	Title      string  `json:"title"`
	Panels     []panel `json:"panels"`
	Templating struct {
		List []struct {
			Name       string `json:"name"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []struct {
			Expr string `json:"expr"`
		} `json:"list"`
	} `json:"annotations"`
}

const dashboardFile = "grafana/dashboards/clipferry.json"

func theDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal(read(t, dashboardFile), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// scales are those that our metrics come in; short is a bare count, dthms are
// seconds as hours, minutes and seconds.
var scales = map[string]bool{"short": true, "s": true, "dthms": true, "bytes": true, "Bps": true, "ops": true, "percentunit": true}

func TestDashboardPanels(t *testing.T) {
	metrics, d := gather(t), theDashboard(t)
	ids, titles := map[int]bool{}, map[string]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || titles[p.Title] {
			t.Errorf("panel %d %q: its id or title is there twice or missing", p.ID, p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
		if p.Type == "row" {
			continue
		}
		if len(p.Description) < 20 {
			t.Errorf("%s: no description", p.Title)
		}
		if !scales[p.FieldConfig.Defaults.Unit] {
			t.Errorf("%s: unit %q", p.Title, p.FieldConfig.Defaults.Unit)
		}
		if p.Datasource.UID != "${datasource}" {
			t.Errorf("%s: is bound to one data source", p.Title)
		}
		if len(p.Targets) == 0 {
			t.Errorf("%s: shows nothing", p.Title)
		}
		for _, q := range p.Targets {
			if err := metrics.check(q.Expr); err != nil {
				t.Errorf("%s, query %s: %v", p.Title, q.RefID, err)
			}
			if p.Type == "timeseries" && q.LegendFormat == "" {
				t.Errorf("%s, query %s: no legend", p.Title, q.RefID)
			}
			for label := range strings.SplitSeq(q.LegendFormat, "{{") {
				if name, _, ok := strings.Cut(label, "}}"); ok && !strings.Contains(q.Expr, name) && name != "instance" {
					t.Errorf("%s, query %s: its legend names %s, which it groups away", p.Title, q.RefID, name)
				}
			}
		}
	}
	for _, a := range d.Annotations.List {
		if a.Expr != "" {
			if err := metrics.check(a.Expr); err != nil {
				t.Errorf("annotation: %v", err)
			}
		}
	}
	for _, v := range d.Templating.List {
		if v.Definition != "" {
			if err := metrics.check(v.Definition); err != nil {
				t.Errorf("variable %s: %v", v.Name, err)
			}
		}
	}
}

// TestDashboardLayout finds panels that overlap, stick out or leave a gap.
func TestDashboardLayout(t *testing.T) {
	taken := map[[2]int]string{}
	bottom := 0
	for _, p := range theDashboard(t).Panels {
		g := p.GridPos
		if g.W <= 0 || g.H <= 0 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("%s sticks out: %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("%s lies on %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		bottom = max(bottom, g.Y+g.H)
	}
	if want := 24 * bottom; len(taken) != want {
		t.Errorf("%d cells of the grid are empty", want-len(taken))
	}
}

// TestNothingIsShownAsWell finds panels that look alike when all is well and when
// nobody knows: a number needs a value for what it does not know, and what is left
// out of a graph needs words for an empty one.
func TestNothingIsShownAsWell(t *testing.T) {
	leftOut := regexp.MustCompile(`(> 0|>= 0|> -Inf)$`)
	for _, p := range theDashboard(t).Panels {
		all := len(p.Targets) > 0
		for _, q := range p.Targets {
			if p.Type == "stat" && q.RefID == "A" && !strings.Contains(q.Expr, " or vector(") && !strings.Contains(q.Expr, " or on () ") {
				t.Errorf("%s has no value for what nobody knows", p.Title)
			}
			if strings.HasPrefix(q.Expr, "histogram_quantile(") && !leftOut.MatchString(q.Expr) {
				t.Errorf("%s, query %s: a quantile of nothing draws an empty plot", p.Title, q.RefID)
			}
			all = all && leftOut.MatchString(q.Expr)
		}
		if all && p.FieldConfig.Defaults.NoValue == "" {
			t.Errorf("%s: says nothing when it is empty", p.Title)
		}
	}
}

// TestRareEventsAreSmoothed wants a window of four minutes at least for what happens
// a few times a minute at most: over a minute, one export an hour looks like sixty.
func TestRareEventsAreSmoothed(t *testing.T) {
	for _, p := range theDashboard(t).Panels {
		for _, q := range p.Targets {
			rare := strings.Contains(q.Expr, "* 3600") || strings.HasPrefix(q.Expr, "histogram_quantile(")
			if step, err := time.ParseDuration(q.Interval); rare && (err != nil || step < time.Minute) {
				t.Errorf("%s, query %s: its least step is %q", p.Title, q.RefID, q.Interval)
			}
		}
	}
}

// TestAlertsAreShownBySeverity wants an alert of each severity on the dashboard.
func TestAlertsAreShownBySeverity(t *testing.T) {
	var shown string
	for _, p := range theDashboard(t).Panels {
		for _, q := range p.Targets {
			if strings.Contains(q.Expr, "ALERTS{") {
				shown += q.Expr
			}
		}
	}
	for _, r := range rules(t) {
		if !strings.Contains(shown, fmt.Sprintf("severity=%q", r.Labels["severity"])) {
			t.Errorf("%s: no panel shows alerts of severity %s", r.Alert, r.Labels["severity"])
		}
	}
}

// TestEveryMetricIsShown wants every metric of ours on the dashboard or in an
// alert: one that nobody looks at is a mistake, here or there.
func TestEveryMetricIsShown(t *testing.T) {
	shown := string(read(t, dashboardFile)) + string(read(t, rulesFile))
	for name := range gather(t) {
		base := name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, suffix)
		}
		if strings.HasPrefix(name, "clipferry_") && base != "clipferry_build_info" && !strings.Contains(shown, base) {
			t.Errorf("%s is neither on the dashboard nor in an alert", base)
		}
	}
}

// TestPromtoolTakesTheQueries has promtool parse every query of the dashboard.
func TestPromtoolTakesTheQueries(t *testing.T) {
	var b strings.Builder
	b.WriteString("groups:\n- name: dashboard\n  rules:\n")
	n := 0
	for _, p := range theDashboard(t).Panels {
		for _, q := range p.Targets {
			n++
			expr := strings.NewReplacer("$__rate_interval", "1m", "$account", ".*").Replace(q.Expr)
			fmt.Fprintf(&b, "  - record: q:%d\n    expr: '%s'\n", n, strings.ReplaceAll(expr, "'", "''"))
		}
	}
	file := filepath.Join(t.TempDir(), "queries.yml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, filepath.Dir(file), "check", "rules", "--lint=none", file)
}
