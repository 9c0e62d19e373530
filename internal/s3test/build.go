package s3test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

const versitygwVersion = "v1.8.0"

// versitygw returns the path of a versitygw.
func versitygw(t testing.TB) string {
	t.Helper()
	return program(t, "CLIPFERRY_TEST_VERSITYGW", "versitygw", "versitygw-"+versitygwVersion, func(out string) *exec.Cmd {
		c := exec.Command("go", "install", "-ldflags=-s -w", "github.com/versity/versitygw/cmd/versitygw@"+versitygwVersion)
		c.Env = append(os.Environ(), "GOBIN="+filepath.Dir(out), "GOFLAGS=")
		return c
	})
}

// Rclone returns the path of an rclone that can serve s3 and copy.
func Rclone(t testing.TB) string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	return program(t, "CLIPFERRY_TEST_RCLONE", "", "rclone-1.76.0", func(out string) *exec.Cmd {
		c := exec.Command("go", "build", "-ldflags=-s -w", "-o", filepath.Join(filepath.Dir(out), "rclone"), ".")
		c.Dir = filepath.Join(filepath.Dir(here), "rclone")
		c.Env = append(os.Environ(), "GOFLAGS=")
		return c
	})
}

// program finds a program by its environment variable, in the PATH (unless onPath
// is empty) or in the cache, and builds it there if need be. The build writes the
// program into the directory of its argument, which is then moved into its place.
func program(t testing.TB, env, onPath, cached string, build func(out string) *exec.Cmd) string {
	t.Helper()
	if p := os.Getenv(env); p != "" {
		return p
	}
	if onPath != "" {
		if p, err := exec.LookPath(onPath); err == nil {
			return p
		}
	}
	p, err := cache(t, cached, build)
	if err != nil {
		t.Fatalf("building %s (or set %s): %v", cached, env, err)
	}
	return p
}

func cache(t testing.TB, name string, build func(out string) *exec.Cmd) (string, error) {
	t.Helper()
	root, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "clipferry-test", "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	unlock, err := lockFile(path + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	t.Logf("building %s, once", name)
	tmp, err := os.MkdirTemp(dir, name+"-*")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if out, err := build(filepath.Join(tmp, name)).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	built, err := os.ReadDir(tmp)
	if err != nil || len(built) != 1 {
		return "", fmt.Errorf("the build left %d files: %w", len(built), err)
	}
	return path, os.Rename(filepath.Join(tmp, built[0].Name()), path)
}
