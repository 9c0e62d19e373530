package emulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

func page(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/page_" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// compact is a page's example as we would write it.
func compact(t *testing.T, doc string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(doc)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The page's request gets the page's answers: byte for byte, but for what must
// differ (the id, the links, the time) and the second clip, which the page cuts.
func TestPagesExample(t *testing.T) {
	p := start(t, Options{Limits: DocumentedLimits()})
	submit := p.post(page(t, "request"))
	if submit.status != 200 || submit.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v", submit.status, submit.header)
	}
	ids := regexp.MustCompile(`export_task_[a-z2-7]{16}`)
	id := ids.FindString(submit.body)
	got := ids.ReplaceAllString(submit.body, "export_task_xyz789")
	if want := compact(t, page(t, "submit")); got != want {
		t.Errorf("submit:\n got %s\nwant %s", got, want)
	}
	p.clock.advance(100 * time.Second)
	read := p.get(id)
	got = read.body
	if first, _, ok := strings.Cut(got, `,{"idx":2,`); !ok {
		t.Errorf("the second clip is missing: %s", got)
	} else {
		got = first + "]}}"
	}
	got = regexp.MustCompile(`http://[^"]+/cdn/(export|thumb)/[^"]+/clip_000\.(mp4|jpg)\?expires=\d+&signature=[0-9a-f]+`).
		ReplaceAllString(got, "https://cdn.example.com/$1/clip_001.$2")
	got = ids.ReplaceAllString(got, "export_task_xyz789")
	got = regexp.MustCompile(`"expire_at":\d{13},`).ReplaceAllString(got, `"expire_at":1775831883112,`)
	if want := compact(t, page(t, "read")); got != want {
		t.Errorf("read:\n got %s\nwant %s", got, want)
	}
}

// wantRefusal checks an error's shape: the documented fields, in their order.
func wantRefusal(t *testing.T, a answered, status int, message, path string) {
	t.Helper()
	said := ""
	if message != "" {
		said = `"message":".*` + regexp.QuoteMeta(message) + `.*",`
	}
	want := fmt.Sprintf(`^\{"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00","status":%d,"error":"%s",%s"path":"%s"\}$`,
		status, http.StatusText(status), said, path)
	if status == http.StatusBadRequest || status == http.StatusInternalServerError {
		want = `^\{"message":".*` + regexp.QuoteMeta(message) + `.*","trace_id":"[a-z2-7]{16}"\}$`
	}
	if a.status != status || !regexp.MustCompile(want).MatchString(a.body) {
		t.Errorf("answer is %d %s, want %s", a.status, a.body, want)
	}
}

func TestKeyAndVersion(t *testing.T) {
	for _, tc := range []struct {
		name, authorization, version string
		keys                         []string
		ok                           bool
	}{
		{"any key", "Bearer x", "v2", nil, true},
		{"one of the keys", "Bearer b", "v2", []string{"a", "b"}, true},
		{"another key", "Bearer c", "v2", []string{"a", "b"}, false},
		{"no key", "", "v2", nil, false},
		{"empty key", "Bearer ", "v2", nil, false},
		{"no bearer", "x", "v2", nil, false},
		{"no version", "Bearer x", "", nil, false},
		{"another version", "Bearer x", "v1", nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, Options{Keys: tc.keys})
			for _, method := range []string{"POST", "GET"} {
				path, body := "/api/v2/clips/export", `{"project_id":"p"}`
				if method == "GET" {
					path, body = path+"/some", ""
				}
				a := p.must(method, path, body, "Authorization", tc.authorization, "x-wayinvideo-api-version", tc.version)
				if !tc.ok {
					wantRefusal(t, a, 403, "", path)
				} else if a.status == 403 {
					t.Errorf("%s is refused: %s", method, a.body)
				}
			}
			if n := len(p.State().Submits); (n == 1) != tc.ok {
				t.Errorf("%d submits were charged", n)
			}
		})
	}
}

