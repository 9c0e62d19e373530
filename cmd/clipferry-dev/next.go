package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/clipferry/clipferry/cmd/internal/cli"
)

// printNext says what to try once the samples are archived.
func (s *services) printNext(w *cli.Printer, keep bool) {
	_ = w.Printf("\nEvery file above was proven on its way. What to try next:\n" +
		"  play a clip, and read the manifest.json beside it\n")
	if !keep {
		_ = w.Printf("  %-36s keep everything up, for a browser and for your own programs\n"+
			"  %-36s the emulated provider alone\n", command("clipferry-dev")+" --serve", command("clipferry-dev")+" provider")
		return
	}
	_ = w.Printf("  %[2]s/archive/     the archive for people: find, watch, download and share the clips\n"+
		"  %[1]s/_emulator/   the emulated provider: what it does and how to make it misbehave\n"+
		"  %[2]s/monitor/     Asynqmon: the queues; user dev, password %[4]s\n"+
		"  %[2]s/metrics      what Prometheus reads\n"+
		"The HTTP API, which is the provider's own in front of the queue:\n"+
		"  curl -X POST %[2]s/api/v2/clips/export -H 'Authorization: Bearer %[3]s' \\\n"+
		"    -H 'x-wayinvideo-api-version: v2' -H 'Content-Type: application/json' -d '{\"project_id\": \"my-project\"}'\n"+
		"In another shell, with these variables, use clipferry itself:\n\n", s.provider, s.http, s.apiKey, s.monitorPassword)
	printEnv(w, append(slices.Clone(s.env), s3Env(s.s3)...))
	_ = w.Printf("\n")
	for _, line := range []string{
		"enqueue --project-id my-project~clips=8 --wait", "list", "verify --all", "doctor", "worker",
	} {
		_ = w.Printf("  %s %s\n", command("clipferry"), line)
	}
	_ = w.Printf("Stop with Ctrl-C.\n")
}

// printEnv prints variables so that they can be pasted into a shell.
func printEnv(w *cli.Printer, env []string) {
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		_ = w.Printf("export %s='%s'\n", name, value)
	}
}

// command is how a program of this module is run by whoever runs this one: those
// who have only Go have built none.
func command(name string) string {
	self, err := os.Executable()
	if err != nil || !strings.Contains(filepath.ToSlash(self), "/go-build") {
		return name
	}
	if _, err := os.Stat(filepath.Join("cmd", name, "main.go")); err == nil {
		return "go run ./cmd/" + name
	}
	return "go run github.com/clipferry/clipferry/cmd/" + name + "@latest"
}
