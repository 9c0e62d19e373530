package tasks

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseExportFull(t *testing.T) {
	const body = `{"project_id":"proj_abc123","clip_indices":[2,0],"target_lang":"en","resolution":"UHD_4K",` +
		`"enable_caption":true,"caption_display":"both","cc_style_tpl":"word-focus","enable_ai_hook":true,` +
		`"ai_hook_script_style":"calm","ai_hook_position":"end","ai_hook_keywords":"a <b>\n",` +
		`"ai_hook_text_duration":1500,"enable_ai_reframe":true,"ratio":"RATIO_9_16"`
	e, err := ParseExport([]byte(body + `,"job_id":"order-17","priority":"low","account":"eu-1","tenant":"news"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Export{
		ProjectID: "proj_abc123", ClipIndices: []int{2, 0}, TargetLang: "en", Resolution: "UHD_4K",
		EnableCaption: true, CaptionDisplay: "both", CCStyleTpl: "word-focus", EnableAIHook: true,
		AIHookScriptStyle: "calm", AIHookPosition: "end", AIHookKeywords: "a <b>\n", AIHookTextDuration: 1500,
		EnableAIReframe: true, Ratio: "RATIO_9_16", JobID: "order-17", Priority: "low", Account: "eu-1", Tenant: "news", set: e.set,
	}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("parsed %+v", e)
	}
	if got := string(e.Body()); got != body+"}" {
		t.Errorf("body %s", got)
	}
	if payload, _ := json.Marshal(e); !strings.Contains(string(payload), `"job_id":"order-17","priority":"low","account":"eu-1","tenant":"news"}`) {
		t.Errorf("payload %s", payload)
	}
}

func TestBodyHoldsOnlyWhatWasSet(t *testing.T) {
	for in, want := range map[string]string{
		`{"project_id":"p"}`: `{"project_id":"p"}`,
		`{"project_id":"p","enable_caption":false,"resolution":"SD_480","ai_hook_keywords":""}`:   `{"project_id":"p","resolution":"SD_480","enable_caption":false,"ai_hook_keywords":""}`,
		`{"project_id":"p","clip_indices":null,"ratio":null,"enable_ai_hook":null,"job_id":null}`: `{"project_id":"p"}`,
		"{\"project_id\":\"\\u202e../..\\u0000\"}":                                                `{"project_id":"` + "\u202e" + `../..\u0000"}`,
	} {
		e, err := ParseExport([]byte(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := string(e.Body()); got != want {
			t.Errorf("%s: body %s, want %s", in, got, want)
		}
	}
}

func TestGoProducerSendsNoZeroValues(t *testing.T) {
	e := Export{ProjectID: "p", EnableCaption: true}
	if got := string(e.Body()); got != `{"project_id":"p","enable_caption":true}` {
		t.Errorf("body %s", got)
	}
	parsed, err := ParseExport(e.Body())
	if err != nil || parsed.Digest() != e.Digest() {
		t.Errorf("digest changed on the way through JSON (%v)", err)
	}
}

// faultCases are bodies and the exact errors that they get.
var faultCases = []struct{ in, want string }{
	{`{}`, "project_id: required"},
	{`{"project_id":null}`, "project_id: required"},
	{`{"project_id":""}`, "project_id: required"},
	{`{"project_id":7}`, "project_id: must be a string, not a number"},
	{`{"project_id":"p","enable_ai_reframe":true}`, "ratio: required when enable_ai_reframe is true"},
	{`{"project_id":"p","enable_ai_reframe":"yes"}`, "enable_ai_reframe: must be true or false, not a string"},
	{`{"project_id":"p","ratio":"9:16"}`, `ratio: must be one of RATIO_9_16, RATIO_1_1, RATIO_4_5, RATIO_16_9, not "9:16"`},
	{`{"project_id":"p","ratio":""}`, "ratio: must not be empty; leave it out for the default"},
	{`{"project_id":"p","target_lang":""}`, "target_lang: must not be empty; leave it out for the default"},
	{`{"project_id":"p","target_lang":"e\u0000n"}`, "target_lang: must not hold control characters"},
	{`{"project_id":"p","cc_style_tpl":"a\u202eb"}`, "cc_style_tpl: must not hold control characters"},
	{`{"project_id":"p","clip_indices":[]}`, "clip_indices: must not be empty; leave it out to export all clips"},
	{`{"project_id":"p","clip_indices":[0,1,0]}`, "clip_indices: must not repeat an index: 0"},
	{`{"project_id":"p","clip_indices":[-1]}`, "clip_indices: must not be negative: -1"},
	{`{"project_id":"p","clip_indices":[1.5]}`, "clip_indices: item 1 must be a whole number, not 1.5"},
	{`{"project_id":"p","clip_indices":[0,null]}`, "clip_indices: item 2 must be a whole number, not null"},
	{`{"project_id":"p","clip_indices":[99999999999]}`, "clip_indices: item 1 must be between -2147483648 and 2147483647"},
	{`{"project_id":"p","clip_indices":"all"}`, "clip_indices: must be a list of whole numbers, not a string"},
	{`{"project_id":"p","ai_hook_text_duration":0}`, "ai_hook_text_duration: must be a positive number of milliseconds"},
	{`{"project_id":"p","ai_hook_text_duration":"3000"}`, "ai_hook_text_duration: must be a whole number, not a string"},
	{`{"project_id":"p","ai_hook_text_duration":3e3}`, "ai_hook_text_duration: must be a whole number, not 3e3"},
	{`{"project_id":"p","project_id":"q"}`, "project_id: given more than once"},
	{`{"project_id":"p","resolution_":"SD_480"}`, "resolution_: unknown field; did you mean resolution?"},
	{`{"project_id":"p","Ratio":"RATIO_1_1"}`, "Ratio: unknown field; did you mean ratio?"},
	{`{"project_id":"p","":1}`, `"": unknown field`},
	{`{"project_id":"p","\n\u001b[31m":1}`, `\n\x1b[31m: unknown field`},
	{`{"project_id":"p","job_id":"a/b"}`, "job_id: must be 1–128 of the characters A–Z a–z 0–9 . _ : -"},
	{`{"project_id":"p","job_id":""}`, "job_id: must not be empty; leave it out for the default"},
	{`{"project_id":"p","account":"EU"}`, "account: must be 1–32 of the characters a–z 0–9 -"},
	{`{"project_id":"p","account":"a.b"}`, "account: must be 1–32 of the characters a–z 0–9 -"},
	{`{"project_id":"p","account":""}`, "account: must not be empty; leave it out for the default"},
	{`{"project_id":"p","tenant":"-news"}`, "tenant: must be 1–32 of the characters a–z 0–9 -, the first not -"},
	{`{"project_id":"p","tenant":"News"}`, "tenant: must be 1–32 of the characters a–z 0–9 -, the first not -"},
	{`{"project_id":"p","account":7}`, "account: must be a string, not a number"},
	{`{"project_id":"p","priority":"urgent"}`, `priority: must be one of high, normal, low, not "urgent"`},
	{`{"project_id":"\ud800"}`, "project_id: holds half of a surrogate pair, which is no character"},
	{`{"project_id":"p","notify":"https://x"}`, "notify: must be an object, not a string"},
	{`{"project_id":"p","notify":{}}`, "notify: must have webhook or task_type"},
	{`{"project_id":"p","notify":{"webhook":"https://x","task_type":"t"}}`, "notify: must have webhook or task_type, not both"},
	{`{"project_id":"p","notify":{"webhook":"https://x","queue":"q"}}`, "notify: queue goes with task_type, not with webhook"},
	{`{"project_id":"p","notify":{"webhok":"https://x"}}`, "notify: webhok is unknown; it may have webhook, task_type, queue"},
	{`{"project_id":"p","notify":{"webhook":7}}`, "notify: webhook must be a string, not a number"},
	{`{"project_id":"p","notify":{"webhook":""}}`, "notify: webhook must not be empty"},
	{`{"project_id":"p","notify":{"webhook":"ftp://x"}}`, "notify: webhook must start with https:// or http://"},
	{`{"project_id":"p","notify":{"webhook":"https:///hook"}}`, "notify: webhook names no host"},
	{`{"project_id":"p","notify":{"webhook":"https://user:hunter2@x"}}`, "notify: webhook must not carry a user name or password"},
	{`{"project_id":"p","notify":{"webhook":"https://x/ y"}}`, "notify: webhook is not a URL"},
	{`{"project_id":"p","notify":{"task_type":"export:submit"}}`, "notify: task_type must not start with export:, which is clipferry's own"},
	{`{"project_id":"p","notify":{"task_type":"a b"}}`, "notify: task_type must not hold spaces or control characters"},
	{`{"project_id":"p","notify":{"task_type":"t","queue":"clipferry-poll"}}`, "notify: queue must not start with clipferry: those are clipferry's own"},
	{`{"project_id":"p","notify":{"task_type":"t","queue":"a/b"}}`, "notify: queue must be 1–128 of the characters A–Z a–z 0–9 . _ : -"},
	{`{"project_id":"p"} {}`, "not valid JSON: something follows the object"},
	{`{"project_id":"p"`, "not valid JSON: it ends too early"},
	{`{"project_id":"p",}`, "not valid JSON: invalid character '}' looking for beginning of object key string (byte 18)"},
	{``, "not valid JSON: it ends too early"},
	{`null`, "must be a JSON object"},
	{`["p"]`, "must be a JSON object"},
	{"{\"project_id\":\"\xff\"}", "not valid UTF-8"},
	{
		`{"enable_ai_reframe":true,"clip_indices":[],"resolution":"8K","nope":1}`,
		"project_id: required; clip_indices: must not be empty; leave it out to export all clips; " +
			`resolution: must be one of SD_480, HD_720, FHD_1080, QHD_2K, UHD_4K, not "8K"; ` +
			"ratio: required when enable_ai_reframe is true; nope: unknown field",
	},
}

func TestParseExportFaults(t *testing.T) {
	for _, c := range faultCases {
		_, err := ParseExport([]byte(c.in))
		var faults Faults
		if !errors.As(err, &faults) || err.Error() != c.want {
			t.Errorf("%s:\n got %v\nwant %s", c.in, err, c.want)
		}
		if err := json.Unmarshal([]byte(c.in), &Export{}); err == nil {
			t.Errorf("%s: json.Unmarshal let it through", c.in)
		}
	}
}

func TestParseExportBounds(t *testing.T) {
	long := func(field string, n int) string {
		return fmt.Sprintf(`{"project_id":"p",%q:%q}`, field, strings.Repeat("x", n))
	}
	for field, most := range map[string]int{"target_lang": 64, "cc_style_tpl": 128, "ai_hook_keywords": 4096} {
		if _, err := ParseExport([]byte(long(field, most))); err != nil {
			t.Errorf("%s of %d bytes: %v", field, most, err)
		}
		if _, err := ParseExport([]byte(long(field, most+1))); err == nil {
			t.Errorf("%s of %d bytes was let through", field, most+1)
		}
	}
	if _, err := ParseExport([]byte(`{"project_id":"` + strings.Repeat("x", MaxPayload) + `"}`)); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("a huge body: %v", err)
	}
	var many strings.Builder
	for i := range 500 {
		fmt.Fprintf(&many, `,"unknown_%d":1`, i)
	}
	_, err := ParseExport([]byte(`{"project_id":"p"` + many.String() + `}`))
	if err == nil || len(err.Error()) > 4096 || !strings.Contains(err.Error(), "and 480 more") {
		t.Errorf("500 unknown fields: %v", err)
	}
}

func TestValidateSaysTheSameToGoProducers(t *testing.T) {
	for want, e := range map[string]Export{
		"project_id: required":                                              {},
		"ratio: required when enable_ai_reframe is true":                    {ProjectID: "p", EnableAIReframe: true},
		"clip_indices: must not be empty; leave it out to export all clips": {ProjectID: "p", ClipIndices: []int{}},
		"clip_indices: must not repeat an index: 4":                         {ProjectID: "p", ClipIndices: []int{4, 4}},
		"ai_hook_text_duration: must be a positive number of milliseconds":  {ProjectID: "p", AIHookTextDuration: -1},
		"project_id: not valid UTF-8":                                       {ProjectID: "\xff"},
		"project_id: too long: 513 bytes, at most 512":                      {ProjectID: strings.Repeat("x", 513)},
		"job_id: must be 1–128 of the characters A–Z a–z 0–9 . _ : -":       {ProjectID: "p", JobID: "ä"},
		`ai_hook_position: must be one of beginning, end, not "middle\n"`:   {ProjectID: "p", AIHookPosition: "middle\n"},
		"ai_hook_text_duration: must be at most 2147483647 milliseconds":    {ProjectID: "p", AIHookTextDuration: 1 << 31},
		"clip_indices: must be at most 2147483647: 2147483648":              {ProjectID: "p", ClipIndices: []int{1 << 31}},
	} {
		if err := e.Validate(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := (Export{ProjectID: "p"}).Validate(); err != nil {
		t.Error(err)
	}
}

// TestTagsMatchFields holds the struct's tags, which are what a reader sees,
// to the table that does the work.
func TestTagsMatchFields(t *testing.T) {
	var tags []string
	for f := range reflect.TypeFor[Export]().Fields() {
		if f.IsExported() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			tags = append(tags, name)
		}
	}
	if !slices.Equal(tags, FieldNames()) {
		t.Errorf("tags %v\nfields %v", tags, FieldNames())
	}
}

func TestWithDefaults(t *testing.T) {
	e := Export{ProjectID: "p", AIHookPosition: "end"}
	full := e.WithDefaults()
	if full.Resolution != "SD_480" || full.CaptionDisplay != "original" || full.CCStyleTpl != "temp-7" ||
		full.AIHookScriptStyle != "serious" || full.AIHookPosition != "end" || full.TargetLang != "" {
		t.Errorf("%+v", full)
	}
	if e.Resolution != "" {
		t.Error("changed the original")
	}
}

func TestValidExportsSurviveTheQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := validExport(t)
		if err := e.Validate(); err != nil {
			t.Fatal(err)
		}
		payload, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseExport(payload)
		if err != nil {
			t.Fatalf("%s: %v", payload, err)
		}
		if back.Digest() != e.Digest() || back.JobID != e.JobID || back.Priority != e.Priority || !reflect.DeepEqual(back.Notify, e.Notify) {
			t.Fatalf("%s came back as %s", e.Body(), back.Body())
		}
	})
}

func validExport(t *rapid.T) Export {
	enum := func(name string) string {
		return rapid.SampledFrom(append([]string{""}, Allowed(name)...)).Draw(t, name)
	}
	e := Export{
		ProjectID:          rapid.StringN(1, 100, 512).Draw(t, "project_id"),
		TargetLang:         rapid.SampledFrom([]string{"", "en", "zh-Hant"}).Draw(t, "target_lang"),
		Resolution:         enum("resolution"),
		EnableCaption:      rapid.Bool().Draw(t, "enable_caption"),
		CaptionDisplay:     enum("caption_display"),
		AIHookScriptStyle:  enum("ai_hook_script_style"),
		AIHookKeywords:     rapid.StringN(0, 100, 400).Draw(t, "ai_hook_keywords"),
		AIHookTextDuration: rapid.IntRange(0, 1<<31-1).Draw(t, "ai_hook_text_duration"),
		Ratio:              rapid.SampledFrom(Allowed("ratio")).Draw(t, "ratio"),
		EnableAIReframe:    rapid.Bool().Draw(t, "enable_ai_reframe"),
		JobID:              rapid.StringMatching(`([A-Za-z0-9_:][A-Za-z0-9._:-]{0,127})?`).Draw(t, "job_id"),
		Priority:           enum("priority"),
		Notify: rapid.SampledFrom([]*Notify{
			nil, {Webhook: "https://example.com/hook?a=1&b=<2>"}, {TaskType: "video:done"}, {TaskType: "video:done", Queue: "videos"},
		}).Draw(t, "notify"),
	}
	if indices := rapid.SliceOfDistinct(rapid.IntRange(0, 1<<31-1), rapid.ID).Draw(t, "clip_indices"); len(indices) > 0 {
		e.ClipIndices = indices
	}
	return e
}

// FuzzParseExport: whatever is accepted is valid, and means the same after
// another way through JSON.
func FuzzParseExport(f *testing.F) {
	for _, c := range faultCases {
		f.Add([]byte(c.in))
	}
	f.Add([]byte(`{"project_id":"😀","ai_hook_keywords":"\\ud800","clip_indices":[0]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseExport(data)
		if err != nil {
			if faults := Faults(nil); !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("error without faults: %v", err)
			}
			return
		}
		if err := e.Validate(); err != nil {
			t.Fatalf("accepted, but invalid: %v", err)
		}
		again, err := ParseExport(e.Body())
		if err != nil || again.Digest() != e.Digest() {
			t.Fatalf("%s does not survive: %v", e.Body(), err)
		}
	})
}