func TestInvalidRequestsNameTheField(t *testing.T) {
	p := start(t, Options{})
	for body, want := range map[string]string{
		`{}`:                                "project_id: required",
		`{"project_id":7}`:                  "project_id: ",
		`{"project_id":"p","ratio":"16:9"}`: "ratio: ",
		`{"project_id":"p","enable_ai_reframe":true}`:  "ratio: required",
		`{"project_id":"p","clip_indices":[]}`:         "clip_indices: ",
		`{"project_id":"p","clip_indices":[1,1]}`:      "clip_indices: ",
		`{"project_id":"p","clip_indices":[-1]}`:       "clip_indices: ",
		`{"project_id":"p","clip_indices":[100000]}`:   "clip_indices: ",
		`{"project_id":"p","resolution":"SD"}`:         "resolution: ",
		`{"project_id":"p","resolutio":"SD_480"}`:      "resolutio: ",
		`{"project_id":"p","job_id":"mine"}`:           "job_id: ",
		`{"project_id":"p","priority":"high"}`:         "priority: ",
		`not json`:                                     "not valid JSON",
		`[]`:                                           "must be a JSON object",
		``:                                             "ends too early",
		`{"project_id":"` + strings.Repeat("x", 2<<20): "too large",
	} {
		wantRefusal(t, p.post(body), 400, want, "/api/v2/clips/export")
	}
	if st := p.State(); len(st.Submits) != 0 {
		t.Errorf("charged: %+v", st.Submits)
	}
	for _, body := range []string{
		`{"project_id":"p","clip_indices":null,"target_lang":null,"ratio":null}`,
		`{"project_id":"p","caption_display":"both"}`, // without enable_caption it has no effect, and is no fault
	} {
		if a := p.post(body); a.status != 200 {
			t.Errorf("%s is refused: %s", body, a.body)
		}
	}
}

func TestPathsThatAreNotThere(t *testing.T) {
	p := start(t, Options{})
	for _, tc := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/api/v2/clips/export", 405},
		{"DELETE", "/api/v2/clips/export/x", 405},
		{"GET", "/api/v2/clips", 405},
		{"GET", "/api/v2/accounts", 404},
		{"POST", "/", 404},
	} {
		wantRefusal(t, p.must(tc.method, tc.path, "", withKey...), tc.status, "", tc.path)
	}
	wantRefusal(t, p.get("export_task_unknown"), 404, "", "/api/v2/clips/export/export_task_unknown")
	if a := p.must("POST", "/open/v2/clips/export", `{"project_id":"p"}`, withKey...); a.status != 200 {
		t.Errorf("the older path answers %d", a.status)
	}
}

func TestAnExportsWay(t *testing.T) {
	p := start(t, Options{})
	id := p.submitted(`{"project_id":"proj_abc123"}`) // 3 clips of 60 s; 100 s to render
	for _, tc := range []struct {
		at     time.Duration
		status string
		clips  int
	}{
		{0, "CREATED", 0},
		{999 * time.Millisecond, "CREATED", 0},
		{time.Second, "QUEUED", 0},
		{9999 * time.Millisecond, "QUEUED", 0},
		{10 * time.Second, "ONGOING", 0},
		{39 * time.Second, "ONGOING", 0},
		{40 * time.Second, "ONGOING", 1},
		{69 * time.Second, "ONGOING", 2},
		{99 * time.Second, "ONGOING", 3},
		{99999 * time.Millisecond, "ONGOING", 3},
		{100 * time.Second, "SUCCEEDED", 3},
		{time.Hour, "SUCCEEDED", 3},
	} {
		p.clock.advance(p.State().Submits[0].AcceptedAt.Add(tc.at).Sub(p.clock.Now()))
		got := p.looked(id)
		if got.Status != tc.status || len(got.Clips) != tc.clips {
			t.Errorf("after %v: %s with %d clips, want %s with %d", tc.at, got.Status, len(got.Clips), tc.status, tc.clips)
		}
		if active := p.State().Active; (active == 1) != (tc.at < 100*time.Second) {
			t.Errorf("after %v: %d active", tc.at, active)
		}
	}
	st := p.State().Submits[0]
	if st.Reads != 12 || st.EndSeenAt.Sub(st.AcceptedAt) != 100*time.Second || st.EndsAt.Sub(st.AcceptedAt) != 100*time.Second {
		t.Errorf("state is %+v", st)
	}
}

