package httpapi

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/status"
	"github.com/clipferry/clipferry/internal/units"
)

// lookout lets the API know what exports wait for, as the program does.
func (f *fixture) lookout() {
	f.t.Helper()
	gate, err := budget.New(budget.Options{Redis: f.rdb, Account: "default", RequestsPerMinute: 15, MaxActive: 5, Logger: f.api.log})
	if err != nil {
		f.t.Fatal(err)
	}
	look := status.NewReader(f.rdb, func(string) status.Account {
		return status.Account{Name: "default", Budget: gate, Units: units.New(f.rdb, "default", 0)}
	}, f.clock.now)
	f.api.o.WaitingFor = func(ctx context.Context, open []*export.Record) (map[string]status.Waiting, error) {
		out, err := look.Read(ctx, open)
		return out.WaitingFor, err
	}
}

// What became of the notification of an end is in the answer, without what our network
// says of the address; one that can't be learned is left out.
func TestAnswersSayWhatBecameOfANotification(t *testing.T) {
	f := newFixture(t)
	id := f.submit(`{"project_id":"p"}`)
	next := f.clock.now().UTC()
	answer, failure := &notify.Notification{
		Event: "evt_1", To: "hooks.example.com", State: notify.Pending, Tries: 2, NextTry: &next, Error: "10.0.0.7 is not allowed",
	}, error(nil)
	f.api.o.Notification = func(context.Context, *export.Record) (*notify.Notification, error) { return answer, failure }
	var v viewed
	got := f.call("GET", "/api/v2/clips/exports/"+id, "")
	got.data(t, &v)
	if n := v.Notification; n == nil || n.State != notify.Pending || n.Tries != 2 || strings.Contains(got.body, "10.0.0.7") {
		t.Errorf("%s", got.body)
	}
	answer, failure, v = nil, errors.New("no"), viewed{}
	if f.call("GET", "/api/v2/clips/exports/"+id, "").data(t, &v); v.ID != id || v.Notification != nil {
		t.Errorf("%+v", v)
	}
}

// TestAnswersSayWhatExportsWaitFor: every answer of ours says it, as `clipferry
// status` does; call holds each to the OpenAPI document.
func TestAnswersSayWhatExportsWaitFor(t *testing.T) {
	f := newFixture(t)
	f.lookout()
	queued, over := f.submit(`{"project_id":"p"}`), f.submit(`{"project_id":"p"}`)
	const worker = "a worker: none is running"
	var v viewed
	f.call("GET", "/api/v2/clips/exports/"+queued, "").data(t, &v)
	if v.WaitingFor != worker {
		t.Errorf("a queued one waits for %q", v.WaitingFor)
	}
	f.call("POST", "/api/v2/clips/export/"+over+"/cancel", "").data(t, &v)
	if v.WaitingFor != "" {
		t.Errorf("a canceled one waits for %q", v.WaitingFor)
	}
	var p page
	f.call("GET", "/api/v2/clips/exports", "").data(t, &p)
	for _, e := range p.Exports {
		if want := map[string]string{queued: worker}[e.ID]; e.WaitingFor != want {
			t.Errorf("%s in the list waits for %q, not %q", e.ID, e.WaitingFor, want)
		}
	}
	f.call("POST", "/api/v2/clips/export/"+over+"/retry", "").data(t, &v)
	if v.WaitingFor != worker {
		t.Errorf("one that was taken up again waits for %q", v.WaitingFor)
	}
	f.takeUp(queued)
	f.change(queued, func(r *export.Record, now time.Time) error { return r.Accept(now, "task_1", "", "CREATED") })
	f.call("GET", "/api/v2/clips/exports/"+queued, "").data(t, &v)
	if v.WaitingFor != "its render; no worker is running" {
		t.Errorf("a rendering one waits for %q", v.WaitingFor)
	}
	if got := f.call("GET", "/api/v2/clips/export/"+queued, ""); strings.Contains(got.body, "waiting_for") {
		t.Errorf("the provider's answer has it: %s", got.body)
	}
}

func TestAnAnswerGoesOutThoughNobodyKnowsWhatItWaitsFor(t *testing.T) {
	f := newFixture(t)
	f.api.o.WaitingFor = func(context.Context, []*export.Record) (map[string]status.Waiting, error) {
		return nil, errors.New("the budget can't be read")
	}
	id := f.submit(`{"project_id":"p"}`)
	var v viewed
	f.call("GET", "/api/v2/clips/exports/"+id, "").data(t, &v)
	if v.State != "queued" || v.WaitingFor != "" {
		t.Errorf("%+v", v)
	}
	if !strings.Contains(f.log.String(), "the budget can't be read") {
		t.Error("nobody hears of it")
	}
}
