package httpapi

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clipferry/clipferry/internal/preflight"
	"github.com/clipferry/clipferry/tasks"
)

// oracle answers as if every project had one clip.
type oracle struct {
	asked  []tasks.Export
	hidden map[string]bool
}

func (o *oracle) Check(_ context.Context, _ string, exports []tasks.Export, hidden map[string]bool) (preflight.Report, error) {
	o.asked, o.hidden = exports, hidden
	yes, now := true, time.Date(2026, 4, 7, 12, 0, 0, 0, time.UTC)
	report := preflight.Report{Total: preflight.Total{Exports: len(exports), Days: []preflight.Day{{Account: "default", Spent: 1}}}}
	for _, e := range exports {
		report.Exports = append(report.Exports, preflight.Export{
			ProjectID: e.ProjectID, Account: "default", Exists: &yes, Kind: "clips", Status: "SUCCEEDED", ReadAt: &now, ExpiresAt: &now,
			Clips: []preflight.Clip{{Idx: 0, Title: "secret title", Seconds: 3}}, Resolution: "SD_480", StartsAt: &now, Warnings: []string{"w"},
		})
	}
	return report, nil
}

func TestPreflightTakesOneRequestOrSeveral(t *testing.T) {
	o := &oracle{}
	f := newFixture(t, func(opts *Options) { opts.Preflight = o })
	var report preflight.Report
	f.call("POST", "/api/v2/clips/exports/preflight", `{"project_id":"p","clip_indices":[0],"reframe_layout":"Auto"}`).data(t, &report)
	if len(o.asked) != 1 || len(o.asked[0].Extra) != 1 || report.Exports[0].Clips[0].Seconds != 3 {
		t.Errorf("asked %+v, got %+v", o.asked, report)
	}
	f.call("POST", "/api/v2/clips/exports/preflight", `{"exports":[{"project_id":"a"},{"project_id":"b"}]}`).data(t, &report)
	if len(o.asked) != 2 || o.asked[1].ProjectID != "b" || report.Total.Exports != 2 {
		t.Errorf("asked %+v, got %+v", o.asked, report)
	}
	for body, want := range map[string]string{
		`{}`:                                     "project_id: required",
		`{"exports":[]}`:                         "exports: must be 1 to 100",
		`{"exports":[{},{"ratio":"x"}]}`:         "exports[1]: project_id: required; ratio",
		`{"exports":[{"project_id":"a"}],"x":1}`: "exports stands alone",
	} {
		if got := f.call("POST", "/api/v2/clips/exports/preflight", body); got.status != 400 || !strings.Contains(got.message(t), want) {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	if got := newFixture(t).call("POST", "/api/v2/clips/exports/preflight", `{"project_id":"p"}`); got.status != 404 {
		t.Errorf("without a key of the provider's: %d %s", got.status, got.body)
	}
}

// A preflight says of a webhook what an order with it would be answered.
func TestPreflightSaysThatAWebhookIsNotCalled(t *testing.T) {
	const body = `{"exports":[{"project_id":"a","notify":{"webhook":"http://10.0.0.1/"}},{"project_id":"b","notify":{"task_type":"done"}},
		{"project_id":"c","notify":{"task_type":"done","queue":"theirs"}},{"project_id":"d"}]}`
	for _, c := range []struct {
		webhooks bool
		want     string
	}{
		{true, "notify: the webhook is not called: 10.0.0.1:80 is not a public address"},
		{false, "notify: webhooks are off here"},
	} {
		f := newFixture(t, func(opts *Options) { opts.Preflight, opts.Webhooks = &oracle{}, c.webhooks })
		var report preflight.Report
		f.call("POST", "/api/v2/clips/exports/preflight", body).data(t, &report)
		for i, want := range []string{c.want, "", "notify: tasks for this queue can't be asked for over HTTP", ""} {
			got := report.Exports[i].Warnings[1:] // after the oracle's own
			if (want == "") != (len(got) == 0) || want != "" && !strings.HasPrefix(got[0], want) {
				t.Errorf("webhooks %v: of %s %q, want %q", c.webhooks, report.Exports[i].ProjectID, got, want)
			}
		}
	}
}

// TestProjectsAreLookedUpTogether: where S3 alone knows whose they are, and is slow, many
// projects take little longer than one.
func TestProjectsAreLookedUpTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &API{o: Options{ProjectTenant: func(_ context.Context, project string) (string, error) {
			time.Sleep(time.Second)
			return project, nil
		}}}
		exports := make([]tasks.Export, 500)
		for n := range exports {
			exports[n].ProjectID = fmt.Sprint("of-", n)
		}
		exports[0].ProjectID = "web"
		began := time.Now()
		hidden, err := a.othersProjects(context.WithValue(t.Context(), callerKey{}, caller{name: "web"}), exports)
		if took := time.Since(began); err != nil || len(hidden) != 500 || hidden["web"] || !hidden["of-499"] || took > 5*time.Second {
			t.Errorf("%d projects, %v, after %s", len(hidden), err, took)
		}
	})
}

// A project that another tenant has made here is as if there were none; an admin sees all.
func TestPreflightHidesOthersProjects(t *testing.T) {
	o := &oracle{}
	f := newFixture(t, func(opts *Options) {
		opts.Preflight = o
		opts.ProjectTenant = func(_ context.Context, project string) (string, error) {
			return map[string]string{"theirs": "batch", "mine": "web"}[project], nil
		}
	})
	for key, want := range map[string][3]bool{webSecret: {true, false, false}, "another-secret-of-length": {false, true, false}, adminSecret: {}} {
		var report preflight.Report
		f.call("POST", "/api/v2/clips/exports/preflight", `{"exports":[{"project_id":"theirs"},{"project_id":"mine"},{"project_id":"else"}]}`,
			"Authorization", "Bearer "+key).data(t, &report)
		if got := [3]bool{o.hidden["theirs"], o.hidden["mine"], o.hidden["else"]}; got != want {
			t.Errorf("%s: hidden are %v, want %v", key, got, want)
		}
	}
}