func TestAFailedExport(t *testing.T) {
	p := start(t, Options{})
	id := p.submitted(`{"project_id":"p~clips=3~fail=source video is gone"}`)
	if got := p.looked(id); got.ErrorMessage != "" {
		t.Errorf("error_message while %s: %q", got.Status, got.ErrorMessage)
	}
	p.clock.advance(100 * time.Second)
	got := p.looked(id)
	if got.Status != "FAILED" || got.ErrorMessage != "source video is gone" || len(got.Clips) != 0 || got.CostUsage == 0 {
		t.Errorf("read says %+v", got)
	}
	if a := p.get(id); !strings.Contains(a.body, `"clips":[]`) {
		t.Errorf("clips is no empty list: %s", a.body)
	}

	some := start(t, Options{Render: Render{Fixed: time.Second, FailRate: 0.2}})
	for i := range 200 {
		some.submitted(fmt.Sprintf(`{"project_id":"p%d"}`, i))
	}
	some.clock.advance(time.Minute)
	failed := 0
	for _, s := range some.State().Submits {
		if s.Status == "FAILED" {
			failed++
		}
	}
	if failed < 25 || failed > 55 {
		t.Errorf("%d of 200 failed, want about 40", failed)
	}
}

func TestWhatIsForgotten(t *testing.T) {
	p := start(t, Options{LinkLifetime: time.Hour})
	id, link := p.finished("p")
	if a := p.must("GET", link, ""); a.status != 200 {
		t.Fatalf("a fresh link answers %d", a.status)
	}
	p.clock.advance(time.Hour - time.Millisecond)
	if a := p.must("GET", link, ""); a.status != 200 {
		t.Errorf("the link died early: %d", a.status)
	}
	p.clock.advance(time.Millisecond)
	if a := p.must("GET", link, ""); a.status != 403 || !strings.Contains(a.body, "<Code>AccessDenied</Code>") {
		t.Errorf("a dead link answers %d %s", a.status, a.body)
	}
	fresh := p.looked(id).Clips[0].ExportLink
	if a := p.must("GET", fresh, ""); fresh == link || a.status != 200 {
		t.Errorf("the fresh link %s answers %d", fresh, a.status)
	}
	expire := time.UnixMilli(p.looked(id).ExpireAt)
	if want := p.State().Submits[0].AcceptedAt.Add(72 * time.Hour); !expire.Equal(want) {
		t.Errorf("expires at %v, want %v", expire, want)
	}
	p.clock.advance(expire.Sub(p.clock.Now()) - time.Millisecond)
	last := p.looked(id).Clips[0].ExportLink
	p.clock.advance(time.Millisecond)
	wantRefusal(t, p.get(id), 404, "", "/api/v2/clips/export/"+id)
	if a := p.must("GET", last, ""); a.status != 403 {
		t.Errorf("a link outlives its task: %d", a.status)
	}
}

func TestForeignLinks(t *testing.T) {
	p := start(t, Options{})
	_, link := p.finished("p")
	for _, bad := range []string{
		strings.Replace(link, "expires=1", "expires=2", 1),
		strings.Replace(link, "clip_000", "clip_001", 1),
		strings.Replace(link, "signature=", "signature=0", 1),
		strings.Split(link, "?")[0],
	} {
		if a := p.must("GET", bad, ""); a.status != 403 {
			t.Errorf("%s answers %d", bad, a.status)
		}
	}
	if a := p.must("GET", "/api/v2/clips/export/"+p.State().Submits[0].TaskID, "", "Authorization", "Bearer other", "x-wayinvideo-api-version", "v2"); a.status != 404 {
		t.Errorf("another key reads the task: %d", a.status)
	}
}

