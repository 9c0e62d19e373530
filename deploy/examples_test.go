package deploy_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/clipferry/clipferry/config" //nolint:depguard // the files here set the program's variables
)

// example is a variable in a comment: "# NAME: value" or "#   NAME=value".
var example = regexp.MustCompile(`(?m)^ *# +(CLIPFERRY_[A-Z_]+)(?:: |=)(\S+)`)

// TestTheExamplesAreAccepted gives the program what the comments show, all that
// one file shows at once.
func TestTheExamplesAreAccepted(t *testing.T) {
	kubernetes, err := filepath.Glob("kubernetes/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	accounts := 0
	for _, file := range append(kubernetes, "compose.yaml") {
		env := []string{"CLIPFERRY_API_KEY=k", "CLIPFERRY_S3_BUCKET=b"}
		for _, m := range example.FindAllStringSubmatch(string(read(t, file)), -1) {
			if m[1] != "CLIPFERRY_API_KEY" {
				env = append(env, fmt.Sprintf("%s=%s", m[1], m[2]))
			}
			if m[1] == "CLIPFERRY_API_KEYS" {
				accounts++
			} else if m[1] == "CLIPFERRY_API_LIMITS" && file != "compose.yaml" {
				env = append(env, "CLIPFERRY_API_KEYS=eu:another-key,us:a-third-key") // stands in the Secret
			}
		}
		if _, err := config.Load(env, config.NeedsAPI|config.NeedsS3); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if accounts != 2 {
		t.Errorf("several accounts are shown in %d files, not in compose.yaml and the Secret", accounts)
	}
	// compose.yaml passes an empty key on where only named ones are given.
	cfg, err := config.Load([]string{"CLIPFERRY_API_KEY=", "CLIPFERRY_API_KEYS=eu:key1,us:key2", "CLIPFERRY_S3_BUCKET=b"}, config.NeedsAPI|config.NeedsS3)
	if err != nil || len(cfg.Accounts()) != 2 || cfg.Accounts()[0].Name != "eu" {
		t.Errorf("%v", err)
	}
}
