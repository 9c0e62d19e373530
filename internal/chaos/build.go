package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// skewVariable tells a binary of buildSkewed by how many seconds its clock is off.
const skewVariable = "CHAOS_CLOCK_SKEW"

const program = "github.com/clipferry/clipferry/cmd/clipferry"

// build makes the production binary in dir.
func build(ctx context.Context, dir string) (string, error) {
	return goBuild(ctx, filepath.Join(dir, "clipferry"))
}

// buildSkewed makes it with a clock that can be wrong: the same source, over a
// package time whose Now adds the seconds of skewVariable. The machine's clock
// is everybody's, and libfaketime does not reach Go programs.
func buildSkewed(ctx context.Context, dir string) (string, error) {
	overlay, err := skewedTime(ctx, dir)
	if err != nil {
		return "", fmt.Errorf("a clock that can be wrong: %w", err)
	}
	return goBuild(ctx, filepath.Join(dir, "clipferry-skewed"), "-overlay", overlay)
}

func goBuild(ctx context.Context, out string, flags ...string) (string, error) {
	args := append([]string{"build", "-o", out}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, program)...)
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", program, err, said)
	}
	return out, nil
}

const skewSource = `package time

import "syscall"

// chaosSkew is what Now is off, in seconds.
var chaosSkew = readChaosSkew()

func readChaosSkew() (n int64) {
	s, _ := syscall.Getenv("` + skewVariable + `")
	sign := int64(1)
	for i := 0; i < len(s); i++ {
		if s[i] == '-' {
			sign = -1
			continue
		}
		n = n*10 + int64(s[i]-'0')
	}
	return sign * n
}
`

// skewedTime writes what stands for package time and returns the overlay's path.
func skewedTime(ctx context.Context, dir string) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	clock, err := os.ReadFile(filepath.Join(source, "time.go"))
	if err != nil {
		return "", err
	}
	const now = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	patched := strings.Replace(string(clock), now, now+"\tsec += chaosSkew\n", 1)
	if patched == string(clock) {
		return "", errors.New("time.Now of this Go version is not the one that is known here; run with -skew=false")
	}
	replaced := map[string]string{}
	for name, text := range map[string]string{"time.go": patched, "chaos_skew.go": skewSource} {
		path := filepath.Join(dir, "skewed_"+name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return "", err
		}
		replaced[filepath.Join(source, name)] = path
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, overlay, 0o644)
}