func TestSpeed(t *testing.T) {
	p := start(t, Options{Speed: 10, Limits: Limits{RequestsPerMinute: 2}})
	id := p.submitted(`{"project_id":"p"}`)
	p.clock.advance(10*time.Second - time.Millisecond)
	if got := p.looked(id); got.Status != "ONGOING" {
		t.Errorf("after 9.999 s it is %s", got.Status)
	}
	p.clock.advance(time.Millisecond)
	if got := p.looked(id); got.Status != "SUCCEEDED" {
		t.Errorf("after 10 s it is %s", got.Status)
	}
	if a := p.get(id); a.status != 429 {
		t.Errorf("the third request in the window: %d", a.status)
	}
	p.clock.advance(6 * time.Second)
	if a := p.get(id); a.status != 200 {
		t.Errorf("in the next window: %d", a.status)
	}
	if at := time.UnixMilli(p.looked(id).ExpireAt); at.Sub(p.State().Submits[0].AcceptedAt) != 72*time.Hour {
		t.Errorf("expire_at is hurried too: %v", at)
	}
}

func TestEverythingFollowsFromTheSeed(t *testing.T) {
	run := func(seed uint64) string {
		p := start(t, Options{Seed: seed, Render: Render{Median: time.Minute}, PublicURL: "https://cdn.example/"})
		var out strings.Builder
		for _, project := range []string{"a", "b", "a"} {
			id := p.submitted(`{"project_id":"` + project + `"}`)
			p.clock.advance(time.Hour)
			out.WriteString(p.get(id).body)
		}
		return out.String()
	}
	if a, b := run(1), run(1); a != b {
		t.Errorf("one seed, two stories:\n%s\n%s", a, b)
	}
	if run(1) == run(2) {
		t.Error("two seeds, one story")
	}
	if strings.Count(run(1), "https://cdn.example/cdn/") == 0 {
		t.Error("links don't begin with the public URL")
	}
}

func TestDurations(t *testing.T) {
	p := start(t, Options{Render: Render{Median: 2 * time.Minute}})
	medians := map[string]time.Duration{}
	for _, resolution := range []string{"SD_480", "UHD_4K"} {
		var all []time.Duration
		for i := range 400 {
			p.submitted(fmt.Sprintf(`{"project_id":"p%d~clips=5","resolution":%q}`, i, resolution))
			st := p.State().Submits
			all = append(all, st[len(st)-1].EndsAt.Sub(st[len(st)-1].AcceptedAt))
			p.Reset()
		}
		below := 0
		for _, d := range all {
			if d < 2*time.Minute {
				below++
			}
			medians[resolution] += d / 400
		}
		if resolution == "SD_480" && (below < 140 || below > 260) {
			t.Errorf("%d of 400 take less than the median", below)
		}
	}
	if ratio := float64(medians["UHD_4K"]) / float64(medians["SD_480"]); ratio < 4 || ratio > 6 {
		t.Errorf("UHD_4K takes %.1f times as long as SD_480, want about 5", ratio)
	}
}

func TestOptionsThatAreWrong(t *testing.T) {
	_, err := New(Options{
		Limits: Limits{Shape: "round"}, Speed: -1, Expiry: -1, ClipSize: -1, PublicURL: "nowhere",
		Render: Render{FailRate: 2}, Faults: []Fault{{Kind: "surprise"}},
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, word := range []string{"shape", "speed", "expiry", "clip size", "public url", "render", "surprise"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error doesn't mention %s: %v", word, err)
		}
	}
}
