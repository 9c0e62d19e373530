package emulator

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestControl(t *testing.T) {
	p := start(t, Options{Limits: DocumentedLimits()})
	made := p.must("POST", "/_emulator/faults", `[{"kind":"status","status":503,"route":"read","count":2},{"kind":"delay","delay":"1ms"}]`)
	if made.status != 200 || !strings.Contains(made.body, `"f1"`) || !strings.Contains(made.body, `"f2"`) {
		t.Fatalf("%d %s", made.status, made.body)
	}
	if a := p.must("POST", "/_emulator/faults", `{"kind":"slow","rate":1000}`); a.status != 200 {
		t.Errorf("a single one: %d %s", a.status, a.body)
	}
	p.get("x")
	list := p.must("GET", "/_emulator/faults", "")
	var faults []Armed
	if err := json.Unmarshal([]byte(list.body), &faults); err != nil || len(faults) != 3 || faults[0].Hits != 1 || faults[0].ID != "f1" {
		t.Errorf("%v: %s", err, list.body)
	}
	if !strings.Contains(list.body, `"delay": "1ms"`) {
		t.Errorf("a delay isn't written as it is read: %s", list.body)
	}
	for _, tc := range []struct {
		path   string
		status int
		left   int
	}{
		{"/_emulator/faults/f1", 204, 2},
		{"/_emulator/faults/f1", 404, 2},
		{"/_emulator/faults", 204, 0},
	} {
		if a := p.must("DELETE", tc.path, ""); a.status != tc.status || len(p.State().Faults) != tc.left {
			t.Errorf("DELETE %s: %d, %d left", tc.path, a.status, len(p.State().Faults))
		}
	}

	if a := p.must("PUT", "/_emulator/limits", `{"shape":"sliding","requests_per_minute":2,"max_active":1}`); a.status != 200 {
		t.Errorf("limits: %d %s", a.status, a.body)
	}
	id := p.submitted(`{"project_id":"p"}`)
	if a := p.post(`{"project_id":"p"}`); a.status != 429 {
		t.Errorf("the new limit doesn't hold: %d", a.status)
	}
	var st State
	if err := json.Unmarshal([]byte(p.must("GET", "/_emulator/state", "").body), &st); err != nil {
		t.Fatal(err)
	}
	s := st.Submits[0]
	if s.TaskID != id || s.ProjectID != "p" || string(s.Body) == "" || len(s.BodySHA256) != 64 || !s.Active || st.Active != 1 ||
		st.Requests[RouteSubmit]["200"] != 1 || st.Requests[RouteSubmit]["429"] != 1 || st.Requests[RouteRead]["503"] != 1 || st.Refused["active"] != 1 {
		t.Errorf("state is %+v", st)
	}
	if a := p.must("POST", "/_emulator/reset", ""); a.status != 204 || len(p.State().Submits) != 0 {
		t.Errorf("reset: %d", a.status)
	}
}

func TestControlRefuses(t *testing.T) {
	p := start(t, Options{})
	for _, tc := range []struct{ method, path, body, want string }{
		{"POST", "faults", ``, "not understood"},
		{"POST", "faults", `{}`, "kind"},
		{"POST", "faults", `{"kind":"x"}`, "kind"},
		{"POST", "faults", `{"kind":"reset","routes":"read"}`, "routes"},
		{"POST", "faults", `{"kind":"reset"} {}`, "follows"},
		{"POST", "faults", `{"kind":"status"}`, "status"},
		{"POST", "faults", `{"kind":"status","status":99}`, "status"},
		{"POST", "faults", `{"kind":"delay"}`, "delay"},
		{"POST", "faults", `{"kind":"delay","delay":"soon"}`, "delay"},
		{"POST", "faults", `{"kind":"slow"}`, "rate"},
		{"POST", "faults", `{"kind":"redirect"}`, "url"},
		{"POST", "faults", `{"kind":"dead_link","route":"read"}`, "route"},
		{"POST", "faults", `{"kind":"reset","probability":2}`, "probability"},
		{"POST", "faults", `{"kind":"reset","count":-1}`, "negative"},
		{"POST", "faults", `[{"kind":"reset"},{"kind":"y"}]`, "fault 2"},
		{"POST", "faults", `[` + strings.Repeat(`{"kind":"reset"},`, 1000) + `{"kind":"reset"}]`, "at most"},
		{"PUT", "limits", `{"shape":"round"}`, "shape"},
		{"PUT", "limits", `{"max_active":-1}`, "negative"},
		{"PUT", "limits", `7`, "not understood"},
	} {
		a := p.must(tc.method, "/_emulator/"+tc.path, tc.body)
		var said struct{ Error string }
		if err := json.Unmarshal([]byte(a.body), &said); err != nil || a.status != 400 || !strings.Contains(said.Error, tc.want) {
			t.Errorf("%s %.80s: %d %s, want %s", tc.path, tc.body, a.status, a.body, tc.want)
		}
	}
	if n := len(p.State().Faults); n != 0 {
		t.Errorf("%d faults came into force", n)
	}
}

func TestPage(t *testing.T) {
	p := start(t, Options{Limits: DocumentedLimits()})
	p.submitted(`{"project_id":"<script>alert(1)</script>"}`)
	a := p.must("GET", "/_emulator/", "")
	for _, want := range []string{"curl", p.base + "/api/v2/clips/export", "15</b> requests a minute", "1 of 5</b>", "&lt;script&gt;"} {
		if !strings.Contains(a.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(a.body, "<script>") {
		t.Error("a project's id runs in the browser")
	}
	for kind := range fits {
		if !strings.Contains(a.body, string(kind)) {
			t.Errorf("the page doesn't name the fault %s", kind)
		}
	}
	if a := p.must("GET", "/", ""); a.header.Get("Location") != "/_emulator/" {
		t.Errorf("/ leads to %q", a.header.Get("Location"))
	}
}

func FuzzFaults(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `[]`, `null`, `[null]`, `{"kind":"reset"}`, `[{"kind":"slow","rate":1},{"kind":"stall","bytes":5,"delay":"1s"}]`,
		`{"kind":"status","status":503,"retry_after":"7\r\n"}`, `{"kind":"delay","delay":"-1s"}`, `{"kind":"link","clip":-1,"url":"::"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := decodeFaults(data)
		if err != nil {
			return
		}
		for _, fault := range list {
			if err := fault.validate(); err != nil {
				t.Errorf("%s lets %+v through: %v", data, fault, err)
			}
			back, err := decodeFaults(encode(fault))
			if err != nil || len(back) != 1 {
				t.Errorf("%+v can't be read back: %v", fault, err)
			}
		}
	})
}
