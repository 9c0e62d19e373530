package storage

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const (
	childEnv   = "CLIPFERRY_STORAGE_TEST_CHILD"
	presignTTL = time.Minute
)

// child is what the test binary does when a test has started it as a process.
func child(run string) int {
	runs := map[string]func() error{"bench": benchChild, "mirror": mirrorChild}
	if err := runs[run](); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func TestMain(m *testing.M) {
	if run := os.Getenv(childEnv); run != "" {
		os.Exit(child(run))
	}
	goleak.VerifyTestMain(m)
}
