package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/clipferry/clipferry/config" //nolint:depguard // the files here set the program's variables
)

type compose struct {
	Services map[string]struct {
		Image       string             `yaml:"image"`
		Command     any                `yaml:"command"`
		Environment map[string]*string `yaml:"environment"`
		Volumes     []string           `yaml:"volumes"`
		Ports       []string           `yaml:"ports"`
		ReadOnly    bool               `yaml:"read_only"`
		Grace       string             `yaml:"stop_grace_period"`
		DependsOn   any                `yaml:"depends_on"`
		Deploy      struct {
			Replicas int `yaml:"replicas"`
		} `yaml:"deploy"`
	} `yaml:"services"`
	Volumes map[string]any `yaml:"volumes"`
}

func theCompose(t *testing.T) compose {
	t.Helper()
	var c compose
	if err := yaml.Unmarshal(read(t, "compose.yaml"), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// variables are the names of all of clipferry's variables.
func variables() map[string]bool {
	known := map[string]bool{}
	for _, v := range config.Variables() {
		known[v.Name] = true
	}
	return known
}

// checkVariables holds names with our prefix to what the program knows, as the
// program itself does at its start.
func checkVariables(t *testing.T, where string, names []string) {
	t.Helper()
	known := variables()
	for _, name := range names {
		if strings.HasPrefix(name, "CLIPFERRY_") && !known[name] {
			t.Errorf("%s sets %s, which the program doesn't know", where, name)
		}
	}
}

// notInCompose are variables that mean nothing in its container: a file that it does not
// have, a drain longer than its grace, and pages for a loopback address.
var notInCompose = []string{"CLIPFERRY_API_KEY_FILE", "CLIPFERRY_SHUTDOWN_TIMEOUT", "CLIPFERRY_MONITOR_OPEN"}

var pinned = regexp.MustCompile(`^[a-z0-9./-]+:v?\d+\.\d+\.\d+[a-z0-9.-]*$`)

func TestCompose(t *testing.T) {
	c := theCompose(t)
	for name, s := range c.Services {
		if s.Image != "clipferry:dev" && !pinned.MatchString(s.Image) {
			t.Errorf("%s: image %q is not pinned to a version", name, s.Image)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to the network", name, p)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if _, named := c.Volumes[from]; named {
				continue
			}
			if _, err := os.Stat(from); err != nil {
				t.Errorf("%s: volume %s: %v", name, v, err)
			}
		}
		if !s.ReadOnly && name != "bucket" {
			t.Errorf("%s can write to its image", name)
		}
	}
	w := c.Services["worker"]
	if w.Deploy.Replicas != 2 {
		t.Errorf("%d workers", w.Deploy.Replicas)
	}
	var names []string
	for name := range w.Environment {
		names = append(names, name)
	}
	checkVariables(t, "compose.yaml", names)
	for name := range variables() {
		if _, passed := w.Environment[name]; !passed && !slices.Contains(notInCompose, name) {
			t.Errorf("compose.yaml does not pass on %s", name)
		}
	}
	if grace, err := time.ParseDuration(w.Grace); err != nil || grace < drain(t)+10*time.Second {
		t.Errorf("stop_grace_period %q is too short for a drain of %s", w.Grace, drain(t))
	}
	redis, _ := c.Services["redis"].Command.(string)
	for _, want := range []string{"--appendonly yes", "--maxmemory-policy noeviction", "--maxmemory "} {
		if !strings.Contains(redis, want) {
			t.Errorf("Redis runs without %s", want)
		}
	}
}

// drain is how long a worker may take to stop, by default.
func drain(t *testing.T) time.Duration {
	t.Helper()
	for _, v := range config.Variables() {
		if v.Name == "CLIPFERRY_SHUTDOWN_TIMEOUT" {
			d, err := time.ParseDuration(v.Default)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
	}
	t.Fatal("CLIPFERRY_SHUTDOWN_TIMEOUT is unknown")
	return 0
}

// TestRedisTakesItsCommandLine starts a Redis as compose.yaml does.
func TestRedisTakesItsCommandLine(t *testing.T) {
	server, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	command, _ := theCompose(t).Services["redis"].Command.(string)
	args := strings.Fields(command)[1:]
	args = append(args, "--port", "0", "--dir", t.TempDir(), "--unixsocket", filepath.Join(t.TempDir(), "s"), "--shutdown-on-sigterm", "now")
	cmd := exec.CommandContext(t.Context(), server, args...)
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // killed, or its own complaint is in out
	}()
	select {
	case <-ended:
		t.Errorf("Redis refuses %s:\n%s", command, out)
	case <-time.After(time.Second):
		_ = cmd.Process.Kill()
		<-ended
	}
}

// TestDockerComposeTakesIt runs docker's own check where the plugin is there.
func TestDockerComposeTakesIt(t *testing.T) {
	if err := exec.CommandContext(t.Context(), "docker", "compose", "version").Run(); err != nil {
		t.Skip("docker compose is not installed")
	}
	cmd := exec.CommandContext(t.Context(), "docker", "compose", "-f", "compose.yaml", "config", "--quiet")
	cmd.Env = append(os.Environ(), "CLIPFERRY_API_KEY=x")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestGrafanaFindsPrometheusAndTheDashboard(t *testing.T) {
	var sources struct {
		Datasources []struct{ URL, Type string } `yaml:"datasources"`
	}
	if err := yaml.Unmarshal(read(t, "grafana/provisioning/datasources/prometheus.yaml"), &sources); err != nil {
		t.Fatal(err)
	}
	if len(sources.Datasources) != 1 || sources.Datasources[0].URL != "http://prometheus:9090" {
		t.Errorf("data sources %+v", sources)
	}
	var boards struct {
		Providers []struct {
			Options struct {
				Path string `yaml:"path"`
			} `yaml:"options"`
		} `yaml:"providers"`
	}
	if err := yaml.Unmarshal(read(t, "grafana/provisioning/dashboards/clipferry.yaml"), &boards); err != nil {
		t.Fatal(err)
	}
	mounted := strings.Join(theCompose(t).Services["grafana"].Volumes, " ")
	if len(boards.Providers) != 1 || !strings.Contains(mounted, "./grafana/dashboards:"+boards.Providers[0].Options.Path+":ro") {
		t.Errorf("Grafana looks for dashboards in %+v; mounted is %s", boards.Providers, mounted)
	}
}
