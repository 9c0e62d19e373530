package provider

import (
	"bytes"
	"encoding/json"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"
)

// shorten gives s a document in chunks of n bytes.
func shorten(doc string, n int) string {
	var s shortener
	for len(doc) > 0 {
		m := min(n, len(doc))
		s.add([]byte(doc[:m]))
		doc = doc[m:]
	}
	return string(s.out)
}

func TestShortener(t *testing.T) {
	long := strings.Repeat("x", maxString)
	for _, tc := range []struct{ name, doc, want string }{
		{"short", `{"a":"b\"\\","c":[1,"é"]}`, `{"a":"b\"\\","c":[1,"é"]}`},
		{"as long as may be", `{"a":"` + long[1:] + `"}`, `{"a":"` + long[1:] + `"}`},
		{"long", `{"a":"` + long + `yyy","b":"c"}`, `{"a":"` + long[1:] + cutMark + `","b":"c"}`},
		{"quotes in what is left out", `["` + long + `\"\\","b"]`, `["` + long[1:] + cutMark + `","b"]`},
		{"an escape at the cut", `["` + long[2:] + `\u00e9\u00e9"]`, `["` + long[2:] + `\u00e9` + cutMark + `"]`},
		{"a rune at the cut", `["` + long[2:] + `éé"]`, `["` + long[2:] + `é` + cutMark + `"]`},
		{"a long key", `{"` + long + `y":1}`, `{"` + long[1:] + cutMark + `":1}`},
	} {
		for _, chunk := range []int{1, 7, 1 << 20} {
			if got := shorten(tc.doc, chunk); got != tc.want || !json.Valid([]byte(got)) {
				t.Errorf("%s, %d bytes at once: %d bytes end in %q", tc.name, chunk, len(got), got[max(0, len(got)-40):])
			}
		}
	}
}

func FuzzShortener(f *testing.F) {
	f.Add(`{"a":"b\"\\\u00e9","c":[1,"é"]}`, 3)
	f.Add(`["`+strings.Repeat(`\\`, maxString)+`"]`, 100)
	f.Fuzz(func(t *testing.T, doc string, chunk int) {
		got := shorten(doc, max(chunk, 1))
		if json.Valid([]byte(doc)) && !json.Valid([]byte(got)) {
			t.Errorf("%q became %q", doc, got)
		}
		if utf8.ValidString(doc) && !utf8.ValidString(got) {
			t.Errorf("%q became %q", doc, got)
		}
		if len(doc) < maxString && got != doc {
			t.Errorf("%q became %q", doc, got)
		}
	})
}

// A text of any length costs the memory of a short one, and is marked as cut.
func TestTextsAreBounded(t *testing.T) {
	const huge = 20 << 20
	text := bytes.Repeat([]byte("oops "), huge/5)
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"data":{"export_task_id":"t1","status":"FAILED","error_message":"`))
		_, _ = w.Write(text)
		_, _ = w.Write([]byte(`","clips":[{"idx":0,"title":"` + strings.Repeat("é", 5000) + `","desc":"` + strings.Repeat("d", 9000) +
			`","tags":["` + strings.Repeat("t", 300) + `"` + strings.Repeat(`,"t"`, 2*maxTags) + `],"export_link":"https://cdn.example/` + strings.Repeat("l", 9000) + `"}]}}`))
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	task, err := c.Read(t.Context(), "", "t1")
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 4<<20 {
		t.Errorf("reading it took %d bytes", allocated)
	}
	for name, s := range map[string]string{
		"error_message": task.ErrorMessage, "title": task.Clips[0].Title, "desc": task.Clips[0].Desc, "tag": task.Clips[0].Tags[0],
	} {
		if len(s) > maxText+len(cutMark) || !strings.HasSuffix(s, cutMark) || !utf8.ValidString(s) {
			t.Errorf("%s has %d bytes and ends in %q", name, len(s), s[max(0, len(s)-20):])
		}
	}
	if task.Status != StatusFailed || !strings.HasPrefix(task.ErrorMessage, "oops oops") {
		t.Errorf("status %s, %.20s", task.Status, task.ErrorMessage)
	}
	if clip := task.Clips[0]; clip.ExportLink != "" || len(clip.Tags) != maxTags {
		t.Errorf("%d tags, link %.40s", len(clip.Tags), clip.ExportLink)
	}
	if len(task.Raw) > 64<<10 || !json.Valid(task.Raw) {
		t.Errorf("the raw answer has %d bytes", len(task.Raw))
	}
}

func TestTheKeyLeavesInNoText(t *testing.T) {
	hidden := strings.ReplaceAll(testKey, "s", `\u0073`)
	for name, key := range map[string]string{"plain": testKey, "escaped": hidden} {
		c := serve(t, answering(200, `{"data":{"export_task_id":"t1","name":"`+key+`","status":"FAILED","error_message":"key `+key+` \n failed",
			"clips":[{"idx":0,"title":"`+key+`","desc":"a `+key+`","tags":["`+key+`"],"thumbnail":"a\/b","export_link":"https://cdn.example/a.mp4?x=1"}]}}`))
		task, err := c.Read(t.Context(), "", "t1")
		if err != nil {
			t.Fatal(err)
		}
		shown, err := json.Marshal(task)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(shown), testKey) || strings.Contains(string(task.Raw), key) || !json.Valid(task.Raw) {
			t.Errorf("%s: %s", name, shown)
		}
		if task.ErrorMessage != "key [redacted] \n failed" || task.Clips[0].ExportLink != "https://cdn.example/a.mp4?x=1" {
			t.Errorf("%s: %+v", name, task)
		}
	}
	const clean = `{"export_task_id":"t1","status":"SUCCEEDED","error_message":"a\/b \u0073k","clips": []}`
	task, err := serve(t, answering(200, `{"data":`+clean+`}`)).Read(t.Context(), "", "t1")
	if err != nil || string(task.Raw) != clean {
		t.Errorf("an answer without the key was changed: %s, %v", task.Raw, err)
	}
}
