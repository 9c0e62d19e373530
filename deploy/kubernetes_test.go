package deploy_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// object is the part of a manifest that is checked here.
type object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Data       map[string]string `yaml:"data"`
	StringData map[string]string `yaml:"stringData"`
	Resources  []string          `yaml:"resources"`
	Spec       struct {
		Selector       any `yaml:"selector"`
		MaxUnavailable int `yaml:"maxUnavailable"`
		Template       struct {
			Metadata struct {
				Labels map[string]string `yaml:"labels"`
			} `yaml:"metadata"`
			Spec pod `yaml:"spec"`
		} `yaml:"template"`
		ScaleTargetRef  struct{ Name string }                  `yaml:"scaleTargetRef"`
		MinReplicaCount int                                    `yaml:"minReplicaCount"`
		Triggers        []struct{ Metadata map[string]string } `yaml:"triggers"`
	} `yaml:"spec"`
}

type pod struct {
	Grace              int    `yaml:"terminationGracePeriodSeconds"`
	EnableServiceLinks *bool  `yaml:"enableServiceLinks"`
	ServiceAccountName string `yaml:"serviceAccountName"`
	SecurityContext    struct {
		RunAsNonRoot bool `yaml:"runAsNonRoot"`
		RunAsUser    int  `yaml:"runAsUser"`
	} `yaml:"securityContext"`
	Containers []struct {
		Image          string   `yaml:"image"`
		Args           []string `yaml:"args"`
		StartupProbe   probe    `yaml:"startupProbe"`
		LivenessProbe  probe    `yaml:"livenessProbe"`
		ReadinessProbe probe    `yaml:"readinessProbe"`
		Ports          []struct {
			Name          string `yaml:"name"`
			ContainerPort int    `yaml:"containerPort"`
		} `yaml:"ports"`
		Resources struct {
			Requests, Limits map[string]string
		} `yaml:"resources"`
		SecurityContext struct {
			AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
			ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
			Capabilities             struct{ Drop []string }
		} `yaml:"securityContext"`
	} `yaml:"containers"`
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// manifests are all objects by kind and name, such as Service/clipferry. Every
// field is also read as it stands, so that a key that is there twice is an error.
func manifests(t *testing.T) map[string]object {
	t.Helper()
	files, err := filepath.Glob("kubernetes/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d manifests, %v", len(files), err)
	}
	found := map[string]object{}
	for _, file := range files {
		dec := yaml.NewDecoder(bytes.NewReader(read(t, file)))
		for {
			var node yaml.Node
			if err := dec.Decode(&node); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			var o object
			var whole map[string]any
			if err := errors.Join(node.Decode(&o), node.Decode(&whole)); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			name := o.Kind + "/" + o.Metadata.Name
			if _, twice := found[name]; twice || o.APIVersion == "" || o.Kind == "" {
				t.Fatalf("%s: a second %q, or one without apiVersion", file, name)
			}
			found[name] = o
		}
	}
	return found
}

func TestDeployments(t *testing.T) {
	all := manifests(t)
	for _, command := range []string{"worker", "serve"} {
		t.Run(command, func(t *testing.T) { checkDeployment(t, all, command) })
	}
}

func checkDeployment(t *testing.T, all map[string]object, command string) {
	p := all["Deployment/clipferry-"+command].Spec.Template.Spec
	if grace := time.Duration(p.Grace) * time.Second; grace < drain(t)+10*time.Second || grace > 2*time.Minute {
		t.Errorf("a grace of %s for a drain of %s", grace, drain(t))
	}
	if !p.SecurityContext.RunAsNonRoot || p.SecurityContext.RunAsUser == 0 {
		t.Error("runs as root")
	}
	if p.EnableServiceLinks == nil || *p.EnableServiceLinks {
		t.Error("Kubernetes adds CLIPFERRY_PORT and the like, which the program refuses as unknown")
	}
	if p.ServiceAccountName != all["ServiceAccount/clipferry"].Metadata.Name {
		t.Errorf("service account %q is not there", p.ServiceAccountName)
	}
	if len(p.Containers) != 1 {
		t.Fatalf("%d containers", len(p.Containers))
	}
	c := p.Containers[0]
	if !slices.Equal(c.Args, []string{command}) {
		t.Errorf("runs %q", c.Args)
	}
	if s := c.SecurityContext; !s.ReadOnlyRootFilesystem || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) {
		t.Errorf("security context %+v", s)
	}
	if c.LivenessProbe.HTTPGet.Path != "/healthz" || c.StartupProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe.HTTPGet.Path != "/readyz" {
		t.Error("the probes do not ask /healthz and /readyz")
	}
	for _, p := range []probe{c.LivenessProbe, c.StartupProbe, c.ReadinessProbe} {
		if p.HTTPGet.Port != c.Ports[0].Name {
			t.Errorf("a probe asks port %s", p.HTTPGet.Port)
		}
	}
	if c.Resources.Requests["memory"] == "" || c.Resources.Requests["cpu"] == "" || c.Resources.Limits["memory"] == "" {
		t.Errorf("resources %+v", c.Resources)
	}
	if addr := all["ConfigMap/clipferry"].Data["CLIPFERRY_HTTP_ADDR"]; addr != "0.0.0.0:8080" || c.Ports[0].ContainerPort != 8080 {
		t.Errorf("listens on %s, and the port is %d", addr, c.Ports[0].ContainerPort)
	}
}

func TestManifestsFitTogether(t *testing.T) {
	all := manifests(t)
	for _, name := range []string{"ConfigMap/clipferry", "Secret/clipferry"} {
		names := slices.Collect(maps.Keys(all[name].Data))
		checkVariables(t, name, append(names, slices.Collect(maps.Keys(all[name].StringData))...))
	}
	for name, command := range map[string]string{
		"Deployment/clipferry-worker": "worker", "PodDisruptionBudget/clipferry-worker": "worker",
		"Deployment/clipferry-serve": "serve", "PodDisruptionBudget/clipferry-serve": "serve", "Service/clipferry": "serve",
		"PodMonitor/clipferry": "worker",
	} {
		labels := all["Deployment/clipferry-"+command].Spec.Template.Metadata.Labels
		selector, _ := all[name].Spec.Selector.(map[string]any)
		if inner, ok := selector["matchLabels"].(map[string]any); ok {
			selector = inner
		}
		if len(selector) == 0 {
			t.Errorf("%s selects nothing", name)
		}
		for label, value := range selector {
			if labels[label] != value {
				t.Errorf("%s selects %s=%v, and the pods have %q", name, label, value, labels[label])
			}
		}
	}
	scaled := all["ScaledObject/clipferry-worker"].Spec
	if scaled.ScaleTargetRef.Name != "clipferry-worker" || scaled.MinReplicaCount < 2 || len(scaled.Triggers) != 1 {
		t.Errorf("scaling %+v", scaled)
	}
	if err := gather(t).check(scaled.Triggers[0].Metadata["query"]); err != nil {
		t.Errorf("scaling: %v", err)
	}
	for _, file := range all["Kustomization/"].Resources {
		if _, err := os.Stat(filepath.Join("kubernetes", file)); err != nil {
			t.Error(err)
		}
		if strings.Contains(file, "secret") {
			t.Errorf("%s would put an example's secrets into the cluster", file)
		}
	}
}
