// Package examples_test runs the examples against a whole fleet: clipferry-dev
// with its emulated provider, Redis and S3.
package examples_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/s3test"
)

// output is what a process has printed so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// fleet is what clipferry-dev says about itself.
type fleet struct{ url, key, redis, webhookSecret string }

var says = []*regexp.Regexp{
	regexp.MustCompile(`(http://127\.0\.0\.1:\d+)/monitor/`),
	regexp.MustCompile(`Bearer ([A-Za-z0-9._-]+)`),
	regexp.MustCompile(`CLIPFERRY_REDIS_URL='?(redis://[0-9.:/]+)`),
	regexp.MustCompile(`CLIPFERRY_WEBHOOK_SECRETS='(whsec_[^']+)'`),
}

func build(t *testing.T, packages ...string) string {
	t.Helper()
	dir := t.TempDir()
	args := append([]string{"build", "-o", dir + string(filepath.Separator)}, packages...)
	if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

func startFleet(t *testing.T, program string) fleet {
	t.Helper()
	cmd := exec.Command(program, "--serve", "--speed", "60", "--dir", t.TempDir())
	out := &output{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
			t.Error("clipferry-dev does not stop")
		}
	})
	for began := time.Now(); time.Since(began) < 2*time.Minute; time.Sleep(100 * time.Millisecond) {
		if !strings.Contains(out.String(), "Stop with Ctrl-C") {
			continue
		}
		var found []string
		for _, re := range says {
			m := re.FindStringSubmatch(out.String())
			if m == nil {
				t.Fatalf("clipferry-dev does not say %s:\n%s", re, out)
			}
			found = append(found, m[1])
		}
		return fleet{found[0], found[1], found[2], found[3]}
	}
	t.Fatalf("clipferry-dev does not serve:\n%s", out)
	return fleet{}
}

// run runs a command in a folder of its own and returns the lines of its stdout.
func run(t *testing.T, env []string, name string, args ...string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), env...)
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, out.String(), messages.String())
	}
	lines := strings.Fields(out.String())
	for _, line := range lines {
		if strings.HasSuffix(line, ".mp4") {
			if info, err := os.Stat(filepath.Join(cmd.Dir, line)); err != nil || info.Size() == 0 {
				t.Errorf("%s is not there or empty: %v", line, err)
			}
		}
	}
	return lines
}

func TestExamples(t *testing.T) {
	dir := build(t, "../cmd/clipferry-dev", "./producer", "./asynq", "./receiver")
	f := startFleet(t, filepath.Join(dir, "clipferry-dev"))
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	overHTTP := []string{"CLIPFERRY_URL=" + f.url, "CLIPFERRY_KEY=" + f.key, "POLL_SECONDS=0.2"}

	t.Run("a producer in Go", func(t *testing.T) {
		args := []string{"-redis", f.redis, "-project", "concert~clips=3", "-id", "order-1"}
		first := run(t, nil, filepath.Join(dir, "producer"), args...)
		if again := run(t, nil, filepath.Join(dir, "producer"), args...); !slices.Equal(first, []string{"order-1"}) || !slices.Equal(again, first) {
			t.Errorf("it prints %q, then %q", first, again)
		}
	})
	t.Run("bare Asynq", func(t *testing.T) {
		address := strings.TrimSuffix(strings.TrimPrefix(f.redis, "redis://"), "/0")
		got := run(t, nil, filepath.Join(dir, "asynq"), "-redis", address, "-project", "lecture", "-id", "order-2")
		if len(got) != 3 || got[0] != "order-2" || got[1] != "archived" || !strings.HasSuffix(got[2], "/manifest.json") {
			t.Errorf("it prints %q", got)
		}
	})
	t.Run("a receiver of webhooks", func(t *testing.T) {
		address := s3test.FreeAddr(t)
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "receiver"), "-listen", address)
		cmd.Env = append(os.Environ(), "WEBHOOK_SECRET="+f.webhookSecret)
		out := &output{}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
		run(t, nil, "curl", "-fsS", f.url+"/api/v2/clips/export", "-H", "Authorization: Bearer "+f.key, "-H", "x-wayinvideo-api-version: v2",
			"-H", "Content-Type: application/json", "-d", `{"project_id":"hooked~clips=1","job_id":"hooked","notify":{"webhook":"http://`+address+`/"}}`)
		for began := time.Now(); !strings.Contains(out.String(), "export.archived default.hooked archived exports/"); time.Sleep(50 * time.Millisecond) {
			if time.Since(began) > 2*time.Minute {
				t.Fatalf("it prints %q", out)
			}
		}
	})
	for name, command := range map[string][]string{
		"curl":   {"bash", filepath.Join(here, "order.sh"), "curl", "jq"},
		"Python": {"python3", filepath.Join(here, "order.py")},
	} {
		t.Run(name, func(t *testing.T) {
			for _, needs := range append(command[2:], command[0]) {
				if _, err := exec.LookPath(needs); err != nil {
					t.Skipf("%s is not installed", needs)
				}
			}
			if got := run(t, overHTTP, command[0], command[1], "interview", name+"-3"); len(got) == 0 || got[0] != name+"-3-0.mp4" {
				t.Errorf("it downloads %q", got)
			}
		})
	}
}
