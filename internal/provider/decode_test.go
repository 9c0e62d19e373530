package provider

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// examplePage is the example response of the API page.
const examplePage = `{
  "data": {
    "export_task_id": "export_task_xyz789",
    "name": "sample export task",
    "status": "SUCCEEDED",
    "expire_at": 1775831883112,
    "cost_usage": 48.0,
    "clips": [
      {
        "idx": 0,
        "title": "sample title",
        "begin_ms": 15000,
        "end_ms": 75000,
        "thumbnail": "https://cdn.example.com/thumb/clip_001.jpg",
        "tags": ["insight", "analysis"],
        "desc": "sample description",
        "score": 81,
        "export_link": "https://cdn.example.com/export/clip_001.mp4"
      }
    ]
  }
}`

// exampleStrings says the same as other pages of the provider would.
const exampleStrings = `{"code":"0","message":"Succeed","data":{
  "export_task_id":"export_task_xyz789","name":"sample export task","status":"succeeded","expire_at":"1775831883112",
  "api_units_usage":"48.0","new_field":{"a":[1]},"clips":[{"idx":"0","title":"sample title","begin_ms":"15000","end_ms":75000.0,
  "thumbnail":"https://cdn.example.com/thumb/clip_001.jpg","tags":["insight","analysis"],"desc":"sample description",
  "score":"8.1e1","export_link":"https://cdn.example.com/export/clip_001.mp4","more":null}]}}`

