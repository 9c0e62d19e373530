package deploy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/clipferry/clipferry/config" //nolint:depguard // the files here set the program's variables
)

const chart = "helm/clipferry"

// tool finds a program in the path, or where .ci/check builds it. Without it the
// test is skipped.
func tool(t *testing.T, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	if cache, err := os.UserCacheDir(); err == nil {
		if path, err := exec.LookPath(filepath.Join(cache, "clipferry-test", "bin", name)); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed; .ci/check tools builds it", name)
	return ""
}

// helm runs a command of helm's and returns what it prints; what it says of the
// chart's symbolic links is of no interest.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	// A helm that was built by go install takes Kubernetes for 1.20.
	cmd := exec.CommandContext(t.Context(), tool(t, "helm"), append(args, "--kube-version", "1.34.0")...)
	home := t.TempDir() // neither a person's settings nor plugins
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG="+os.DevNull)
	var out, faults bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &faults
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("helm %s: %w\n%s%s", strings.Join(args, " "), err, out.String(), faults.String())
	}
	return out.String(), nil
}

func render(t *testing.T, args ...string) string {
	t.Helper()
	out, err := helm(t, append([]string{"template", "clipferry", chart, "--namespace", "clipferry"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTheChartIsWellFormed(t *testing.T) {
	for _, values := range []string{"helm/testdata/plain.yaml", "helm/testdata/all.yaml"} {
		if _, err := helm(t, "lint", "--strict", chart, "--values", values); err != nil {
			t.Error(err)
		}
	}
	if _, err := helm(t, "lint", "--strict", chart); err != nil {
		t.Error(err)
	}
}

// objects are the objects in YAML by kind and name, in the form in which the two
// ways to deploy are compared: without what only one of them has.
func objects(t *testing.T, text string) map[string]map[string]any {
	t.Helper()
	found := map[string]map[string]any{}
	dec := yaml.NewDecoder(strings.NewReader(text))
	for {
		var o map[string]any
		if err := dec.Decode(&o); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if o == nil {
			continue
		}
		meta, _ := o["metadata"].(map[string]any)
		delete(meta, "labels") // kustomize adds its own; those of pods are compared
		found[fmt.Sprint(o["kind"], "/", meta["name"])] = o
	}
}

// ofHelm are labels and annotations that only the chart sets.
var ofHelm = []string{
	"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart", "checksum/config",
}

// plainly removes what only the chart sets, and maps that are empty then.
func plainly(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			if slices.Contains(ofHelm, key) {
				delete(v, key)
				continue
			}
			v[key] = plainly(inner)
			if m, ok := v[key].(map[string]any); ok && len(m) == 0 {
				delete(v, key)
			}
		}
	case []any:
		for i := range v {
			v[i] = plainly(v[i])
		}
	}
	return value
}

// TestTheChartMakesThePlainManifests compares what the two make, field by field.
func TestTheChartMakesThePlainManifests(t *testing.T) {
	made := objects(t, render(t, "--values", "helm/testdata/plain.yaml"))
	files, err := filepath.Glob("kubernetes/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var kustomization struct {
		Images []struct {
			Name    string `yaml:"name"`
			NewName string `yaml:"newName"`
			NewTag  string `yaml:"newTag"`
		} `yaml:"images"`
	}
	if err := yaml.Unmarshal(read(t, "kubernetes/kustomization.yaml"), &kustomization); err != nil || len(kustomization.Images) != 1 {
		t.Fatalf("%d images, %v", len(kustomization.Images), err)
	}
	image := kustomization.Images[0]
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" || filepath.Base(file) == "secret.example.yaml" {
			continue
		}
		text := strings.ReplaceAll(string(read(t, file)), "image: "+image.Name+"\n", "image: "+image.NewName+":"+image.NewTag+"\n")
		for name, want := range objects(t, text) {
			got, ok := made[name]
			delete(made, name)
			if !ok {
				t.Errorf("the chart makes no %s", name)
			} else if found := difference(plainly(want), plainly(got)); found != "" {
				t.Errorf("the chart does not make what %s has: %s%s", file, name, found)
			}
		}
	}
	for name := range made {
		t.Errorf("only the chart makes %s", name)
	}
}

// difference describes the first place where two values differ; it is empty where
// they are equal.
func difference(a, b any) string {
	am, aIs := a.(map[string]any)
	bm, bIs := b.(map[string]any)
	if aIs && bIs {
		keys := maps.Clone(am)
		maps.Copy(keys, bm)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			if found := difference(am[key], bm[key]); found != "" {
				return "." + key + found
			}
		}
		return ""
	}
	as, aIs := a.([]any)
	bs, bIs := b.([]any)
	if aIs && bIs && len(as) == len(bs) {
		for i := range as {
			if found := difference(as[i], bs[i]); found != "" {
				return fmt.Sprintf("[%d]%s", i, found)
			}
		}
		return ""
	}
	if reflect.DeepEqual(a, b) {
		return ""
	}
	return fmt.Sprintf(" is %v, not %v", b, a)
}

