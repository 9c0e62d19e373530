package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/redistest"
	"github.com/clipferry/clipferry/internal/s3test"
)

// binaries are built once for all tests.
var binaries struct{ clipferry, dev string }

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "clipferry-e2e")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		build := exec.Command("go", "build", "-o", dir+string(filepath.Separator),
			"github.com/clipferry/clipferry/cmd/clipferry", "github.com/clipferry/clipferry/cmd/clipferry-dev")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build the binaries:", err)
			return 1
		}
		binaries.clipferry, binaries.dev = filepath.Join(dir, "clipferry"), filepath.Join(dir, "clipferry-dev")
		redistest.Parallel(8) // they wait for each other's processes
		return m.Run()
	}())
}

// house is everything that a fleet needs, as processes.
type house struct {
	t        testing.TB
	redis    *redistest.Server // nil where the test brings another
	s3       *s3test.Server
	provider string
	env      []string
}

func newHouse(t *testing.T, providerFlags ...string) *house {
	t.Helper()
	t.Parallel()
	redis := redistest.Start(t)
	h := newHouseOn(t, redis.URL(), providerFlags...)
	h.redis = redis
	return h
}

// newHouseOn is newHouse with a Redis of any form.
func newHouseOn(t testing.TB, redisURL string, providerFlags ...string) *house {
	t.Helper()
	h := &house{t: t, s3: s3test.Start(t)}
	cmd := exec.Command(binaries.dev, append([]string{"provider", "--addr", "127.0.0.1:0"}, providerFlags...)...)
	out, err := cmd.StdoutPipe()
	must(t, err)
	h.start(cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	h.provider = strings.TrimSpace(line)
	h.env = append(h.s3.Env(),
		"PATH="+os.Getenv("PATH"), "HOME="+t.TempDir(),
		"CLIPFERRY_REDIS_URL="+redisURL, "CLIPFERRY_API_BASE_URL="+h.provider, "CLIPFERRY_API_KEY=dev-key",
		"CLIPFERRY_API_REQUESTS_PER_MINUTE=0", "CLIPFERRY_S3_BUCKET="+s3test.Bucket, "CLIPFERRY_S3_PATH_STYLE=true",
		"CLIPFERRY_LINK_ALLOWED_CIDRS=127.0.0.0/8", "CLIPFERRY_HTTP_ADDR=",
	)
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start runs a process until the test ends.
func (h *house) start(cmd *exec.Cmd) *exec.Cmd {
	h.t.Helper()
	var log bytes.Buffer
	cmd.Stderr = &log
	must(h.t, cmd.Start())
	h.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if h.t.Failed() {
			h.t.Logf("%s said:\n%.8000s", filepath.Base(cmd.Path), log.String())
		}
	})
	return cmd
}

func (h *house) worker(extra ...string) *exec.Cmd {
	h.t.Helper()
	cmd := exec.Command(binaries.clipferry, "worker")
	cmd.Env = append(append([]string{}, h.env...), extra...)
	return h.start(cmd)
}

