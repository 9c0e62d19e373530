package deploy_test

import (
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

const rulesFile = "prometheus/alerts.yml"

func rules(t *testing.T) []rule {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	dec := yaml.NewDecoder(strings.NewReader(string(read(t, rulesFile))))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

var heading = regexp.MustCompile(`(?m)^#{2,4} (.+)$`)

// sections are the anchors of the runbook's headings, as GitHub makes them.
func sections(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(string(read(t, "../docs/operations.md")), -1) {
		found[strings.ToLower(strings.ReplaceAll(strings.Trim(m[1], "` "), " ", "-"))] = true
	}
	return found
}

func TestAlerts(t *testing.T) {
	metrics, runbook := gather(t), sections(t)
	seen := map[string]bool{}
	for _, r := range rules(t) {
		if seen[r.Alert] || !strings.HasPrefix(r.Alert, "Clipferry") {
			t.Errorf("alert %q is there twice or not named Clipferry…", r.Alert)
		}
		seen[r.Alert] = true
		if err := metrics.check(r.Expr); err != nil {
			t.Errorf("%s: %v", r.Alert, err)
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" && s != "info" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		for _, name := range []string{"summary", "description"} {
			if len(r.Annotations[name]) < 20 {
				t.Errorf("%s: %s %q says nothing", r.Alert, name, r.Annotations[name])
			}
		}
		page, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "#")
		if page != "https://github.com/clipferry/clipferry/blob/main/docs/operations.md" || anchor != strings.ToLower(r.Alert) {
			t.Errorf("%s: runbook_url is %q", r.Alert, r.Annotations["runbook_url"])
		}
		if !runbook[anchor] {
			t.Errorf("%s has no section in docs/operations.md", r.Alert)
		}
	}
	for section := range runbook {
		if strings.HasPrefix(section, "clipferry") && !strings.Contains(section, "-") && !hasAlert(seen, section) {
			t.Errorf("docs/operations.md has a section for the alert %s, which isn't there", section)
		}
	}
}

func hasAlert(alerts map[string]bool, section string) bool {
	for name := range alerts {
		if strings.EqualFold(name, section) {
			return true
		}
	}
	return false
}

func TestPromtoolTakesRulesAndConfiguration(t *testing.T) {
	promtool(t, "prometheus", "check", "config", "prometheus.yml")
}
