package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/clipferry/clipferry/cmd/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"clipferry-dev": main})
}

// program is clipferry-dev as a process.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *bufio.Reader

	mu     sync.Mutex
	stderr bytes.Buffer
}

func start(t *testing.T, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command("clipferry-dev", args...)}
	p.cmd.Stderr = p
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// One that hangs must not hang the test.
	watchdog := time.AfterFunc(2*time.Minute, func() { _ = p.cmd.Process.Kill() })
	t.Cleanup(func() { watchdog.Stop(); _ = p.cmd.Process.Kill() })
	return p
}

// Write takes the program's messages.
func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.Write(b)
}

func (p *program) messages() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// ends waits for the end and returns what stdout still had.
func (p *program) ends(code int) string {
	p.t.Helper()
	rest, _ := io.ReadAll(p.stdout)
	_ = p.cmd.Wait()
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("exit code %d, want %d:\n%s", got, code, p.messages())
	}
	return string(rest)
}

func (p *program) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args   string
		code   int
		stdout string // begins with
		stderr string // holds
	}{
		{"--help", cli.Done, "clipferry-dev shows clipferry at work", ""},
		{"-h", cli.Done, "clipferry-dev shows clipferry at work", ""},
		{"provider --help", cli.Done, "run the emulated provider alone", ""},
		{"--version", cli.Done, "clipferry-dev (devel)", ""},
		{"provider --version", cli.Done, "clipferry-dev (devel)", ""},
		{"worker", cli.Usage, "", `unknown command "worker"`},
		{"--no-such-flag", cli.Usage, "", "unknown flag: --no-such-flag"},
		{"--speed 0", cli.Usage, "", "--speed must be from 1 to 1000"},
		{"--dir=", cli.Usage, "", "--dir must not be empty"},
		{"provider --limit-shape square --fail-rate 2", cli.Usage, "", "\nclipferry-dev provider: render: "},
		{"provider here", cli.Usage, "", `unexpected argument "here"`},
		{"provider --limit-shape square", cli.Usage, "", "shape: must be fixed, sliding or bucket"},
		{"provider --fail-rate 2", cli.Usage, "", "See `clipferry-dev provider --help`"},
		{"provider --addr nowhere", cli.Failed, "", "listen: "},
	} {
		p := start(t, strings.Fields(c.args)...)
		out := p.ends(c.code)
		if !strings.HasPrefix(out, c.stdout) || c.stdout == "" && out != "" {
			t.Errorf("%s: stdout %q", c.args, out)
		}
		if got := p.messages(); !strings.Contains(got, c.stderr) || c.stderr == "" && got != "" {
			t.Errorf("%s: stderr %q", c.args, got)
		}
	}
}

func get(t *testing.T, url string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestTheProviderAlone(t *testing.T) {
	p := start(t, "provider", "--addr", "127.0.0.1:0", "--key", "k")
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %s", err, p.messages())
	}
	url := strings.TrimSpace(line)
	if status, body := get(t, url+"/_emulator/"); status != http.StatusOK || !strings.Contains(body, "<html") {
		t.Errorf("its page: %d %s", status, body)
	}
	if status, body := get(t, url+"/api/v2/clips/results/my-project", "Authorization", "Bearer k", "x-wayinvideo-api-version", "v2"); status != http.StatusOK {
		t.Errorf("a project: %d %s", status, body)
	}
	read := url + "/api/v2/clips/export/unknown"
	if status, _ := get(t, read, "Authorization", "Bearer k", "x-wayinvideo-api-version", "v2"); status != http.StatusNotFound {
		t.Errorf("a task that it does not know: %d", status)
	}
	if status, _ := get(t, read, "Authorization", "Bearer other", "x-wayinvideo-api-version", "v2"); status == http.StatusNotFound {
		t.Error("any key will do")
	}
	p.stop()
	p.ends(cli.Done)
	for _, want := range []string{"export CLIPFERRY_API_BASE_URL='" + url + "'\n", "export CLIPFERRY_API_KEY='k'\n", "export CLIPFERRY_LINK_ALLOWED_CIDRS='127.0.0.0/8'\n", "export CLIPFERRY_HTTP_ADMIN_KEYS='dev:dev-"} {
		if !strings.Contains(p.messages(), want) {
			t.Errorf("no %q in:\n%s", want, p.messages())
		}
	}
}

func TestTheDemo(t *testing.T) {
	t.Parallel()
	p := start(t, "--dir", t.TempDir(), "--speed", "60")
	files := strings.Split(strings.TrimSpace(p.ends(cli.Done)), "\n")
	manifests, clips := 0, 0
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || info.Size() == 0 || !filepath.IsAbs(file) {
			t.Errorf("%q: %v", file, err)
			continue
		}
		switch filepath.Ext(file) {
		case ".mp4":
			clips++
		case ".json":
			manifests++
		}
	}
	if manifests != len(samples()) || clips < 3*len(samples()) {
		t.Errorf("%d manifests, %d clips:\n%s", manifests, clips, strings.Join(files, "\n"))
	}
	messages := p.messages()
	if strings.Contains(messages, "\x1b") || !regexp.MustCompile(`(?m)^keynote +archived, 3 of 3 clips archived$`).MatchString(messages) {
		t.Errorf("messages:\n%s", messages)
	}
}

