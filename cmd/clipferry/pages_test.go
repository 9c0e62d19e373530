package main

import (
	"bytes"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/emulator"
	"github.com/clipferry/clipferry/internal/s3test"
)

// notRun are the commands of the pages that TestThePagesCommandsRun leaves out,
// by how they begin, and why.
var notRun = map[string]string{
	"clipferry preflight":           "it fails for a project that the provider does not have; TestPreflightAndImport runs it",
	"clipferry enqueue --dry-run":   "as above",
	"clipferry enqueue --preflight": "as above",
	"go run ./cmd/clipferry-dev":    "clipferry-dev's own test runs it",
	"go install ":                   "needs a release",
	".ci/check":                     "it runs this test",
	"clipferry worker":              "runs beside all others here",
	"CLIPFERRY_API_KEY=… docker":    "needs Docker; deploy's tests read the file",
	"CLIPFERRY_HTTP_ADDR=":          "a server that runs until it is stopped; TestServe starts one",
	"helm ":                         "needs a cluster; deploy's tests render the chart",
	"kubectl ":                      "needs a cluster; deploy's tests read the files",
	"aws ":                          "the tools of AWS are not here",
	"go test -run '^$' -bench":      "measures, for minutes",
	"go run ./internal/budget":      "measures, for minutes",
	"go run ./internal/chaos":       "runs for minutes",
	"go test ":                      "part of the suite",
	"/usr/bin/time -v clipferry":    "measures",
	"seq ":                          "makes what is measured",
	"export ":                       "the test has its own; TestVariablesOfThePages checks the names",
}

// pageCommand is one command of a block of shell in a page.
type pageCommand struct{ page, text string }

// pages are the README and everything in docs.
func pages(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, name := range append(names, "../../README.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(name)] = string(text)
	}
	return texts
}

var shellBlock = regexp.MustCompile("(?ms)^```(?:sh|console)\n(.*?)^```")

// commandsOf are the commands in a page's blocks of shell, each with the lines
// that it goes on for.
func commandsOf(page, text string) []pageCommand {
	var all []pageCommand
	for _, block := range shellBlock.FindAllStringSubmatch(text, -1) {
		joined := strings.ReplaceAll(block[1], "\\\n", " ")
		for line := range strings.Lines(joined) {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			all = append(all, pageCommand{page, line})
		}
	}
	return all
}

