package archiveui

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// film is a video of a minute that is too large to be loaded ahead.
func film(t *testing.T) []byte {
	t.Helper()
	program, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("no ffmpeg here")
	}
	at := filepath.Join(t.TempDir(), "film.mp4")
	c := exec.Command(program, "-hide_banner", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=480x270:rate=10:duration=60",
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "10", "-b:v", "8M", "-minrate", "8M", "-maxrate", "8M", "-bufsize", "8M",
		"-x264-params", "nal-hrd=cbr", "-movflags", "+faststart", at)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, out)
	}
	b, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPlaying: a clip plays, seeks by ranges, obeys keys, and goes on at the same
// second when the link of S3's that it came by has ended.
func TestPlaying(t *testing.T) {
	t.Parallel()
	b := browser(t)
	const ttl = 2 * time.Second
	s := newSite(t, local, func(o *Options) { o.LinkTTL = ttl })
	s.add("e", "p", []clipOf{{Title: "First", Seconds: 60, Video: film(t)}, {Title: "Second", Seconds: 2, Video: sample(t, "9x16")}})
	var links atomic.Int64
	counted := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/play") {
			links.Add(1)
		}
		s.ui.ServeHTTP(w, r)
	}))
	t.Cleanup(counted.Close)
	tab := newTab(t, b, counted.URL)
	tab.expected = []string{"403"}
	tab.view(1280, "light")
	tab.open("/archive/exports/e/0")
	tab.until(`document.querySelector("video").readyState >= 3`)
	if d := eval[float64](tab, `document.querySelector("video").duration`); d != 60 {
		t.Errorf("it lasts %g s", d)
	}
	tab.do(chromedp.KeyEvent("k"))
	tab.until(`!document.querySelector("video").paused && document.querySelector("video").currentTime > 0.3`)
	tab.do(chromedp.KeyEvent("m"))
	tab.until(`document.querySelector("video").muted`)
	opened := links.Load()

	eval[bool](tab, fmt.Sprintf(`new Promise(done => setTimeout(() => done(true), %d))`, (ttl+200*time.Millisecond).Milliseconds())) // the link ends by S3's clock
	eval[bool](tab, `document.querySelector("video").currentTime = 50; true`)
	tab.until(`(v => v.currentTime > 50.3 && v.currentTime < 58 && !v.paused && !v.error)(document.querySelector("video"))`)
	if links.Load() == opened {
		t.Error("the link did not end, so that nothing was shown")
	}
	tab.do(chromedp.KeyEvent("j"))
	tab.until(`(v => v.currentTime > 40 && v.currentTime < 49 && !v.error)(document.querySelector("video"))`)
	tab.do(chromedp.KeyEvent(" "))
	tab.until(`document.querySelector("video").paused`)
	tab.do(chromedp.KeyEvent("n"))
	tab.until(`location.pathname.endsWith("/e/1") && document.querySelector("video").readyState >= 2`)
	tab.shot("upright-1280-light")
}

// A clip that can't be played says so, and what to do.
func TestAClipThatCantBePlayed(t *testing.T) {
	t.Parallel()
	s := newSite(t, local)
	s.add("e", "p", []clipOf{{Title: "First", Video: []byte("this is no video")}})
	tab := newTab(t, browser(t), s.URL)
	tab.view(1280, "light")
	tab.open("/archive/exports/e/0")
	tab.until(`!document.querySelector("#trouble").hidden`)
	tab.shot("trouble-1280-light")
}