var served = regexp.MustCompile(`(http://127\.0\.0\.1:\d+)/monitor/`)

func TestTheDemoServes(t *testing.T) {
	t.Parallel()
	p := start(t, "--dir", t.TempDir(), "--speed", "60", "--serve")
	for began := time.Now(); !strings.Contains(p.messages(), "Stop with Ctrl-C"); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("it does not serve:\n%s", p.messages())
		}
	}
	url := served.FindStringSubmatch(p.messages())
	key := regexp.MustCompile(`Bearer (dev-\w+)`).FindStringSubmatch(p.messages())
	password := regexp.MustCompile(`user dev, password (\w+)`).FindStringSubmatch(p.messages())
	if url == nil || key == nil || password == nil {
		t.Fatalf("it names no address and key:\n%s", p.messages())
	}
	if status, body := get(t, url[1]+"/monitor/", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("dev:"+password[1]))); status != http.StatusOK || !strings.Contains(body, "<html") {
		t.Errorf("Asynqmon: %d %s", status, body)
	}
	if status, body := get(t, url[1]+"/metrics"); status != http.StatusOK || !strings.Contains(body, `clipferry_exports{state="archived"} 3`) {
		t.Errorf("metrics: %d", status)
	}
	archive := url[1] + "/archive/"
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) { // it follows the catalog
		status, body := get(t, archive)
		if status == http.StatusOK && strings.Contains(body, `href="/archive/exports/keynote/0"`) {
			break
		}
		if time.Since(began) > 20*time.Second || !strings.Contains(p.messages(), archive) {
			t.Fatalf("the archive: %d %s", status, body)
		}
	}
	if status, clip := get(t, archive+"exports/keynote/0/play"); status != http.StatusOK || !strings.HasPrefix(clip[min(4, len(clip)):], "ftyp") {
		t.Errorf("a clip of the archive: %d, %d bytes", status, len(clip))
	}
	if status, _ := get(t, archive, "X-Forwarded-For", "10.0.0.1"); status != http.StatusUnauthorized {
		t.Errorf("the archive through a proxy, without a login: %d", status)
	}
	if status, body := get(t, url[1]+"/readyz"); status != http.StatusOK {
		t.Errorf("readyz: %d %s", status, body)
	}
	status, body := get(t, url[1]+"/api/v2/clips/export/keynote", "Authorization", "Bearer "+key[1], "x-wayinvideo-api-version", "v2")
	if status != http.StatusOK || !strings.Contains(body, `"SUCCEEDED"`) {
		t.Errorf("the API: %d %s", status, body)
	}
	link := regexp.MustCompile(`"export_link":"([^"]+)"`).FindStringSubmatch(body)
	if link == nil {
		t.Fatalf("no link in %s", body)
	}
	if status, clip := get(t, link[1]); status != http.StatusOK || len(clip) == 0 {
		t.Errorf("a clip: %d, %d bytes", status, len(clip))
	}
	p.tryTheBlock()
	before := len(p.messages())
	p.stop()
	p.ends(cli.Done)
	if last := p.messages()[before:]; last != "" {
		t.Errorf("a last word: %q", last)
	}
}

// tryTheBlock does what the demonstration proposes, with nothing but the variables
// that it has printed.
func (p *program) tryTheBlock() {
	p.t.Helper()
	binary := filepath.Join(p.t.TempDir(), "clipferry")
	if out, err := exec.Command("go", "build", "-o", binary, "../clipferry").CombinedOutput(); err != nil {
		p.t.Fatalf("%v: %s", err, out)
	}
	env := []string{"HOME=" + p.t.TempDir()}
	for _, v := range regexp.MustCompile(`(?m)^export (\w+)='(.*)'$`).FindAllStringSubmatch(p.messages(), -1) {
		env = append(env, v[1]+"="+v[2])
	}
	for _, c := range []struct{ args, want string }{
		{"preflight my-project", "project my-project  exists"},
		{"enqueue --project-id my-project~clips=8 --job-id eight --preflight --wait", "eight archived, 8 of 8 clips archived"},
		{"verify --all", "eight ok: "},
		{"recover", "rebuilt 0 exports"},
		{"doctor", "ok   provider: "},
	} {
		cmd := exec.Command(binary, strings.Fields(c.args)...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), c.want) {
			p.t.Errorf("%s: %v\n%s", c.args, err, out)
		}
	}
}