// TestThePagesCommandsRun runs every command of the README and of docs, as a
// reader would, against a running worker.
func TestThePagesCommandsRun(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	provider, err := emulator.New(emulator.Options{Speed: 100, Render: emulator.Render{Fixed: 100 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(provider)
	defer web.Close()
	addr := s3test.FreeAddr(t)
	dir := t.TempDir()
	texts := pages(t)
	if err := os.WriteFile(filepath.Join(dir, "exports.jsonl"), []byte(`{"project_id":"my-project~clips=1","job_id":"order-18"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tasks.txt"), []byte("export_task_1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".curlrc"), []byte("fail-with-body\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.env = append(b.env, "CURL_HOME="+dir, "CLIPFERRY_API_BASE_URL="+web.URL, "CLIPFERRY_API_REQUESTS_PER_MINUTE=0", "CLIPFERRY_LINK_ALLOWED_CIDRS=127.0.0.0/8",
		"CLIPFERRY_HTTP_ADDR="+addr, "CLIPFERRY_HTTP_API_KEYS=web:"+httpSecret, "CLIPFERRY_HTTP_SECRET="+strings.Repeat("s", 32))
	worker := b.command("worker") // for longer than start lets one run
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = worker.Process.Kill()
		_ = worker.Wait()
	})
	b.clipferry(cli.Done, "enqueue", "--project-id", "my-project~clips=1", "--job-id", "order-4711", "--tenant", "web", "--wait")

	// What can be canceled, and taken up again.
	b.clipferry(cli.Done, "enqueue", "--project-id", "another", "--account", "nobodys", "--job-id", "order-17", "--tenant", "web")
	_, answer := b.ask("GET", "http://"+addr+"/api/v2/clips/export/order-4711", "")
	link := regexp.MustCompile(`http://[^"]+\.mp4`).FindString(answer)

	used, id := map[string]bool{}, "none"
	for _, page := range slices.Sorted(maps.Keys(texts)) { // the README comes first
		setup := ""
		for _, c := range commandsOf(page, texts[page]) {
			if begins := notRunAs(c.text); begins != "" {
				used[begins] = true
				continue
			}
			script := strings.NewReplacer(
				"retry order-4711", "retry order-17", "cancel order-4711", "cancel order-17",
				"/ID/", "/order-17/", "/ID", "/order-4711", " ID…", " order-4711", " ID", " order-4711", " P ", " my-project~clips=1 ",
				"http://127.0.0.1:8080", "http://"+addr, "YOUR_API_KEY", httpSecret, "proj_abc123", "my-project~clips=3",
				"exp_37koj2yvlej2ml7bpxskvvv3dm", id,
			).Replace(c.text)
			script = regexp.MustCompile(`http://[^"]+/clips/[^"]+\.mp4`).ReplaceAllLiteralString(script, link)
			if strings.Contains(script, "retry") {
				_ = b.command("cancel", "order-17").Run() // often it is already
			}
			out := b.shell(dir, c, setup+script)
			if strings.HasPrefix(script, "K=") {
				setup += script + "\n"
			}
			if new := regexp.MustCompile(`exp_[a-z0-9]+`).FindString(out); new != "" {
				id = new
			}
		}
	}
	for begins, why := range notRun {
		if !used[begins] {
			t.Errorf("no page has a command %q any more (left out because: %s)", begins, why)
		}
	}
}

// notRunAs is the entry of notRun for a command, if it has one.
func notRunAs(command string) string {
	longest := ""
	for begins := range notRun {
		if strings.HasPrefix(command, begins) && len(begins) > len(longest) {
			longest = begins
		}
	}
	return longest
}

// shell runs a command of a page and wants it to succeed.
func (b *bench) shell(dir string, c pageCommand, script string) string {
	b.t.Helper()
	cmd := exec.CommandContext(b.t.Context(), "bash", "-c", script)
	cmd.Env, cmd.Dir = b.env, dir
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Run(); err != nil {
		b.t.Errorf("%s: %s\n%s: %v\n%s%s", c.page, c.text, script, err, out.String(), msg.String())
	}
	return out.String()
}

var inlineCommand = regexp.MustCompile("`clipferry ([a-z][^`]*)`")

// TestCommandsInTheText: what the pages call a command or a flag in the middle
// of a sentence is one.
func TestCommandsInTheText(t *testing.T) {
	for page, text := range pages(t) {
		text = strings.ReplaceAll(text, "\n", " ")
		for _, found := range inlineCommand.FindAllStringSubmatch(text, -1) {
			line, _, _ := strings.Cut(found[1], "|")
			words := strings.Fields(line)
			cmd, _, err := rootCommand(&console{}).Find(words)
			if err != nil || !cmd.HasParent() {
				t.Errorf("%s: %s: no such command", page, found[0])
				continue
			}
			for _, word := range words {
				if name, ok := strings.CutPrefix(word, "--"); ok && name != "" && name != "help" && flagOf(cmd, name) == nil {
					t.Errorf("%s: %s: no such flag: %s", page, found[0], word)
				}
			}
		}
	}
}

func flagOf(cmd *cobra.Command, word string) *pflag.Flag {
	name, _, _ := strings.Cut(word, "=")
	return cmd.Flags().Lookup(name)
}

// TestVariablesOfThePages: every variable that a page sets in a block of shell is
// one of the program's.
func TestVariablesOfThePages(t *testing.T) {
	for page, text := range pages(t) {
		for _, c := range commandsOf(page, text) {
			for _, name := range regexp.MustCompile(`CLIPFERRY_[A-Z0-9_]+=`).FindAllString(c.text, -1) {
				_, err := config.Load([]string{name + "x"}, 0)
				if err != nil && strings.Contains(err.Error(), "unknown") {
					t.Errorf("%s: %s: %v", page, c.text, err)
				}
			}
		}
	}
}

// TestThePagesSetAllThatIsNeeded: what a block of shell exports is a configuration that the
// program takes.
func TestThePagesSetAllThatIsNeeded(t *testing.T) {
	tried := 0
	for page, text := range pages(t) {
		for _, block := range shellBlock.FindAllStringSubmatch(text, -1) {
			exports := strings.Join(regexp.MustCompile(`(?m)^export .*$`).FindAllString(block[1], -1), "\n")
			if !strings.Contains(exports, "CLIPFERRY_") {
				continue
			}
			cmd := exec.CommandContext(t.Context(), "bash", "-c", exports+"\nenv -0")
			cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
			env, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s: %v\n%s", page, err, exports)
			}
			tried++
			key := filepath.Join(t.TempDir(), "provider-key")
			if err := os.WriteFile(key, []byte("k"), 0o600); err != nil {
				t.Fatal(err)
			}
			vars := strings.Split(strings.ReplaceAll(string(env), "/run/secrets/provider-key", key), "\x00")
			if _, err := config.Load(vars, 0); err != nil {
				t.Errorf("%s: with\n%s\nit says: %v", page, exports, err)
			}
		}
	}
	if tried < 3 {
		t.Errorf("only %d blocks set variables", tried)
	}
}
