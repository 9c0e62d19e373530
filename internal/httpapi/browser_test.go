package httpapi

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/queue"
)

// chromium opens pages as a person's browser does.
type chromium struct {
	t    *testing.T
	path string
	home string
}

func newChromium(t *testing.T) *chromium {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes its time")
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return &chromium{t, path, t.TempDir()}
		}
	}
	t.Skip("no Chromium is installed (Debian: apt-get install chromium): the pages are not looked at")
	return nil
}

// run opens a page, lets its scripts work, and returns what it printed. With
// CLIPFERRY_TEST_SCREENSHOTS set to a directory, a picture is left there.
func (c *chromium) run(url, picture string) string {
	c.t.Helper()
	common := []string{
		"--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
		"--disable-dev-shm-usage", "--user-data-dir=" + c.home, "--virtual-time-budget=8000", "--window-size=1400,1000",
		"--enable-logging=stderr",
	}
	open := func(args ...string) (string, string) {
		ctx, cancel := context.WithTimeout(c.t.Context(), 90*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, c.path, append(append(common, args...), url)...)
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			c.t.Fatalf("chromium: %v\n%s", err, errs.String())
		}
		return out.String(), errs.String()
	}
	dom, console := open("--dump-dom")
	for line := range strings.Lines(console) {
		// Asynqmon's fonts would come from Google, who need not know of our queues.
		if strings.Contains(line, "Content Security Policy") && !strings.Contains(line, "https://fonts.googleapis.com/") {
			c.t.Errorf("%s wants more than its policy allows: %s", url, line)
		}
	}
	if dir := os.Getenv("CLIPFERRY_TEST_SCREENSHOTS"); dir != "" {
		open("--screenshot=" + filepath.Join(dir, picture))
	}
	return dom
}

// TestThePagesInABrowser: queues, scheduled reads and an export's payload are
// there to be seen, and no secret is.
func TestThePagesInABrowser(t *testing.T) {
	browser := newChromium(t)
	f := newFixture(t, func(o *Options) {
		o.Monitor.Loopback = true
		o.Version = "v1.2.3"
		o.Metrics = http.NotFoundHandler()
	})
	id := f.submit(`{"project_id":"proj_abc123","resolution":"UHD_4K","job_id":"order-17","notify":{"webhook":"https://hooks.example.com/T0/hush"}}`)
	q := queue.New(f.rdb)
	for n := range 3 {
		poll := export.Step{Kind: export.StepPoll, N: n + 1, At: time.Now().Add(time.Hour)}
		if err := q.Add(t.Context(), queue.Of(&export.Record{ID: "order-1" + string(rune('0'+n))}, poll)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		path, picture string
		shows         []string
	}{
		{"/", "index.png", []string{"clipferry", "v1.2.3", `href="/monitor/"`, "/api/v2/clips/export"}},
		{"/monitor/", "queues.png", []string{"clipferry-submit", "clipferry-poll"}},
		{"/monitor/queues/clipferry-poll?status=scheduled", "polls.png", []string{"export:poll", "poll:order", "order-10", "order-12"}},
		{"/monitor/queues/clipferry-submit/tasks/submit:" + id, "task.png", []string{"proj_abc123", "UHD_4K", "hooks.example.com"}},
	} {
		dom := browser.run(f.URL+c.path, c.picture)
		for _, want := range c.shows {
			if !strings.Contains(dom, want) {
				t.Errorf("%s does not show %s", c.path, want)
			}
		}
		if strings.Contains(dom, "hush") {
			t.Errorf("%s shows a secret", c.path)
		}
	}
}
