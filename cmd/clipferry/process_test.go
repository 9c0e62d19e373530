package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/ledger"
)

// running is the program while it runs.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr *bufio.Reader
	rest   *bytes.Buffer
}

func start(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	// A program that hangs must not hang the test.
	watchdog := time.AfterFunc(5*time.Minute, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() { watchdog.Stop() })
	return &running{t, cmd, bufio.NewReader(stdout), bufio.NewReader(stderr), &bytes.Buffer{}}
}

// await reads lines until one contains text.
func (r *running) await(from *bufio.Reader, text string) {
	r.t.Helper()
	for {
		line, err := from.ReadString('\n')
		r.rest.WriteString(line)
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			r.t.Fatalf("ended without %q:\n%s", text, r.rest)
		}
	}
}

func (r *running) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// ends waits for the end and wants the exit code; it returns what stderr still had.
func (r *running) ends(code int) string {
	r.t.Helper()
	_, _ = io.Copy(io.Discard, r.stdout)
	rest, _ := io.ReadAll(r.stderr)
	_ = r.cmd.Wait()
	if got := r.cmd.ProcessState.ExitCode(); got != code {
		r.t.Errorf("exit code %d, want %d:\n%s%s", got, code, r.rest, rest)
	}
	return string(rest)
}

func TestWorkerStopsInOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.env = append(b.env, "CLIPFERRY_API_BASE_URL=http://127.0.0.1:1")
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		r := start(t, b.command("worker"))
		r.await(r.stderr, `"msg":"worker started"`)
		r.signal(s)
		if rest := r.ends(cli.Done); !strings.Contains(rest, `"msg":"worker stopped"`) {
			t.Errorf("after %v:\n%s", s, rest)
		}
	}
	if _, msg := b.clipferry(cli.Usage, "worker", "now"); !strings.Contains(msg, `unexpected argument "now"`) {
		t.Errorf("an argument: %s", msg)
	}
	b.env = append(b.env, "CLIPFERRY_API_KEY=")
	if _, msg := b.clipferry(cli.Config, "worker"); msg != "CLIPFERRY_API_KEY: required (or CLIPFERRY_API_KEY_FILE)\n" {
		t.Errorf("without a key: %s", msg)
	}
}

// TestALostReaderCostsLogLinesOnly: whoever reads the worker's output goes away
// while a paid request is under way. The order is recorded, once.
func TestALostReaderCostsLogLinesOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	asked, answer := make(chan struct{}, 10), make(chan struct{})
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			_, _ = io.WriteString(w, `{"data":{"status":"CREATED"}}`)
			return
		}
		asked <- struct{}{}
		<-answer
		_, _ = io.WriteString(w, `{"data":{"export_task_id":"t1","status":"CREATED"}}`)
	}))
	defer provider.Close()
	b.env = append(b.env, "CLIPFERRY_API_BASE_URL="+provider.URL, "CLIPFERRY_LOG_LEVEL=debug")
	b.clipferry(cli.Done, "enqueue", "--project-id", "p", "--job-id", "a")
	cmd := b.command("worker")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	<-asked
	_ = stdout.Close()
	_ = stderr.Close()
	close(answer)
	if v := b.awaitStatus("a", func(v waitingView) bool { return v.State == "rendering" }); v.ExportTaskID != "t1" || v.Attempts != 1 {
		t.Errorf("%+v", v)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || len(asked) > 0 {
		t.Errorf("it ended with %v, after %d more orders", err, len(asked))
	}
}

// Whoever reads the ids goes away: it is said how many exports are in the queue, which
// would be paid for again if the file were given again.
func TestALostReaderOfIDsIsToldHowManyWereTaken(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	file := filepath.Join(t.TempDir(), "exports.jsonl")
	if err := os.WriteFile(file, []byte(strings.Repeat(`{"project_id":"p"}`+"\n", 1200)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"enqueue", "--file", file}, {"enqueue", "--project-id", "p"}} {
		reader, stdout, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd, stderr := b.command(args...), &bytes.Buffer{}
		cmd.Stdout, cmd.Stderr = stdout, stderr
		_ = reader.Close()
		_ = cmd.Run()
		_ = stdout.Close()
		if code := cmd.ProcessState.ExitCode(); code != cli.Failed || !strings.Contains(stderr.String(), "exports are in the queue") {
			t.Errorf("%v: %d, %s", args, code, stderr)
		}
		if len(args) == 3 && args[1] == "--file" && !strings.Contains(stderr.String(), "500 of 1200 exports") {
			t.Errorf("%s", stderr)
		}
	}
}

// What is under an export's id is no record: its state is unknown, and that is a failure.
func TestStatusOfWhatIsNoRecord(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := b.redis.Client().Set(t.Context(), ledger.Key("a"), "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"status", "--json", "a"}, {"status", "a"}} {
		out, _ := b.clipferry(cli.Failed, args...)
		if !strings.Contains(out, "unknown") || !strings.Contains(out, "is no record") || strings.Contains(out, "0001-") || strings.Contains(out, "script") {
			t.Errorf("%v: %s", args, out)
		}
	}
}

func TestInterruptedWaitLeavesTheExport(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := start(t, b.command("enqueue", "--project-id", "p", "--job-id", "a", "--wait"))
	r.await(r.stdout, "a\n")
	r.await(r.stderr, "a queued")
	r.signal(syscall.SIGINT)
	if rest := r.ends(cli.Interrupted); rest != "the exports go on; see `clipferry status`\nclipferry enqueue: interrupted\n" {
		t.Errorf("stderr: %s", rest)
	}
	if out, _ := b.clipferry(cli.Done, "status", "--json", "a"); !strings.Contains(out, `"state":"queued"`) {
		t.Errorf("status: %s", out)
	}

	r = start(t, b.command("status", "--watch", "a"))
	r.await(r.stdout, "a queued")
	r.signal(syscall.SIGTERM)
	r.ends(cli.Interrupted)
}

func TestInterruptedWhileReadingStandardInput(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	cmd := b.command("enqueue", "--file", "-")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	r := start(t, cmd)
	blank := strings.Repeat("\n", 128<<10) // more than a pipe holds, so that it reads once all is written
	if _, err := io.WriteString(stdin, `{"project_id":"p","job_id":"half"}`+"\n"+blank); err != nil {
		t.Fatal(err)
	}
	r.signal(syscall.SIGINT)
	r.ends(cli.Interrupted)
	b.clipferry(cli.Failed, "status", "half")
}

// stubborn is a program that does not heed its context.
func stubborn() {
	interruptible(func(ctx context.Context) int {
		fmt.Println("ready")
		<-ctx.Done()
		fmt.Println("first")
		select {}
	})
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	r := start(t, exec.Command("stubborn"))
	r.await(r.stdout, "ready")
	r.signal(syscall.SIGTERM)
	r.await(r.stdout, "first")
	ended := make(chan struct{})
	go func() {
		_ = r.cmd.Wait()
		close(ended)
	}()
	for alive := true; alive; {
		_ = r.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
			alive = false
		case <-time.After(50 * time.Millisecond): // the handling ends a moment after the context
		}
	}
	status, ok := r.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("ended by %v", r.cmd.ProcessState)
	}
}
