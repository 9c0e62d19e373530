package httpapi

import (
	"context"
	"strings"
	"testing"

	"github.com/clipferry/clipferry/internal/view"
)

func TestTasksThatWereMadeElsewhereAreTakenUpOnce(t *testing.T) {
	f := newFixture(t)
	var first, again importedPage
	body := `{"kind":"clips","task_ids":["clips_1","hmtask2"]}`
	f.call("POST", "/api/v2/clips/exports/import", body).data(t, &first)
	f.call("POST", "/api/v2/clips/exports/import", body).data(t, &again)
	if len(first.Exports) != 2 || first.Exports[0].Known || !again.Exports[1].Known || again.Exports[0].ExportTaskID != first.Exports[0].ExportTaskID {
		t.Errorf("first %+v, again %+v", first, again)
	}
	if w := first.Exports[1].Warnings; len(w) != 1 || !strings.Contains(w[0], "hmtask") {
		t.Errorf("warnings %q", w)
	}
	var v view.Export
	f.call("GET", "/api/v2/clips/exports/"+first.Exports[0].ExportTaskID, "").data(t, &v)
	if v.State != "rendering" || v.Kind != "clips" || v.ExportTaskID != "clips_1" {
		t.Errorf("%+v", v)
	}
}

func TestWrongImportsAreNamedAtOnceAndNothingIsTakenUp(t *testing.T) {
	f := newFixture(t)
	for body, want := range map[string][]string{
		`{}`:                       {"task_ids: required"},
		`{"task_ids":["a"],"x":1}`: {"unknown field"},
		`{"task_ids":["a"]}{}`:     {"something follows"},
		`{"task_ids":"a","kind":3,"acount":"eu"}`: {
			"task_ids: must be a list of strings, not a string", "kind: must be a string, not a number", "acount: unknown field; did you mean account?",
		},
		`{"task_ids":["a",1],"kind":"nope"}`: {"task_ids: must be a list of strings", "kind: must be one of"},
		`{"task_ids":["ok","","a b"],"kind":"nope","account":"EU"}`: {
			"kind: must be one of export, clips, moments", "account: must be", "task_ids[1]: must not be empty", "task_ids[2]: must be the id",
		},
	} {
		got := f.call("POST", "/api/v2/clips/exports/import", body)
		for _, text := range want {
			if got.status != 400 || !strings.Contains(got.message(t), text) {
				t.Errorf("%s: %d %s", body, got.status, got.body)
			}
		}
	}
	var all page
	f.call("GET", "/api/v2/clips/exports", "").data(t, &all)
	if len(all.Exports) != 0 {
		t.Errorf("%d exports", len(all.Exports))
	}
}

func TestAnImportNeedsAnAccountThatThereIs(t *testing.T) {
	f := newFixture(t, func(o *Options) {
		o.HasAccount = func(_ context.Context, name string) (bool, error) { return name == "eu", nil }
	})
	for account, want := range map[string]int{"eu": 200, "us": 400} {
		got := f.call("POST", "/api/v2/clips/exports/import", `{"task_ids":["a"],"account":"`+account+`"}`)
		if got.status != want || want == 400 && !strings.HasPrefix(got.message(t), "account: ") {
			t.Errorf("%s: %d %s", account, got.status, got.body)
		}
	}
}
