package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/tasks"
)

// openTerminal returns both ends of a pseudo-terminal of 80 columns.
func openTerminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { ours.Close() })
	n, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(theirs.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// onTerminal runs the program with a terminal for all its streams and returns
// what a person would have seen, escape codes included.
func onTerminal(t *testing.T, env []string, args ...string) string {
	t.Helper()
	ours, theirs := openTerminal(t)
	cmd := exec.Command("clipferry", args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TERM=xterm"}, env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	watchdog := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	var seen bytes.Buffer
	_, _ = io.Copy(&seen, ours) // ends with an error once nobody has the other end
	_ = cmd.Wait()
	return strings.ReplaceAll(seen.String(), "\r\n", "\n")
}

func TestOnATerminal(t *testing.T) {
	m := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr()})
	defer rdb.Close()
	l := ledger.New(ledger.Options{Redis: rdb})
	add := func(id string, change func(*export.Record)) {
		r := export.New(id, json.RawMessage(`{"project_id":"p"}`), tasks.Export{ProjectID: "p"}.Digest(), "p", time.Now())
		change(r)
		if _, err := l.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	add("done", func(r *export.Record) { r.State, r.ClipCount, r.ArchivedCount = export.Archived, 3, 3 })
	add("bad", func(r *export.Record) {
		r.State, r.Problem = export.Failed, export.Problem{Reason: export.ReasonStepGivenUp, Detail: strings.Repeat("boom ", 50)}
	})
	env := []string{"CLIPFERRY_REDIS_URL=redis://" + m.Addr()}

	list := onTerminal(t, env, "list")
	if !strings.Contains(list, "\x1b[32marchived") || !strings.Contains(list, "\x1b[31mfailed") {
		t.Errorf("list has no colors:\n%q", list)
	}
	for line := range strings.Lines(list) {
		if visible := len([]rune(strings.NewReplacer("\x1b[32m", "", "\x1b[31m", "", "\x1b[0m", "", "\n", "").Replace(line))); visible > 80 {
			t.Errorf("a line of %d columns: %q", visible, line)
		}
	}
	if watch := onTerminal(t, env, "status", "--watch", "done", "bad"); !strings.HasPrefix(watch, "ID ") {
		t.Errorf("watch shows no table:\n%q", watch)
	}
	if wait := onTerminal(t, env, "enqueue", "--project-id", "p", "--job-id", "done", "--wait"); !strings.HasPrefix(wait, "done\n") || !strings.Contains(wait, "archived, 3/3 clips") {
		t.Errorf("wait shows no bar:\n%q", wait)
	}
	if plain := onTerminal(t, append(env, "NO_COLOR=1"), "list"); strings.Contains(plain, "\x1b") || !strings.Contains(plain, "archived") {
		t.Errorf("NO_COLOR:\n%q", plain)
	}
	for _, still := range []string{"NO_COLOR=1", "TERM=dumb"} {
		wait := onTerminal(t, append(env, still), "enqueue", "--project-id", "p", "--job-id", "done", "--wait")
		if strings.Contains(wait, "\x1b") || !strings.Contains(wait, "done archived, 3 of 3 clips archived\n") {
			t.Errorf("%s:\n%q", still, wait)
		}
	}
}