// clipferry runs a command to its end and returns its standard output.
func (h *house) clipferry(stdin string, args ...string) (string, int) {
	h.t.Helper()
	cmd := exec.Command(binaries.clipferry, args...)
	cmd.Env, cmd.Stdin = h.env, strings.NewReader(stdin)
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	err := cmd.Run()
	if cmd.ProcessState == nil {
		h.t.Fatal(err)
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		h.t.Logf("clipferry %s: exit %d: %s", strings.Join(args, " "), code, messages.String())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

type status struct {
	ID, State    string
	ExportTaskID string `json:"export_task_id"`
	ProjectID    string `json:"project_id"`
	Error        string
	Polls        int
	Manifest     string
	Clips        []struct {
		Idx    int
		State  string
		Key    string
		Size   int64
		SHA256 string
	}
}

// awaitAll waits until every export has the state, and returns what status says.
func (h *house) awaitAll(ids []string, state string, within time.Duration) []status {
	h.t.Helper()
	deadline := time.Now().Add(within)
	for {
		out, _ := h.clipferry("", append([]string{"status", "--json"}, ids...)...)
		var all []status
		done := true
		for line := range strings.Lines(out) {
			var s status
			must(h.t, json.Unmarshal([]byte(line), &s))
			all = append(all, s)
			done = done && s.State == state
		}
		if done && len(all) == len(ids) {
			return all
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("not all %s within %s:\n%s", state, within, out)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// read asks the provider itself, as any client would.
func (h *house) read(task string) map[string]any {
	h.t.Helper()
	req, err := http.NewRequest(http.MethodGet, h.provider+"/api/v2/clips/export/"+task, nil)
	must(h.t, err)
	req.Header.Set("Authorization", "Bearer dev-key")
	req.Header.Set("x-wayinvideo-api-version", "v2")
	var answer struct{ Data map[string]any }
	must(h.t, json.Unmarshal(h.get(req), &answer))
	return answer.Data
}

func (h *house) get(req *http.Request) []byte {
	h.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	must(h.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(h.t, err)
	if resp.StatusCode != http.StatusOK {
		h.t.Fatalf("GET %s: %s", req.URL.Path, resp.Status)
	}
	return body
}

func (h *house) object(key string) []byte {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.s3.Dir, s3test.Bucket, filepath.FromSlash(key)))
	must(h.t, err)
	return b
}

// submits is how many exports the provider has accepted and charged.
func (h *house) submits() int {
	h.t.Helper()
	req, err := http.NewRequest(http.MethodGet, h.provider+"/_emulator/state", nil)
	must(h.t, err)
	var state struct{ Submits []json.RawMessage }
	must(h.t, json.Unmarshal(h.get(req), &state))
	return len(state.Submits)
}

func TestTwoWorkersArchiveWhatTheProviderServes(t *testing.T) {
	h := newHouse(t, "--requests-per-minute", "0", "--speed", "40")
	h.worker()
	h.worker()
	file := strings.Join([]string{
		`{"project_id":"talk","job_id":"one","resolution":"HD_720"}`,
		`{"project_id":"talk","job_id":"two","clip_indices":[0,2],"enable_ai_reframe":true,"ratio":"RATIO_9_16"}`,
		`{"project_id":"big~clips=2~size=20MB","job_id":"three"}`,
		`{"project_id":"evil/../~titles=hostile~clips=9","job_id":"four:4.x"}`,
	}, "\n")
	out, code := h.clipferry(file, "enqueue", "--file", "-")
	if code != 0 || out != "one\ntwo\nthree\nfour:4.x\n" {
		t.Fatalf("exit %d: %q", code, out)
	}
	ids := strings.Fields(out)
	for _, s := range h.awaitAll(ids, "archived", 90*time.Second) {
		h.compare(s)
	}
	if again, code := h.clipferry(file, "enqueue", "--file", "-"); again != out || code != 0 {
		t.Errorf("the same again: exit %d: %q", code, again)
	}
	if n := h.submits(); n != len(ids) {
		t.Errorf("the provider charged %d exports, %d were asked for", n, len(ids))
	}
	if out, code := h.clipferry("", append([]string{"verify"}, ids...)...); code != 0 {
		t.Errorf("verify: exit %d: %s", code, out)
	}
}

// compare holds what was archived against what the provider serves and says.
func (h *house) compare(s status) {
	h.t.Helper()
	answer := h.read(s.ExportTaskID)
	served, _ := answer["clips"].([]any)
	if len(served) == 0 || len(served) != len(s.Clips) {
		h.t.Errorf("%s: %d clips archived, %d served", s.ID, len(s.Clips), len(served))
		return
	}
	keys := map[int]string{}
	for _, c := range s.Clips {
		keys[c.Idx] = c.Key
	}
	for _, c := range served {
		clip, _ := c.(map[string]any)
		idx := int(clip["idx"].(float64))
		link, _ := clip["export_link"].(string)
		req, err := http.NewRequest(http.MethodGet, link, nil)
		must(h.t, err)
		if !bytes.Equal(h.get(req), h.object(keys[idx])) {
			h.t.Errorf("%s, clip %d: what is archived is not what is served", s.ID, idx)
		}
	}
	var manifest struct {
		ProjectID string         `json:"project_id"`
		Answer    map[string]any `json:"answer"`
		Clips     []any          `json:"clips"`
	}
	must(h.t, json.Unmarshal(h.object(s.Manifest), &manifest))
	if got, want := withoutSignatures(manifest.Answer), withoutSignatures(answer); !reflect.DeepEqual(got, want) {
		h.t.Errorf("%s: the manifest's answer\n%v\nis not the provider's\n%v", s.ID, got, want)
	}
	if manifest.ProjectID != answer["project_id"] && manifest.ProjectID != s.ProjectID || len(manifest.Clips) != len(served) {
		h.t.Errorf("%s: manifest of %s with %d clips", s.ID, manifest.ProjectID, len(manifest.Clips))
	}
}

// withoutSignatures is the answer without the queries of its links, which are
// fresh with each read.
func withoutSignatures(answer map[string]any) map[string]any {
	clips, _ := answer["clips"].([]any)
	for _, c := range clips {
		clip, _ := c.(map[string]any)
		for _, name := range []string{"export_link", "thumbnail"} {
			if link, ok := clip[name].(string); ok {
				clip[name], _, _ = strings.Cut(link, "?")
			}
		}
	}
	return answer
}

func TestAWorkerWorksWhereTheDefaultAddressIsTaken(t *testing.T) {
	if l, err := net.Listen("tcp", "127.0.0.1:8080"); err == nil { // else somebody else has taken it
		t.Cleanup(func() { _ = l.Close() })
	}
	h := newHouse(t, "--requests-per-minute", "0", "--speed", "60")
	h.env = slices.DeleteFunc(h.env, func(pair string) bool { return pair == "CLIPFERRY_HTTP_ADDR=" })
	h.worker()
	if _, code := h.clipferry("", "enqueue", "--project-id", "p~clips=1", "--job-id", "one"); code != 0 {
		t.Fatalf("exit %d", code)
	}
	h.awaitAll([]string{"one"}, "archived", time.Minute)
	asked := h.worker("CLIPFERRY_HTTP_ADDR=127.0.0.1:8080") // asked for, it must be served
	if err := asked.Wait(); err == nil || asked.ProcessState.ExitCode() != 1 {
		t.Errorf("a worker whose address is taken: %v", err)
	}
}

func TestARollingRestartLosesAndDuplicatesNothing(t *testing.T) {
	h := newHouse(t, "--requests-per-minute", "0", "--speed", "60")
	var lines []string
	for i := range 12 {
		lines = append(lines, fmt.Sprintf(`{"project_id":"p%d~clips=3~size=4MB","job_id":"job-%d"}`, i, i))
	}
	fleet := []*exec.Cmd{h.worker(), h.worker()}
	out, code := h.clipferry(strings.Join(lines, "\n"), "enqueue", "--file", "-")
	if code != 0 {
		t.Fatalf("exit %d", code)
	}
	for i := range 4 {
		time.Sleep(2 * time.Second) // let there be something under way
		old := fleet[i%2]
		began := time.Now()
		must(t, old.Process.Signal(syscall.SIGTERM))
		if err := old.Wait(); err != nil {
			t.Errorf("a worker that was told to stop: %v", err)
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("a worker took %s to stop", took)
		}
		fleet[i%2] = h.worker()
	}
	for _, s := range h.awaitAll(strings.Fields(out), "archived", 2*time.Minute) {
		h.compare(s)
	}
	if n := h.submits(); n != len(lines) {
		t.Errorf("the provider charged %d exports, %d were asked for", n, len(lines))
	}
}
