package tasks

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestWhatAProducerPullsIn lists the modules behind this package. A new one is
// a decision: a producer compiles and trusts all of them.
func TestWhatAProducerPullsIn(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	modules := strings.Fields(string(out))
	slices.Sort(modules)
	modules = slices.Compact(modules)
	allowed := []string{
		"github.com/cespare/xxhash/v2",
		"github.com/clipferry/clipferry",
		"github.com/google/uuid",
		"github.com/hibiken/asynq",
		"github.com/redis/go-redis/v9",
		"github.com/robfig/cron/v3",
		"github.com/spf13/cast",
		"go.uber.org/atomic",
		"golang.org/x/sys",
		"golang.org/x/time",
		"google.golang.org/protobuf",
	}
	for _, m := range modules {
		if !slices.Contains(allowed, m) {
			t.Errorf("a producer now pulls in %s", m)
		}
	}
	for _, banned := range []string{"aws", "prometheus", "asynqmon", "versitygw", "smithy"} {
		if strings.Contains(string(out), banned) {
			t.Errorf("a producer pulls in %s", banned)
		}
	}
	if !slices.Contains(modules, "github.com/hibiken/asynq") {
		t.Errorf("the list looks wrong: %v", modules)
	}
}

func TestOwnPackagesThatAProducerPullsIn(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		own, ok := strings.CutPrefix(pkg, "github.com/clipferry/clipferry/")
		if ok && own != "tasks" && own != "internal/index" && own != "internal/nearest" && own != "internal/retry" {
			t.Errorf("a producer now pulls in %s", own)
		}
	}
}
