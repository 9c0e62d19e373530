package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/s3test"
)

const httpSecret = "a-secret-of-the-shop"

// ask sends one request and returns the status and the body.
func (b *bench) ask(method, url, body string) (int, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+httpSecret)
	req.Header.Set("x-wayinvideo-api-version", "v2")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

func TestServe(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	addr := s3test.FreeAddr(t)
	b.env = append(b.env, "CLIPFERRY_HTTP_ADDR="+addr, "CLIPFERRY_API_KEY=", "CLIPFERRY_HTTP_API_KEYS=shop:"+httpSecret,
		"CLIPFERRY_HTTP_SECRET=a-signing-secret-of-32-characters", "CLIPFERRY_MONITOR_AUTH=ops:hunter2-hunter2")
	b.clipferry(cli.Failed, "health")
	r := start(t, b.command("serve"))
	r.await(r.stderr, `"msg":"HTTP server started"`)
	if out, _ := b.clipferry(cli.Done, "health"); out != "ok\n" {
		t.Errorf("health: %s", out)
	}
	b.clipferry(cli.Done, "health", "--ready")

	status, body := b.ask("POST", "http://"+addr+"/api/v2/clips/export", `{"project_id":"p"}`)
	var answer struct {
		Data struct {
			ID string `json:"export_task_id"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK || answer.Data.ID == "" {
		t.Fatalf("submit: %d %s", status, body)
	}
	if out, _ := b.clipferry(cli.Done, "status", "--json", answer.Data.ID); !strings.Contains(out, `"state":"queued"`) {
		t.Errorf("status: %s", out)
	}
	if status, body := b.ask("GET", "http://"+addr+"/metrics", ""); status != http.StatusOK || !strings.Contains(body, "clipferry_build_info") || !strings.Contains(body, `queue="clipferry-submit"`) {
		t.Errorf("metrics: %d %s", status, body)
	}
	// Without a release's linker flag, all say the same version that Go knows.
	line, _ := b.clipferry(cli.Done, "--version")
	v := strings.Fields(line)[1]
	if _, body := b.ask("GET", "http://"+addr+"/metrics", ""); !strings.Contains(body, `version="`+v+`"`) {
		t.Errorf("clipferry_build_info does not say %s", v)
	}
	if _, body := b.ask("GET", "http://"+addr+"/api/openapi.json", ""); !strings.Contains(body, `"version": "`+v+`"`) {
		t.Errorf("the OpenAPI document does not say %s", v)
	}
	if status, body := b.ask("GET", "http://"+addr+"/monitor/", ""); status != http.StatusUnauthorized {
		t.Errorf("monitor with a key of the API: %d %s", status, body)
	}
	resp, err := http.Get("http://ops:hunter2-hunter2@" + addr + "/monitor/")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("monitor: %s", resp.Status)
	}
	archive := func(user string) int {
		resp, err := http.Get("http://" + user + addr + "/archive/")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	if got := archive("mia:hunter2-hunter2@"); got != http.StatusNotFound {
		t.Errorf("the archive's pages while they are off: %d", got)
	}
	r.signal(syscall.SIGTERM)
	r.ends(cli.Done)

	b.env = append(b.env, "CLIPFERRY_ARCHIVE_AUTH=mia:hunter2-hunter2")
	r = start(t, b.command("serve"))
	r.await(r.stderr, `"msg":"HTTP server started"`)
	for user, want := range map[string]int{"": 401, "mia:hunter2-hunter3@": 401, "shop:" + httpSecret + "@": 200, "mia:hunter2-hunter2@": 200} {
		got := archive(user)
		for began := time.Now(); got == http.StatusServiceUnavailable && time.Since(began) < 10*time.Second; got = archive(user) { // the catalog is read
			time.Sleep(20 * time.Millisecond)
		}
		if got != want {
			t.Errorf("the archive's pages for %q: %d", user, got)
		}
	}
	r.signal(syscall.SIGTERM)
	r.ends(cli.Done)

	// An outage of S3 takes neither the API nor its links away.
	b.env = append(b.env, "AWS_ENDPOINT_URL_S3=http://127.0.0.1:1")
	r = start(t, b.command("serve"))
	r.await(r.stderr, `"msg":"HTTP server started"`)
	b.clipferry(cli.Done, "health", "--ready")
	if _, body := b.ask("GET", "http://"+addr+"/metrics", ""); strings.Contains(body, "\nclipferry_ready ") {
		t.Error("it counts as a worker that is ready")
	}
	r.signal(syscall.SIGTERM)
	r.ends(cli.Done)

	b.env = append(b.env, "CLIPFERRY_HTTP_ADDR=")
	for _, args := range [][]string{{"serve"}, {"health"}} {
		if _, msg := b.clipferry(cli.Config, args...); !strings.HasPrefix(msg, "CLIPFERRY_HTTP_ADDR: empty") {
			t.Errorf("%v without an address: %s", args, msg)
		}
	}
	b.clipferry(cli.Usage, "serve", "it")
	b.clipferry(cli.Usage, "health", "well")
}

func TestWorkerServes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	addr := s3test.FreeAddr(t)
	b.env = append(b.env, "CLIPFERRY_HTTP_ADDR="+addr, "CLIPFERRY_API_BASE_URL=http://127.0.0.1:1")
	r := start(t, b.command("worker"))
	r.await(r.stderr, `"msg":"worker started"`)
	b.clipferry(cli.Done, "health", "--ready")
	if status, body := b.ask("GET", "http://"+addr+"/metrics", ""); status != http.StatusOK || !strings.Contains(body, `account="default"`) ||
		!strings.Contains(body, `clipferry_notifications_total{outcome="gave_up"} 0`) || !strings.Contains(body, "\nclipferry_ready 1") {
		t.Errorf("metrics: %d %s", status, body)
	}
	b.inTheCatalog("http://" + addr + "/metrics")
	if _, msg := b.clipferry(cli.Failed, "worker"); !strings.Contains(msg, "listen on CLIPFERRY_HTTP_ADDR: ") {
		t.Errorf("a second worker on the same address: %s", msg)
	}
	r.signal(syscall.SIGTERM)
	if rest := r.ends(cli.Done); !strings.Contains(rest, `"msg":"HTTP server stopped"`) {
		t.Errorf("stderr: %s", rest)
	}
}

// inTheCatalog holds what a process exports to the documentation's list, which a
// test of deploy keeps.
func (b *bench) inTheCatalog(url string) {
	b.t.Helper()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		b.t.Fatal(err)
	}
	_, body := b.ask("GET", url, "")
	found := 0
	for line := range strings.SplitSeq(body, "\n") {
		name, kind, ok := strings.Cut(strings.TrimPrefix(line, "# TYPE "), " ")
		if !ok || !strings.HasPrefix(name, "clipferry_") || !strings.HasPrefix(line, "# TYPE ") {
			continue
		}
		found++
		if !strings.Contains(string(page), "\n| `"+name+"` | "+kind+" |") {
			b.t.Errorf("docs/operations.md does not list the %s %s", kind, name)
		}
	}
	if found < 40 {
		b.t.Errorf("only %d metrics are exported", found)
	}
}

func TestReachable(t *testing.T) {
	for addr, want := range map[string]string{
		":8080": "127.0.0.1:8080", "0.0.0.0:8080": "127.0.0.1:8080", "[::]:8080": "127.0.0.1:8080",
		"10.0.0.1:8080": "10.0.0.1:8080", "localhost:80": "localhost:80",
	} {
		if got := reachable(addr); got != want {
			t.Errorf("%s is asked at %s, want %s", addr, got, want)
		}
	}
}