func TestTheIngressLetsOnlyTheAPIIn(t *testing.T) {
	made := objects(t, render(t, "--values", "helm/testdata/all.yaml"))
	ingress, err := yaml.Marshal(made["Ingress/clips"])
	if err != nil {
		t.Fatal(err)
	}
	paths := regexp.MustCompile(`(?m) path: (.*)$`).FindAllStringSubmatch(string(ingress), -1)
	var got []string
	for _, m := range paths {
		got = append(got, m[1])
	}
	if !slices.Equal(got, []string{"/api/", "/clips/", "/archive/"}) {
		t.Errorf("the ingress passes %q", got)
	}
}

// Links of a server behind an ingress that terminates TLS would start with http:// by themselves.
func TestLinksBehindTheIngressAreHTTPS(t *testing.T) {
	for set, want := range map[string]any{
		"ingress.enabled=true,ingress.host=clips.example.com,ingress.tlsSecret=tls":                                                          "https://clips.example.com",
		"ingress.enabled=true,ingress.host=clips.example.com":                                                                                nil,
		"ingress.host=clips.example.com,ingress.tlsSecret=tls":                                                                               nil,
		"ingress.enabled=true,ingress.host=clips.example.com,ingress.tlsSecret=tls,config.CLIPFERRY_HTTP_PUBLIC_URL=https://cdn.example.com": "https://cdn.example.com",
	} {
		data, _ := objects(t, render(t, "--set", set))["ConfigMap/clipferry"]["data"].(map[string]any)
		if got := data["CLIPFERRY_HTTP_PUBLIC_URL"]; got != want {
			t.Errorf("%s: links start with %v, not %v", set, got, want)
		}
	}
}

func TestAChangeOfTheConfigRollsThePods(t *testing.T) {
	sum := regexp.MustCompile(`checksum/config: (\S+)`)
	before := sum.FindAllString(render(t, "--set", "config.CLIPFERRY_S3_BUCKET=a"), -1)
	after := sum.FindAllString(render(t, "--set", "config.CLIPFERRY_S3_BUCKET=b"), -1)
	if len(before) != 2 || len(after) != 2 || before[0] == after[0] || before[1] == after[1] {
		t.Errorf("the checksums are %q and %q", before, after)
	}
}

func TestTheChartCarriesTheAlertsAndTheDashboard(t *testing.T) {
	made := objects(t, render(t, "--values", "helm/testdata/all.yaml"))
	var rules map[string]any
	if err := yaml.Unmarshal(read(t, "prometheus/alerts.yml"), &rules); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(made["PrometheusRule/clips"]["spec"], rules) {
		t.Error("the PrometheusRule has other rules than prometheus/alerts.yml")
	}
	data, _ := made["ConfigMap/clips-dashboard"]["data"].(map[string]any)
	if text, _ := data["clipferry.json"].(string); strings.TrimSpace(text) != strings.TrimSpace(string(read(t, "grafana/dashboards/clipferry.json"))) {
		t.Error("the ConfigMap has another dashboard than grafana/dashboards/clipferry.json")
	}
}

// secretVariable are variables that belong into a Secret; CLIPFERRY_REDIS_URL may
// hold a password.
var secretVariable = regexp.MustCompile(`_(KEYS?|SECRETS?|AUTH)$|^CLIPFERRY_REDIS_URL$`)

// byTheChart are variables that the chart sets by itself.
var byTheChart = []string{"CLIPFERRY_HTTP_ADDR", "CLIPFERRY_API_KEY_FILE"}

// TestTheChartKnowsTheVariables holds the names that values.schema.json accepts to
// those of the program.
func TestTheChartKnowsTheVariables(t *testing.T) {
	var plain, secret []string
	for _, v := range config.Variables() {
		switch {
		case slices.Contains(byTheChart, v.Name):
		case secretVariable.MatchString(v.Name):
			secret = append(secret, v.Name)
		default:
			plain = append(plain, v.Name)
		}
	}
	plain = append(plain, "CLIPFERRY_REDIS_URL")
	file := filepath.Join(chart, "values.schema.json")
	schema := string(read(t, file))
	want := setEnum(setEnum(schema, "variable", plain), "secretVariable", secret)
	if schema == want {
		return
	}
	if !*update {
		t.Fatalf("%s does not know the program's variables; run go test ./deploy -run Variables -update", file)
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func setEnum(schema, def string, names []string) string {
	list, err := json.MarshalIndent(names, "      ", "  ")
	if err != nil {
		panic(err) // strings
	}
	at := regexp.MustCompile(`("` + def + `": \{\s*"enum": )\[[^\]]*\]`)
	return at.ReplaceAllString(schema, "${1}"+string(list))
}

// TestKubeconform checks manifests and charts against the schemas in the folder
// that KUBECONFORM_SCHEMAS names, or anywhere else that kubeconform takes for
// -schema-location, several with commas between.
func TestKubeconform(t *testing.T) {
	schemas := os.Getenv("KUBECONFORM_SCHEMAS")
	if schemas == "" {
		t.Skip("KUBECONFORM_SCHEMAS does not say where the schemas are")
	}
	args := []string{"-strict", "-summary", "-ignore-filename-pattern", "kustomization"}
	for where := range strings.SplitSeq(schemas, ",") {
		args = append(args, "-schema-location", where)
	}
	dir := t.TempDir()
	for name, extra := range map[string][]string{
		"default": nil, "plain": {"--values", "helm/testdata/plain.yaml"}, "all": {"--values", "helm/testdata/all.yaml"},
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(render(t, extra...)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), tool(t, "kubeconform"), append(args, "kubernetes", dir)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
