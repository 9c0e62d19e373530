package storage

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const (
	childEnv   = "CLIPFERRY_STORAGE_TEST_CHILD"
	presignTTL = time.Minute
)

func child(string) int { return 0 }

func TestMain(m *testing.M) {
	if run := os.Getenv(childEnv); run != "" {
		os.Exit(child(run))
	}
	goleak.VerifyTestMain(m)
}
