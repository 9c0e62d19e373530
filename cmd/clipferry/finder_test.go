package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/clipferry/clipferry/cmd/internal/cli"
)

// What Redis has forgotten is read from S3, so that nobody orders again what was
// paid for.
func TestStatusOfWhatRedisHasForgotten(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.archived(t.Context(), "over", []byte("the clip"))
	b.accepted(t.Context(), "open")
	if out, _ := b.clipferry(cli.Done, "status", "--json", "over"); !strings.Contains(out, `"state":"archived"`) || !strings.Contains(out, `"export_task_id":"task-over"`) {
		t.Errorf("over: %s", out)
	}
	if out, _ := b.clipferry(cli.Done, "status", "open"); !strings.Contains(out, "Redis has lost this export, which was paid for; `clipferry recover`") {
		t.Errorf("open: %s", out)
	}
	if out, msg := b.clipferry(cli.Failed, "status", "nobody"); out != "" || !strings.Contains(msg, "nobody: unknown: ") {
		t.Errorf("nobody: %s%s", out, msg)
	}
	away := b.command("status", "--json", "over", "nobody", "known", "nobody-else")
	away.Env = append(away.Env, "AWS_ENDPOINT_URL_S3=http://127.0.0.1:1")
	b.clipferry(cli.Done, "enqueue", "--project-id", "p", "--job-id", "known")
	out, err := away.Output()
	if text := string(out); err == nil || strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, `{"id":"known","state":"queued"`) {
		t.Errorf("while S3 is away: %v %s", err, out)
	}
	for _, command := range []string{"cancel", "retry"} {
		_, msg := b.clipferry(cli.Failed, command, "over", "open", "nobody")
		for _, want := range []string{
			"over: it is archived in S3, and Redis has forgotten it: there is nothing to change\n",
			"open: Redis has lost this export, which was paid for; `clipferry recover` ", "nobody: unknown: ",
		} {
			if !strings.Contains(msg, want) {
				t.Errorf("%s: no %q in %s", command, want, msg)
			}
		}
	}
	links, _ := b.clipferry(cli.Done, "status", "--links", "over", "open")
	fields := strings.Fields(links)
	if len(fields) != 3 || fields[0] != "over" || fields[1] != "0" {
		t.Fatalf("links: %s", links)
	}
	if strings.Contains(fields[2], "response-content-disposition") {
		t.Errorf("the link takes the file's own name away: %s", fields[2])
	}
	resp, err := http.Get(fields[2])
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if clip, err := io.ReadAll(resp.Body); err != nil || string(clip) != "the clip" {
		t.Errorf("%s %q, %v", resp.Status, clip, err)
	}
}