func decode(t *testing.T, body string) Task {
	t.Helper()
	env, err := decodeEnvelope([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	task, err := decodeTask(env.data)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func TestExamples(t *testing.T) {
	want := Task{
		ExportTaskID: "export_task_xyz789", Name: "sample export task", Status: StatusSucceeded,
		ExpireAt: time.UnixMilli(1775831883112).UTC(), CostUsage: 48,
		Clips: []Clip{{
			Idx: 0, Title: "sample title", BeginMS: 15000, EndMS: 75000,
			Thumbnail: "https://cdn.example.com/thumb/clip_001.jpg", Desc: "sample description",
			ExportLink: "https://cdn.example.com/export/clip_001.mp4", Tags: []string{"insight", "analysis"}, Score: 81,
		}},
	}
	for name, body := range map[string]string{"page": examplePage, "strings": exampleStrings} {
		got := decode(t, body)
		var outer struct{ Data json.RawMessage }
		if err := json.Unmarshal([]byte(body), &outer); err != nil {
			t.Fatal(err)
		}
		if string(got.Raw) != string(outer.Data) {
			t.Errorf("%s: raw is not what was answered: %s", name, got.Raw)
		}
		got.Raw = nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
		}
	}
}

// A failed export may be ordered again unasked only where nothing was charged, so
// silence is not taken for that.
func TestFreeIsWhatWasSaid(t *testing.T) {
	for fields, want := range map[string]bool{
		``: false, `,"cost_usage":0`: true, `,"cost_usage":"0.0"`: true, `,"api_units_usage":0`: true, `,"cost_usage":null,"api_units_usage":0`: true,
		`,"cost_usage":null`: false, `,"cost_usage":""`: false, `,"cost_usage":48`: false, `,"cost_usage":-1`: false, `,"cost_usage":"none"`: false, `,"cost_usage":[]`: false,
	} {
		if task := decode(t, `{"data":{"status":"FAILED"`+fields+`}}`); task.Free != want {
			t.Errorf("{…%s}: free is %v", fields, task.Free)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, tc := range []struct {
		raw     string
		f       float64
		fok     bool
		i       int64
		iok     bool
		comment string
	}{
		{raw: ``, fok: true, iok: true},
		{raw: `null`, fok: true, iok: true},
		{raw: `""`, fok: true, iok: true},
		{raw: `"  "`, fok: true, iok: true},
		{raw: `0`, fok: true, iok: true},
		{raw: `48.5`, f: 48.5, fok: true, i: 48, iok: true},
		{raw: `"48.5"`, f: 48.5, fok: true, i: 48, iok: true},
		{raw: `" 7 "`, f: 7, fok: true, i: 7, iok: true},
		{raw: `-1`, f: -1, fok: true, i: -1, iok: true},
		{raw: `1e3`, f: 1000, fok: true, i: 1000, iok: true},
		{raw: `9223372036854775807`, f: math.MaxInt64, fok: true, i: math.MaxInt64, iok: true},
		{raw: `9223372036854775808`, f: 1 << 63, fok: true},
		{raw: `1e300`, f: 1e300, fok: true},
		{raw: `1e999`},
		{raw: `"NaN"`},
		{raw: `"Infinity"`},
		{raw: `"-inf"`},
		{raw: `"0x10"`},
		{raw: `"1_000"`},
		{raw: `"12 units"`},
		{raw: `true`},
		{raw: `[1]`},
		{raw: `{"a":1}`},
	} {
		if f, ok := number(json.RawMessage(tc.raw)); f != tc.f || ok != tc.fok {
			t.Errorf("number(%s) is %v, %v, want %v, %v", tc.raw, f, ok, tc.f, tc.fok)
		}
		if i, ok := integer(json.RawMessage(tc.raw)); i != tc.i || ok != tc.iok {
			t.Errorf("integer(%s) is %v, %v, want %v, %v", tc.raw, i, ok, tc.i, tc.iok)
		}
	}
}

func TestMoments(t *testing.T) {
	at := time.UnixMilli(1775831883000).UTC()
	for raw, want := range map[string]time.Time{
		`1775831883000`: at, `"1775831883000"`: at, `1775831883`: at, `"2026-04-10T14:38:03Z"`: at,
		`"2026-04-10T16:38:03+02:00"`: at, `null`: {}, `0`: {}, `"0"`: {},
	} {
		if got, ok := moment(json.RawMessage(raw)); !ok || !got.Equal(want) {
			t.Errorf("%s is %v, %v, want %v", raw, got, ok, want)
		}
	}
	for _, raw := range []string{`-5`, `1e18`, `9223372036854775807`, `"soon"`, `[]`, `true`, `"0001-01-01T00:00:00Z"`} {
		if got, ok := moment(json.RawMessage(raw)); ok {
			t.Errorf("%s is taken for %v", raw, got)
		}
	}
}

func TestOneBadClipCostsNoOther(t *testing.T) {
	task := decode(t, `{"data":{"export_task_id":"t1","status":"SUCCEEDED","expire_at":"never","cost_usage":-3,"clips":[
		null, 7, "x", {"title":"no idx"}, {"idx":-1}, {"idx":"one"}, {"idx":1e18}, {"idx":null}, {"idx":""},
		{"idx":3,"title":"no link yet"}, {"idx":0,"title":"a","export_link":"https://l/0"},
		{"idx":0,"title":"b","export_link":"https://l/00"}, {"idx":3,"title":"with link","export_link":"https://l/3"},
		{"idx":5,"title":5,"begin_ms":{},"end_ms":"x","thumbnail":[],"desc":false,"score":"NaN","export_link":7,"tags":"t"},
		{"idx":6,"tags":["a",null,7,"b"]}
	]}}`)
	want := []Clip{
		{Idx: 3, Title: "with link", ExportLink: "https://l/3"},
		{Idx: 0, Title: "a", ExportLink: "https://l/0"},
		{Idx: 5},
		{Idx: 6, Tags: []string{"a", "b"}},
	}
	if !reflect.DeepEqual(task.Clips, want) {
		t.Errorf("clips are\n%+v, want\n%+v", task.Clips, want)
	}
	if len(task.Warnings) != maxWarnings || !strings.HasPrefix(task.Warnings[maxWarnings-1], "and 3 more") {
		t.Errorf("%d warnings: %q", len(task.Warnings), task.Warnings)
	}
	if task.Nameless != 8 {
		t.Errorf("%d clips that nobody can tell apart", task.Nameless)
	}
	if !task.ExpireAt.IsZero() || task.CostUsage != 0 {
		t.Errorf("expire_at %v, cost_usage %v", task.ExpireAt, task.CostUsage)
	}
}

func TestOddities(t *testing.T) {
	task := decode(t, `{"data":{"status":"SUCCEEDED","clips":[{"title":"which?"},{"idx":1}]}}`)
	if got := Oddities(task.Raw); len(got) != 1 || !strings.Contains(got[0], "no usable idx") || !slices.Equal(got, task.Warnings) {
		t.Errorf("%q, when it came %q", got, task.Warnings)
	}
	for _, raw := range []string{"", "null", "[]", examplePage} {
		if got := Oddities(json.RawMessage(raw)); len(got) > 0 {
			t.Errorf("of %.20q: %q", raw, got)
		}
	}
}

func TestManyClips(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"data":{"status":"SUCCEEDED","clips":[{"idx":-7}`)
	for i := range 5000 {
		b.WriteString(`,{"idx":` + strconv.Itoa(i) + `,"title":"` + strings.Repeat("t", 200) + `"}`)
	}
	b.WriteString(`]}}`)
	task := decode(t, b.String())
	if len(task.Clips) != 5000 || task.Clips[4999].Idx != 4999 || len(task.Warnings) != 1 {
		t.Errorf("%d clips, warnings %q", len(task.Clips), task.Warnings)
	}
}

func TestStatusWords(t *testing.T) {
	for word, want := range map[string]struct {
		status Status
		ended  bool
	}{
		"SUCCEEDED": {StatusSucceeded, true}, " failed ": {StatusFailed, true}, "Ongoing": {StatusOngoing, false},
		"PAUSED": {"PAUSED", false}, "": {"", false},
	} {
		if got := normalStatus(word); got != want.status || got.Ended() != want.ended {
			t.Errorf("%q is %q, ended %v", word, got, got.Ended())
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		examplePage, exampleStrings, `{}`, `null`, `[]`, `{"data":null}`, `{"data":{}}`, `{"code":1,"data":{}}`,
		`{"export_task_id":"t1","status":"CREATED"}`, `{"data":{"export_task_id":7}}`,
		`{"data":{"name":"x","export_task_id":"t1","sta`, `{"":[{}],"data":{"":{},"a":["export_task_id","z"],"export_task_id":"t1",`,
		`{"data":{"status":"FAILED","error_message":"\u202e","clips":[null,{"idx":"1"},{"idx":1},{"idx":-1},{"idx":1e400}]}}`,
		`{"data":{"export_task_id":"t1","status":"ONGOING","expire_at":1775831883,"clips":{"idx":0}}}`,
	} {
		f.Add([]byte(seed))
	}
	c, err := New(Options{Key: testKey})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ans := &response{status: 200, body: body}
		task, e := c.submitted(ans, nil)
		if e != nil && e.Kind != AcceptedUnknown && len(body) == 0 {
			t.Errorf("an empty answer is %s", e.Kind)
		}
		if e == nil {
			if !usableID(task.ExportTaskID) {
				t.Errorf("accepted with id %q", task.ExportTaskID)
			}
			checkTask(t, task)
		}
		if task, e = c.read(ans, "t1", true); e == nil {
			if task.ExportTaskID != "t1" || task.Status == "" {
				t.Errorf("read %q with status %q", task.ExportTaskID, task.Status)
			}
			checkTask(t, task)
		}
		salvageID(body)
		if m := c.clean(wordsOf(body).message); !utf8.ValidString(m) || utf8.RuneCountInString(m) > maxMessage || strings.ContainsAny(m, "\n\x1b") {
			t.Errorf("message %q", m)
		}
	})
}

// checkTask checks what holds of every answer that was understood.
func checkTask(t *testing.T, task Task) {
	t.Helper()
	if !json.Valid(task.Raw) || len(task.Warnings) > maxWarnings+1 {
		t.Errorf("raw %q, %d warnings", task.Raw, len(task.Warnings))
	}
	if math.IsNaN(task.CostUsage) || math.IsInf(task.CostUsage, 0) || task.CostUsage < 0 {
		t.Errorf("cost %v", task.CostUsage)
	}
	if !task.ExpireAt.IsZero() {
		if _, err := task.ExpireAt.MarshalJSON(); err != nil {
			t.Error(err)
		}
	}
	var seen []int
	for _, clip := range task.Clips {
		if clip.Idx < 0 || slices.Contains(seen, clip.Idx) || math.IsNaN(clip.Score) || math.IsInf(clip.Score, 0) {
			t.Errorf("clip %+v", clip)
		}
		seen = append(seen, clip.Idx)
	}
}