func TestFindingByKeyboard(t *testing.T) {
	t.Parallel()
	s := newSite(t, local)
	catalogOf(t, s)
	tab := newTab(t, browser(t), s.URL)
	tab.open("/archive/")
	call(tab, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Text: "/"}) // the text may be refused
	tab.do(chromedp.KeyEvent("tomatoes"))
	tab.until(`document.querySelector(".count").textContent === "6 clips" && location.search === "?q=tomatoes" && document.activeElement.id === "q"`)
	tab.do(chromedp.KeyEvent(" nothing"))
	tab.until(`document.querySelector(".empty") && document.querySelector(".count").textContent === "0 clips"`)
	tab.open("/archive/?sort=score")
	eval[bool](tab, `document.querySelector(".grid .card a").focus(); true`)
	tab.do(chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.ArrowRight))
	tab.shot("focus-1280-light")
	wide := eval[int](tab, `getComputedStyle(document.querySelector(".grid")).gridTemplateColumns.split(" ").length`)
	if at := eval[int](tab, `[...document.querySelectorAll(".grid .card a")].indexOf(document.activeElement)`); at != wide+1 {
		t.Errorf("at clip %d of %d a row", at, wide)
	}
	tab.do(chromedp.KeyEvent(kb.Enter))
	tab.until(`document.querySelector("#player")`)

	// everything on the way can be reached, in order, and is seen where it is
	tab.open("/archive/exports/exp_1")
	reached := map[string]bool{}
	for range 60 {
		tab.do(chromedp.KeyEvent(kb.Tab))
		reached[eval[string](tab, `(e => e.tagName + (e.getAttribute("href") || e.name || e.dataset.copy || ""))(document.activeElement)`)] = true
	}
	for _, want := range []string{"INPUTq", "A/archive/projects", "A/archive/exports/exp_1/zip", "A/archive/exports/exp_1/share", "BUTTON/archive/exports/exp_1", "INPUTclip", "A/archive/exports/exp_1/8"} {
		if !reached[want] {
			t.Errorf("%s is not reached by Tab: %v", want, reached)
		}
	}
}

// TestSizes: an archive of none, one, a page and very many clips.
func TestSizes(t *testing.T) {
	t.Parallel()
	b := browser(t)
	large := 100_000
	if raceEnabled {
		large = 5_000
	}
	for _, n := range []int{0, 1, 60, large} {
		s := newSite(t, local)
		s.index.Add(many(n)...)
		tab := newTab(t, b, s.URL)
		tab.expected = []string{"404"} // no picture is there
		tab.view(1280, "light")
		tab.open("/archive/")
		tab.until(`!document.querySelector(".grid > li:first-child img")`)
		if got, want := eval[string](tab, `document.querySelector(".count").textContent`), count(n, "clip", "clips"); got != want {
			t.Errorf("%d: %s", n, got)
		}
		if got := eval[int](tab, `document.querySelectorAll(".card").length`); got != min(n, pageSize) {
			t.Errorf("%d: %d cards", n, got)
		}
		if got := eval[bool](tab, `!!document.querySelector("a[rel=next]")`); got != (n > pageSize) {
			t.Errorf("%d: more pages: %t", n, got)
		}
		for _, width := range []int64{390, 1280} {
			tab.view(width, "light")
			tab.shot(fmt.Sprintf("size-%d-%d-light", n, width))
		}
	}
}

func TestSigningInAndSharing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.add("e", "p", []clipOf{{Title: "First", Seconds: 2, Video: sample(t, "16x9")}})
	tab := newTab(t, browser(t), s.URL)
	tab.expected = []string{"401", "410"}
	tab.view(1280, "light")
	tab.open("/archive/exports/e/0")
	tab.until(`document.activeElement.name === "name"`)
	tab.do(chromedp.KeyEvent("mia"), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent("wrong"), chromedp.KeyEvent(kb.Enter))
	tab.until(`document.querySelector("[role=alert]") && document.querySelector("[name=name]").value === "mia" && document.activeElement.name === "password"`)
	tab.shot("wrong-1280-light")
	tab.do(chromedp.KeyEvent(password), chromedp.KeyEvent(kb.Enter))
	tab.until(`document.querySelector("video")?.readyState >= 3`) // the session is enough for the player, too
	tab.open("/archive/exports/e/0/share?for=1h")
	link := eval[string](tab, `document.querySelector("#link").value`)
	eval[bool](tab, `document.querySelector("form[action='/archive/logout'] button").click(); true`)
	tab.until(`location.pathname === "/archive/login"`)
	tab.open(link)
	tab.until(`document.querySelector("video")?.readyState >= 3`)
	tab.shot("shared-clip-1280-light")
	s.pass(time.Hour)
	tab.open(link)
	tab.until(`document.querySelector("h1").textContent === "This link has ended"`)
	tab.shot("ended-1280-light")
}
