package archiveui

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is a headless Chromium; a test without one is skipped. CI installs it.
func browser(t *testing.T) context.Context {
	t.Helper()
	var program string
	for _, name := range []string{"chromium-headless-shell", "chromium", "google-chrome"} {
		if at, err := exec.LookPath(name); err == nil {
			program = at
			break
		}
	}
	if program == "" {
		t.Skip("no Chromium here: apt-get install chromium-headless-shell")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithAllocatorOptions(chromedp.ExecPath(program), chromedp.NoSandbox,
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"), chromedp.Flag("mute-audio", true)))
	t.Cleanup(func() { _ = chromedp.Cancel(ctx); cancel() })
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// tab is a page of the browser whose complaints are the test's.
type tab struct {
	t   *testing.T
	ctx context.Context
	url string
	// expected are parts of complaints that belong to the test.
	expected []string
}

func newTab(t *testing.T, browser context.Context, url string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, url: url}
	complain := func(text string) {
		for _, part := range b.expected {
			if strings.Contains(text, part) {
				return
			}
		}
		t.Errorf("the browser says: %s", text)
	}
	err := chromedp.Listen(ctx, func(ev any) {
		switch ev := ev.(type) {
		case *log.EventEntryAdded:
			if ev.Entry.Level == log.EntryLevelError || ev.Entry.Level == log.EntryLevelWarning {
				complain(ev.Entry.Text + " " + ev.Entry.URL)
			}
		case *runtime.EventExceptionThrown:
			complain(ev.ExceptionDetails.Text + " " + fmt.Sprint(ev.ExceptionDetails.Exception))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	call(b, log.Enable, cdp.Empty{})
	return b
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

func call[P, R any](b *tab, command cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) open(path string) {
	b.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = b.url + path
	}
	b.do(chromedp.Navigate(path))
}

// view sets what the page is seen on.
func (b *tab) view(width int64, scheme string) {
	b.t.Helper()
	height := int64(900)
	if width < 500 {
		height = 844
	}
	b.do(chromedp.EmulateViewport(width, height))
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

// eval returns what an expression gives, waiting for a promise.
func eval[T any](b *tab, js string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", js, err)
	}
	return v
}

// until waits for an expression to hold, also over a page that is left for another.
func (b *tab) until(js string) {
	b.t.Helper()
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var ok bool
		if ok, err = chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!("+js+")")); ok {
			return
		}
	}
	at, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + " " + document.body.innerText.slice(0, 1000)`))
	b.t.Fatalf("not %s: %v; at %s", js, err, at)
}

// shot keeps a picture of the page where CLIPFERRY_TEST_PICTURES names a folder.
func (b *tab) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("CLIPFERRY_TEST_PICTURES")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// check has axe-core look at the page, where CLIPFERRY_TEST_AXE names its script
// (npm i axe-core: node_modules/axe-core/axe.min.js). Its license keeps it out of here.
func (b *tab) check(name string) {
	b.t.Helper()
	script := os.Getenv("CLIPFERRY_TEST_AXE")
	if script == "" {
		return
	}
	source, err := os.ReadFile(script)
	if err != nil {
		b.t.Fatal(err)
	}
	eval[bool](b, string(source)+"; true")
	found := eval[[]string](b, `axe.run().then(r => r.passes.length < 5 ? ["nothing to look at"] : r.violations.concat(r.incomplete.filter(v => v.id !== "color-contrast" && v.id !== "video-caption"))
		.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.target + " " + (n.any[0]?.message || "")).slice(0, 3).join(", ")))`)
	for _, text := range found {
		b.t.Errorf("%s: axe finds %s", name, text)
	}
}

// local lets every browser in.
func local(o *Options) {
	o.Local = func(r *http.Request) bool { return r.Header.Get("Authorization") == "" }
}

// catalogOf fills the site with something to look at.
func catalogOf(t *testing.T, s *site) {
	titles := []string{
		"Why night trains matter more than you think", "The truth about the price of bread", "3 things nobody says about deep-sea cables",
		"What growing tomatoes taught me", "Old bridges: before and after", "Stop worrying about sleep", "How a first marathon changed everything",
		"“The last lighthouse keeper” – explained in a minute", "日本語のタイトル：小さな言語について", "الترجمة العربية للمقطع الأول",
	}
	tags := []string{"insight", "analysis", "story", "advice", "humor", "history", "science", "work", "travel", "food"}
	for e := range 7 {
		var clips []clipOf
		for i := range 9 {
			n := e*9 + i
			clips = append(clips, clipOf{
				Title: titles[n%len(titles)], Desc: "Where the talk turns to what nobody expected, and the guest laughs for the first time in the whole conversation.",
				Tags: []string{tags[n%10], tags[(n*3+1)%10], tags[(n*7+4)%10]}, Score: float64(50 + n*13%50), Seconds: int64(20 + n*7%60), NoPoster: n%17 == 16,
				Video: sample(t, "16x9"),
			})
		}
		s.add(fmt.Sprintf("exp_%d", e), []string{"interview-2026", "keynote-autumn", "podcast-114"}[e%3], clips)
		s.pass(-26 * time.Hour)
	}
}

// TestInABrowser looks at each page on a phone and on screens, dark and light.
func TestInABrowser(t *testing.T) {
	t.Parallel()
	s := newSite(t, local)
	catalogOf(t, s)
	s.add("hostile", "hostile", hostileClips())
	s.pass(200 * time.Hour)
	b := newTab(t, browser(t), s.URL)
	b.expected = []string{"404", "401"}
	share := s.ui.shares.grant("exp_1", allClips, s.clock().Add(time.Hour))
	pages := map[string]string{
		"grid": "/archive/", "found": "/archive/?q=trains&tag=insight&score=50", "none": "/archive/?q=nothing+is+like+this", "clip": "/archive/exports/exp_1/1",
		"export": "/archive/exports/exp_1", "project": "/archive/project?id=keynote-autumn", "projects": "/archive/projects",
		"share": "/archive/exports/exp_1/1/share", "shared": "/archive/shared/" + share.token + "/exp_1", "login": "/archive/login",
		"hostile": "/archive/project?id=hostile", "long": "/archive/exports/hostile/13", "missing": "/archive/exports/none",
	}
	for _, width := range []int64{390, 1280, 1920} {
		for name, path := range pages {
			b.view(width, "light")
			b.open(path)
			if wide := eval[int64](b, `document.documentElement.scrollWidth`); wide > width {
				t.Errorf("%s at %d: %d pixels wide", name, width, wide)
			}
			for _, scheme := range []string{"light", "dark"} {
				b.view(width, scheme)
				b.check(fmt.Sprintf("%s at %d, %s", name, width, scheme))
				b.shot(fmt.Sprintf("%s-%d-%s", name, width, scheme))
			}
		}
	}
}
