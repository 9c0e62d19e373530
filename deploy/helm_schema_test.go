package deploy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestTheChartRefusesWhatItDoesNotKnow(t *testing.T) {
	render(t) // so that what follows is refused for its values
	for name, set := range map[string]string{
		"a value":                       "replicas=3",
		"a value of the worker":         "worker.replica=3",
		"a value of autoscaling":        "worker.autoscaling.min=3",
		"a resource":                    "serve.resources.limit.memory=1Gi",
		"the name of a resource":        "worker.resources.limits.memroy=1Gi",
		"a term of the affinity":        "worker.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologykey=zone",
		"a variable":                    "config.CLIPFERRY_S3_BUKET=b",
		"a secret in the ConfigMap":     "config.CLIPFERRY_API_KEY=k",
		"a value of the image":          "image.name=x",
		"a digest that is none":         "image.digest=latest",
		"a value of the ingress":        "ingress.hosts[0]=x",
		"a value of the monitoring":     "monitoring.serviceMonitor.enabled=true",
		"a field of a NetworkPolicy":    "networkPolicy.from[0].podselector.x=y",
		"a field of a selector":         "networkPolicy.from[0].podSelector.labels.x=y",
		"a policy without Redis":        "networkPolicy.enabled=true",
		"a field of a secret's key":     "extraEnv[0].name=AWS_REGION,extraEnv[0].valueFrom.secretKeyRef.secret=x",
		"a field of the affinity":       "worker.affinity.podAntiAffinity.preferred[0].weight=1",
		"a grace that is too short":     "worker.terminationGracePeriodSeconds=10",
		"an ingress without a host":     "ingress.enabled=true",
		"a variable that is no secret":  "secret.create.CLIPFERRY_S3_BUCKET=b",
		"a variable in extraEnv":        "extraEnv[0].name=CLIPFERRY_NO",
		"an ingress without its server": "ingress.enabled=true,ingress.host=h,serve.enabled=false",
	} {
		if _, err := helm(t, "template", "clipferry", chart, "--set", set); err == nil {
			t.Errorf("%s: takes %s", name, set)
		}
	}
}

// TestTheChartRefusesAMisspelledFieldAtEachLevel puts one into every object of values that
// set all there is. Only labels, annotations and their like have names of their own.
func TestTheChartRefusesAMisspelledFieldAtEachLevel(t *testing.T) {
	var values, all map[string]any
	for file, into := range map[string]*map[string]any{chart + "/values.yaml": &values, "helm/testdata/all.yaml": &all} {
		if err := yaml.Unmarshal(read(t, file), into); err != nil {
			t.Fatal(err)
		}
	}
	var paths []string
	misspell(merge(values, all), "", &paths)
	text, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "misspelled.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = helm(t, "template", "clipferry", chart, "--values", file)
	if err == nil || len(paths) < 40 {
		t.Fatalf("of %d levels: %v", len(paths), err)
	}
	for _, path := range paths {
		if !strings.Contains(err.Error(), "at '"+path+"': additional properties 'misspelled' not allowed") {
			t.Errorf("at %q a misspelled field is taken", path)
		}
	}
}

// merge puts what over has into what base has.
func merge(base, over map[string]any) map[string]any {
	for name, value := range over {
		below, is := value.(map[string]any)
		if under, has := base[name].(map[string]any); is && has {
			value = merge(under, below)
		}
		base[name] = value
	}
	return base
}

// named are fields below which names are the user's own, or of which the schema has a
// list: helm names another field for one of those that is not in it.
var named = regexp.MustCompile(`/(annotations|labels|podLabels|podAnnotations|nodeSelector|matchLabels|config|create|requests|limits)$`)

// misspell puts a field that nobody knows into every object at and below path, and adds
// their paths.
func misspell(value any, path string, paths *[]string) {
	switch value := value.(type) {
	case map[string]any:
		for name, below := range value {
			misspell(below, path+"/"+name, paths)
		}
		if !named.MatchString(path) {
			value["misspelled"] = "x"
			*paths = append(*paths, path)
		}
	case []any:
		for i, below := range value {
			misspell(below, fmt.Sprintf("%s/%d", path, i), paths)
		}
	}
}
