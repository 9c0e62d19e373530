package provider

import (
	"strings"
	"testing"
)

// A form that has changed is told from one that lacks something yet.
func TestOddity(t *testing.T) {
	const link = `"export_link":"https://cdn.example/a.mp4"`
	for fields, want := range map[string]string{
		`"status":"SUCCEEDED","clips":[{"idx":0,` + link + `}]`:                                             "",
		`"status":"SUCCEEDED","clips":[{"idx":0,"export_link":null,"thumbnail":"https://cdn.example/t"}]`:   "",
		`"status":"SUCCEEDED","clips":[{"idx":0,"thumbnail":"https://cdn.example/t"}]`:                      "",
		`"status":"SUCCEEDED","clips":[]`:                                                                   "",
		`"status":"SUCCEEDED"`:                                                                              "",
		`"status":"ONGOING","clips":[{"idx":0,"url":"https://cdn.example/a.mp4"}]`:                          "",
		`"status":"FAILED","clips":{}`:                                                                      "",
		`"status":"COMPLETED","clips":[{"idx":0,` + link + `}]`:                                             `its status is "COMPLETED"`,
		`"status":"` + strings.Repeat("X", 500) + `"`:                                                       `its status is "XXX`,
		`"status":"ONGOING","clips":{"0":{}}`:                                                               "its clips are not a list",
		`"status":"SUCCEEDED","clips":"none"`:                                                               "its clips are not a list",
		`"status":"SUCCEEDED","results":[{"idx":0,` + link + `}]`:                                           `a list of "results"`,
		`"status":"SUCCEEDED","clips":[{"index":0,` + link + `}]`:                                           "no",
		`"status":"SUCCEEDED","clips":[{"idx":0,` + link + `},{"idx":1,"url":"https://cdn.example/a.mp4"}]`: `an address in "url"`,
	} {
		c := serve(t, answering(200, `{"data":{"export_task_id":"t1",`+fields+`}}`))
		task, err := c.Read(t.Context(), "", "t1")
		if err != nil {
			t.Errorf("%s: %v", fields, err)
		}
		if odd := task.OddFor(nil); (want == "") != (odd == "") || !strings.Contains(odd, want) || len(odd) > maxOddity {
			t.Errorf("%s: odd is %q, want %q", fields, odd, want)
		}
		if task, err = c.Read(t.Context(), "clips", "t1"); err != nil || task.Odd != "" && strings.Contains(fields, "SUCCEEDED") && !strings.Contains(fields, `"none"`) {
			t.Errorf("%s: made with a clipping task, odd is %q, %v", fields, task.Odd, err)
		}
	}
}

// A clip that nobody asked for may be listed without a link, and with whatever else.
func TestOnlyClipsThatWereAskedForAreOdd(t *testing.T) {
	c := serve(t, answering(200, `{"data":{"export_task_id":"t1","status":"SUCCEEDED","clips":[
		{"idx":0,"export_link":"https://cdn.example/a.mp4"},
		{"idx":1,"preview":"https://cdn.example/p.mp4"},
		{"idx":2,"preview":"https://cdn.example/p.mp4"},{"idx":2,"export_link":"https://cdn.example/c.mp4"}]}}`))
	task, err := c.Read(t.Context(), "", "t1")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		wanted []int
		odd    bool
	}{{nil, true}, {[]int{0}, false}, {[]int{0, 2}, false}, {[]int{1}, true}} {
		if odd := task.OddFor(x.wanted); strings.Contains(odd, `an address in "preview"`) != x.odd || !x.odd && odd != "" {
			t.Errorf("asked for %v: odd is %q", x.wanted, odd)
		}
	}
	if task, err = c.Read(t.Context(), "clips", "t1"); err != nil || task.OddFor(nil) != "" {
		t.Errorf("made with a clipping task, odd is %q, %v", task.OddFor(nil), err)
	}
}
