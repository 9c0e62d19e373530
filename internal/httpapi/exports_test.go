package httpapi

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
)

func TestListPages(t *testing.T) {
	f := newFixture(t)
	want := map[string]bool{}
	for i := range 7 {
		id := f.submit(fmt.Sprintf(`{"project_id":"p%d"}`, i%2))
		f.takeUp(id) // all within the same millisecond
		want[id] = true
		_ = f.rdb.Del(t.Context(), "asynq:{clipferry-submit}:pending") // taken up for good
	}
	query := "?limit=3"
	for pages := 1; pages <= 10; pages++ {
		var got page
		f.call("GET", "/api/v2/clips/exports"+query, "").data(t, &got)
		for _, e := range got.Exports {
			if !want[e.ID] {
				t.Errorf("%s is there twice, or nobody ordered it", e.ID)
			}
			delete(want, e.ID)
		}
		query = "?limit=3&cursor=" + got.NextCursor
		if got.NextCursor == "" {
			if pages != 3 {
				t.Errorf("%d pages", pages)
			}
			break
		}
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
	var of page
	f.call("GET", "/api/v2/clips/exports?project_id=p1&state=queued", "").data(t, &of)
	if len(of.Exports) != 3 || of.Exports[0].ProjectID != "p1" {
		t.Errorf("%+v", of)
	}
	if raw := f.call("GET", "/api/v2/clips/exports?state=archived", "").body; strings.TrimSpace(raw) != `{"data":{"exports":[],"next_cursor":""}}` {
		t.Error(raw)
	}
}

func TestCancelAndRetry(t *testing.T) {
	f := newFixture(t)
	id := f.submit(`{"project_id":"p"}`)
	var v view.Export
	f.call("POST", "/api/v2/clips/export/"+id+"/cancel", "").data(t, &v)
	if v.State != "canceled" {
		t.Errorf("%+v", v)
	}
	f.call("POST", "/api/v2/clips/export/"+id+"/cancel", "").data(t, &v) // twice is once
	if got := f.read(id); got.Status != statusFailed || got.ErrorMessage != "canceled at 2026-04-07T12:00:00Z" || got.Reason != "canceled" {
		t.Errorf("%+v", got)
	}
	f.call("POST", "/api/v2/clips/export/"+id+"/retry", "").data(t, &v)
	if v.State != "queued" {
		t.Errorf("%+v", v)
	}
	f.call("GET", "/api/v2/clips/exports/"+id, "").data(t, &v)
	if v.ID != id || v.State != "queued" {
		t.Errorf("%+v", v)
	}
	if got := f.call("POST", "/api/v2/clips/export/"+id+"/retry", ""); got.status != 409 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestARetryDoesNotPayTwiceUnasked(t *testing.T) {
	f := newFixture(t)
	id := f.submit(`{"project_id":"p"}`)
	f.takeUp(id)
	f.change(id, func(r *export.Record, now time.Time) error { return r.Accept(now, "task_1", "", "CREATED") })
	f.answer(id, "FAILED", nil)
	got := f.call("POST", "/api/v2/clips/export/"+id+"/retry", `{}`)
	if got.status != 409 || !strings.Contains(got.message(t), `{"pay_again": true}`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	var v view.Export
	f.call("POST", "/api/v2/clips/export/"+id+"/retry", `{"pay_again":true}`).data(t, &v)
	if v.State != "queued" {
		t.Errorf("%+v", v)
	}
}

// TestARetryThatIsNotMeantSoChangesNothing: above all, a task that is empty by a
// mistake must not be taken for "order it again".
func TestARetryThatIsNotMeantSoChangesNothing(t *testing.T) {
	f := newFixture(t)
	id := f.submit(`{"project_id":"p"}`)
	f.takeUp(id)
	f.change(id, func(r *export.Record, now time.Time) error {
		if err := r.Intend(now, "run"); err != nil {
			return err
		}
		return r.Lose(now, "run", now, export.Hold, export.Problem{Reason: export.ReasonAnswerLost, Detail: "the answer was lost"})
	})
	for body, want := range map[string]string{
		`{"submitted_as":""}`:                                 "submitted_as: must not be empty",
		`{"submitted_as":null}`:                               "submitted_as: must not be null",
		`{"Submitted_As":null}`:                               "submitted_as: must not be null",
		`{"submitted_as":"t","submitted_as":null}`:            "submitted_as: must not be null",
		`{"submitted_as":" task_9"}`:                          "submitted_as: must be the id",
		`{"submitted_as":"https://wayin.ai/tasks/task_9"}`:    "submitted_as: must be the id of the provider's task alone",
		`{"submitted_as":"` + strings.Repeat("x", 300) + `"}`: "submitted_as: must have at most",
		`{"submitted_as":9}`:                                  "submitted_as: must be a string, not a number",
		`{"submitted_as":"t","pay_again":true}`:               "submitted_as, pay_again: exclude each other",
		`{"pay_again":"yes"}`:                                 "pay_again: must be true or false, not a string",
		`{"again":true}`:                                      "again: unknown field; there are submitted_as, pay_again",
		`{"pay_agaim":1,"submitted_as":7,"pay_again":"yes"}`: "pay_agaim: unknown field; did you mean pay_again?; " +
			"submitted_as: must be a string, not a number; pay_again: must be true or false, not a string",
		`[1]`:   "must be a JSON object",
		`{} {}`: "something follows",
	} {
		if got := f.call("POST", "/api/v2/clips/export/"+id+"/retry", body); got.status != 400 || !strings.Contains(got.message(t), want) {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	var v viewed
	f.call("GET", "/api/v2/clips/exports/"+id, "").data(t, &v)
	if v.State != "held" {
		t.Errorf("it is %s", v.State)
	}
	if got := f.call("POST", "/api/v2/clips/export/"+f.submit(`{"project_id":"p"}`)+"/retry", ""); got.status == 200 {
		t.Errorf("a queued one: %d %s", got.status, got.body)
	}
}

func TestAHeldExportIsFoundByHand(t *testing.T) {
	f := newFixture(t)
	id := f.submit(`{"project_id":"p"}`)
	f.takeUp(id)
	f.change(id, func(r *export.Record, now time.Time) error {
		if err := r.Intend(now, "run"); err != nil {
			return err
		}
		return r.Lose(now, "run", now, export.Hold, export.Problem{Reason: export.ReasonAnswerLost, Detail: "the answer was lost"})
	})
	var v view.Export
	f.call("POST", "/api/v2/clips/export/"+id+"/retry", `{"submitted_as":"task_9"}`).data(t, &v)
	if v.State != "rendering" || v.ExportTaskID != "task_9" {
		t.Errorf("%+v", v)
	}
}

// TestAProjectIsItsTenants: what another key has made through this API is as unknown to an
// order as to a read.
func TestAProjectIsItsTenants(t *testing.T) {
	f := newFixture(t, func(o *Options) {
		o.ProjectTenant = func(_ context.Context, project string) (string, error) {
			return map[string]string{"theirs": "batch", "mine": "web"}[project], nil
		}
	})
	for project, want := range map[string]int{"theirs": 404, "mine": 200, "elsewhere": 200} {
		got := f.call("POST", "/api/v2/clips/export", `{"project_id":"`+project+`"}`)
		if got.status != want {
			t.Errorf("%s: %d %s", project, got.status, got.body)
		}
		if want == 404 && (!strings.Contains(got.body, `"error":"Not Found"`) || got.message(t) != "no such project") {
			t.Errorf("%s: %s", project, got.body)
		}
	}
	var all page
	f.call("GET", "/api/v2/clips/exports", "").data(t, &all)
	if len(all.Exports) != 2 {
		t.Errorf("%d exports", len(all.Exports))
	}
}

// TestAnOrderThatCannotBeTakenNamesItsID: whatever the order waited for when it could not
// be answered, its 503 says how it is sent again.
func TestAnOrderThatCannotBeTakenNamesItsID(t *testing.T) {
	down := true
	f := newFixture(t, func(o *Options) {
		o.ProjectTenant = func(context.Context, string) (string, error) {
			if down {
				return "", errors.New("Redis is away") //nolint:staticcheck // a name
			}
			return "", nil
		}
	})
	got := f.call("POST", "/api/v2/clips/export", `{"project_id":"p"}`)
	id := regexp.MustCompile(`exp_[a-z0-9]+`).FindString(got.message(t))
	if got.status != 503 || id == "" {
		t.Fatalf("%d %s", got.status, got.body)
	}
	down = false
	if got := f.call("POST", "/api/v2/clips/export", `{"project_id":"p","job_id":"`+id+`"}`); got.status != 200 || !strings.Contains(got.body, id) {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// TestAnOrderNamesAllThatItMayNot: faults that are not the body's own are named together.
func TestAnOrderNamesAllThatItMayNot(t *testing.T) {
	f := newFixture(t)
	got := f.call("POST", "/api/v2/clips/export", `{"project_id":"p","tenant":"batch","notify":{"task_type":"t","queue":"theirs"}}`)
	if message := got.message(t); got.status != 400 || !strings.Contains(message, "tenant: ") || !strings.Contains(message, "; notify: ") {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// TestAnExportMayHaveTheNameOfACall: import and preflight are ids like others.
func TestAnExportMayHaveTheNameOfACall(t *testing.T) {
	f := newFixture(t)
	for _, id := range []string{"import", "preflight"} {
		if got := f.call("GET", "/api/v2/clips/exports/"+id, ""); got.status != 404 || got.message(t) != "no such export" {
			t.Errorf("%s: %d %s", id, got.status, got.body)
		}
		if got := f.call("PUT", "/api/v2/clips/exports/"+id, ""); got.status != 405 {
			t.Errorf("PUT %s: %d %s", id, got.status, got.body)
		}
	}
	if _, err := f.api.o.Queue.Enqueue(t.Context(), tasks.Export{ProjectID: "p", JobID: "import", Tenant: "web"}); err != nil {
		t.Fatal(err)
	}
	var v view.Export
	f.call("GET", "/api/v2/clips/exports/import", "").data(t, &v)
	if v.ID != "import" {
		t.Errorf("%+v", v)
	}
}
