package httpapi

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/tasks"
)

var filterAll = ledger.Filter{}

// TestEveryStateHasAStatus also fixes which: FAILED makes programs order anew.
func TestEveryStateHasAStatus(t *testing.T) {
	want := map[export.State]string{
		"queued": "QUEUED", "submitting": "QUEUED", "rendering": "ONGOING", "mirroring": "ONGOING", "held": "ONGOING",
		"archived": "SUCCEEDED", "failed": "FAILED", "expired": "FAILED", "canceled": "FAILED",
	}
	f := newFixture(t)
	for _, state := range export.States() {
		id := f.submit(`{"project_id":"p","job_id":"` + string(state) + `"}`)
		f.takeUp(id)
		f.change(id, func(r *export.Record, _ time.Time) error {
			r.State = state
			return nil
		})
		got := f.read(id) // held to the OpenAPI document: error_message with FAILED and only then
		if got.Status != want[state] || got.ExportTaskID != id || got.Name != "export of p" {
			t.Errorf("%s: %+v", state, got)
		}
		if ended := got.Status == "FAILED" || got.Status == "SUCCEEDED"; ended != (got.ExpireAt == f.clock.now().Add(30*24*time.Hour).UnixMilli()) {
			t.Errorf("%s: expire_at %d", state, got.ExpireAt)
		}
	}
}

func TestAFailedExportSaysWhy(t *testing.T) {
	f := newFixture(t)
	id := f.submit(`{"project_id":"p"}`)
	f.takeUp(id)
	f.change(id, func(r *export.Record, now time.Time) error { return r.Accept(now, "t", "", "CREATED") })
	f.answer(id, "FAILED", nil)
	got := f.read(id)
	if got.Status != statusFailed || !strings.Contains(got.ErrorMessage, "no such font") || got.Reason != "render_failed" || *got.CostUsage != 48 {
		t.Errorf("%+v", got)
	}
}

// TestAPathThatLeadsNowhereIsRefusedInTheSameShape: programs meet one shape alone.
func TestAPathThatLeadsNowhereIsRefusedInTheSameShape(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/nope", "/clips/", "/healthz/x", "/api/v3"} {
		if got := f.call("GET", path, ""); got.status != 404 || !strings.Contains(got.body, `"error":"Not Found"`) || !strings.Contains(got.body, `"reason":"not_found"`) {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

// refusals are requests that are refused, with the status and a part of the message.
var refusals = []struct {
	name, method, path, body string
	headers                  []string
	status                   int
	message                  string
}{
	{"no key", "POST", "/api/v2/clips/export", `{}`, []string{"Authorization", ""}, 403, "Authorization: Bearer YOUR_API_KEY is missing"},
	{"wrong key", "GET", "/api/v2/clips/export/x", "", []string{"Authorization", "Bearer nope"}, 403, "the API key is not accepted"},
	{"no bearer", "GET", "/api/v2/clips/export/x", "", []string{"Authorization", "Basic " + webSecret}, 403, "must be Bearer"},
	{"no version", "POST", "/api/v2/clips/export", `{}`, []string{versionHeader, ""}, 403, versionHeader},
	{"other version", "GET", "/api/v2/clips/export/x", "", []string{versionHeader, "v1"}, 403, versionHeader},
	{"every field", "POST", "/api/v2/clips/export", `{"enable_ai_reframe":true,"clip_indices":[],"resolution":"8K"}`, nil, 400, "project_id: required; clip_indices: must not be empty"},
	{"ratio", "POST", "/api/v2/clips/export", `{"project_id":"p","enable_ai_reframe":true}`, nil, 400, "ratio: required when enable_ai_reframe is true"},
	{"no JSON", "POST", "/api/v2/clips/export", `{"project_id":`, nil, 400, "not valid JSON"},
	{"unknown and broken", "POST", "/api/v2/clips/export", `{"nope":1,"project_id":"p"`, nil, 400, "not valid JSON"},
	{"unknown and more", "POST", "/api/v2/clips/export", `{"nope":1,"project_id":"p"}{}`, nil, 400, "something follows"},
	{"empty", "POST", "/api/v2/clips/export", ``, nil, 400, "not valid JSON: it ends too early"},
	{"a list", "POST", "/api/v2/clips/export", `[]`, nil, 400, "must be a JSON object"},
	{"form", "POST", "/api/v2/clips/export", `project_id=p`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "application/json"},
	{"latin-1", "POST", "/api/v2/clips/export", `{}`, []string{"Content-Type", "application/json; charset=latin1"}, 415, "UTF-8"},
	{"compressed", "POST", "/api/v2/clips/export", `{"project_id":"p"}`, []string{"Content-Encoding", "gzip"}, 415, "must not be compressed"},
	{"an id that is no path", "POST", "/api/v2/clips/export", `{"project_id":"p","job_id":".."}`, nil, 400, "job_id: must not be . or .."},
	{"another that is none", "POST", "/api/v2/clips/export", `{"project_id":"p","job_id":"."}`, nil, 400, "job_id: must not be . or .."},
	{"large", "POST", "/api/v2/clips/export", `{"project_id":"` + strings.Repeat("x", tasks.MaxPayload) + `"}`, nil, 413, "at most 65536 bytes"},
	{"bad notify", "POST", "/api/v2/clips/export", `{"project_id":"p","notify":{"webhook":"ftp://x"}}`, nil, 400, "notify: webhook must start with https://"},
	{"two keys", "POST", "/api/v2/clips/export", `{"project_id":"p","job_id":"a"}`, []string{"Idempotency-Key", "b"}, 400, "give only one"},
	{"empty idempotency key", "POST", "/api/v2/clips/export", `{"project_id":"p"}`, []string{"Idempotency-Key", `""`}, 400, "Idempotency-Key: must not be empty"},
	{"unquoted", "POST", "/api/v2/clips/export", `{"project_id":"p"}`, []string{"Idempotency-Key", "a b"}, 400, "must be in quotes"},
	{"unknown export", "GET", "/api/v2/clips/export/exp_nope", "", nil, 404, "no such export"},
	{"hostile id", "GET", "/api/v2/clips/export/%7Bindex%7D:all", "", nil, 404, "no such export"},
	{"id with a slash", "GET", "/api/v2/clips/export/a%2F..%2Fb", "", nil, 404, "no such export"},
	{"unknown to cancel", "POST", "/api/v2/clips/export/exp_nope/cancel", "", nil, 404, "no such export"},
	{"unknown to retry", "POST", "/api/v2/clips/export/exp_nope/retry", "", nil, 404, "no such export"},
	{"unknown to view", "GET", "/api/v2/clips/exports/exp_nope", "", nil, 404, "no such export"},
	{"method", "PUT", "/api/v2/clips/export", "", nil, 405, "only POST is possible here, not PUT"},
	{"method of a read", "DELETE", "/api/v2/clips/export/x", "", nil, 405, "only GET"},
	{"no path", "GET", "/api/v2/clips", "", nil, 404, "/api/openapi.json"},
	{"bad retry", "POST", "/api/v2/clips/export/x/retry", `{"pay_again":"yes"}`, nil, 400, "pay_again: must be true or false, not a string"},
	{"unknown in retry", "POST", "/api/v2/clips/export/x/retry", `{"payagain":true}`, nil, 400, "payagain: unknown field; did you mean pay_again?"},
	{"labels of a list", "GET", "/api/v2/clips/exports?label=x&label=A%3D1&label=a%3D1&label=a%3D2", "", nil, 400, `label: must be name=value, such as show=42; label: a name must be 1–63 of the characters a–z 0–9 . _ -, not A; label: a is given with two values, which no export has`},
	{"list", "GET", "/api/v2/clips/exports?state=done&limit=0&stat=x&cursor=%21", "", nil, 400, `cursor: must be a next_cursor of an earlier answer; limit: must be a whole number from 1 to 500; "stat": unknown parameter; did you mean state?; state: must be one of queued, submitting`},
}

func TestRefusals(t *testing.T) {
	f := newFixture(t)
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			f.t = t
			got := f.call(c.method, c.path, c.body, c.headers...)
			if got.status != c.status || !strings.Contains(got.message(t), c.message) {
				t.Errorf("status %d: %s", got.status, got.body)
			}
			if ct := got.header.Get("Content-Type"); ct != "application/json" {
				t.Errorf("type %s", ct)
			}
			if (got.status == 405) != (got.header.Get("Allow") != "") {
				t.Errorf("Allow %q", got.header.Get("Allow"))
			}
		})
	}
	if found, err := f.api.o.Exports("").List(t.Context(), filterAll); err != nil || len(found) != 0 {
		t.Errorf("%d exports were taken in all the same (%v)", len(found), err)
	}
	if strings.Contains(f.log.String(), webSecret) {
		t.Error("a key is in the log")
	}
}

func TestTheErrorShapesAreTheProviders(t *testing.T) {
	f := newFixture(t)
	got := f.call("GET", "/api/v2/clips/export/nope", "")
	want := `{"timestamp":"2026-04-07T12:00:00.000+00:00","status":404,"error":"Not Found","path":"/api/v2/clips/export/nope","message":"no such export","reason":"not_found"}`
	if strings.TrimSpace(got.body) != want {
		t.Errorf("got %s", got.body)
	}
	got = f.call("POST", "/api/v2/clips/export", `{}`)
	shape := regexp.MustCompile(`^\{"message":"project_id: required","trace_id":"([0-9a-f]{32})","reason":"invalid_request"\}$`)
	id := shape.FindStringSubmatch(strings.TrimSpace(got.body))
	if got.status != 400 || id == nil {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if !strings.Contains(f.log.String(), "trace_id="+id[1]) {
		t.Errorf("the log does not have it: %s", f.log)
	}
}

// TestOtherCallsOfTheProvidersAPI says where they belong.
func TestOtherCallsOfTheProvidersAPI(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.ProviderURL = "https://provider.example" })
	for _, path := range []string{"/api/v2/clips", "/api/v2/clips/results/x", "/open/v2/summaries/", "//api/v2/upload/single-file"} {
		got := f.call("POST", path, `{}`)
		if got.status != 404 || got.message(t) != "this door serves the Clips Export API only; send this to https://provider.example" {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	for _, path := range []string{"/api/v2/clips/exports/a/b", "/api/v1/clips"} { // never the provider's
		if got := f.call("GET", path, ""); got.status != 404 || !strings.Contains(got.message(t), "/api/openapi.json") {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

func TestEveryStatusThatIsAnsweredHasAReason(t *testing.T) {
	for _, c := range refusals {
		if reasons[c.status] == "" {
			t.Errorf("%d has none", c.status)
		}
	}
}

// TestSlashesOfBaseURLs: a base URL that ends in one makes two of it, and some clients
// add one at the end.
func TestSlashesOfBaseURLs(t *testing.T) {
	f := newFixture(t)
	var made submitted
	f.call("POST", "//api/v2//clips/export/", `{"project_id":"p"}`).data(t, &made)
	for _, path := range []string{"//api/v2/clips/export/" + made.ExportTaskID, "/api/v2/clips/export/" + made.ExportTaskID + "/"} {
		var got task
		f.call("GET", path, "").data(t, &got)
		if got.ExportTaskID != made.ExportTaskID {
			t.Errorf("%s: %+v", path, got)
		}
	}
	if got := f.call("GET", "//api/v2/clips/export/a%2F%2Fb", ""); got.status != 404 || got.message(t) != "no such export" {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestUnknownFieldsArePassedOnUnlessMisspelled(t *testing.T) {
	f := newFixture(t)
	id := f.submit(`{"new\u0022thing":{"a": [1.0]},"project_id":"p","reframe_layout":"Auto","enable_express_mode":true,"resolution":"HD_720","x":null}`)
	e, ok, err := tasks.NewClientFromRedis(f.rdb).Queued(t.Context(), id)
	want := `{"project_id":"p","resolution":"HD_720","enable_express_mode":true,"new\"thing":{"a":[1.0]},"reframe_layout":"Auto","x":null}`
	if err != nil || !ok || string(e.Body()) != want {
		t.Errorf("%s %v %v", e.Body(), ok, err)
	}
	got := f.call("POST", "/api/v2/clips/export", `{"project_id":"p","enable_captions":true}`)
	if got.status != 400 || !strings.Contains(got.body, "did you mean enable_caption?") {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestWithoutKeysTheAPIIsOff(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Keys, o.Exports, o.Queue, o.Archive = nil, nil, nil, nil })
	for _, path := range []string{"/api/v2/clips/export/x", "/api/v2/clips/exports"} {
		got := f.call("GET", path, "", "Authorization", "Bearer ")
		if got.status != 403 || !strings.Contains(got.message(t), "CLIPFERRY_HTTP_API_KEYS") {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := f.call("GET", "/clips/"+strings.Repeat("A", 22)+"/clip-000.mp4", ""); got.status != 404 {
		t.Errorf("a link: %d", got.status)
	}
}

func TestWebhooksNeedASecret(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Webhooks = false })
	got := f.call("POST", "/api/v2/clips/export", `{"project_id":"p","notify":{"webhook":"https://example.com/token"}}`)
	if got.status != 400 || !strings.Contains(got.message(t), "notify: webhooks are off here") {
		t.Errorf("%d %s", got.status, got.body)
	}
	f.submit(`{"project_id":"p","notify":{"task_type":"video:done"}}`)
}

// An export of an account that there is not would wait for ever, in a queue of its own.
func TestAnUnknownAccountIsRefused(t *testing.T) {
	f := newFixture(t, func(o *Options) {
		o.HasAccount = func(_ context.Context, name string) (bool, error) { return name == "eu", nil }
	})
	for account, want := range map[string]int{"eu": 200, "default": 200, "us": 400} {
		if got := f.call("POST", "/api/v2/clips/export", `{"project_id":"p","account":"`+account+`"}`); got.status != want {
			t.Errorf("%s: %d %s", account, got.status, got.body)
		}
	}
}

// Whoever may order over HTTP must not reach the queues of other programs.
func TestOnlyAllowedQueuesMayBeNamed(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.NotifyQueues = []string{"orders"} })
	for queue, want := range map[string]int{`,"queue":"orders"`: 200, `,"queue":"mail"`: 400, "": 400} {
		got := f.call("POST", "/api/v2/clips/export", `{"project_id":"p","notify":{"task_type":"t"`+queue+`}}`)
		if got.status != want {
			t.Errorf("%s: %d %s", queue, got.status, got.body)
		}
	}
}

func TestTheQueueLimit(t *testing.T) {
	f := newFixture(t, func(o *Options) {
		o.MaxWaiting = 2
		calls := 0
		o.Waiting = func(context.Context) (int, error) {
			if calls++; calls == 4 {
				return 0, errors.New("no answer")
			}
			return calls - 1, nil
		}
	})
	for i, want := range []int{200, 200, 429, 200} {
		got := f.call("POST", "/api/v2/clips/export", `{"project_id":"p"}`)
		if got.status != want || (want == 429) != (got.header.Get("Retry-After") == "30") {
			t.Errorf("request %d: %d %s", i, got.status, got.body)
		}
		f.clock.add(backlogAge)
	}
}

func TestBacklogCountsWhatWaits(t *testing.T) {
	f := newFixture(t)
	count := Backlog(f.rdb)
	if n, err := count(t.Context()); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	f.submit(`{"project_id":"p"}`)
	f.submit(`{"project_id":"p","priority":"low"}`)
	if n, err := count(t.Context()); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// brokenQueue fails as often as it is told, after or before taking the export.
type brokenQueue struct {
	Queue
	fails int
	took  []string
}

func (q *brokenQueue) Enqueue(ctx context.Context, e tasks.Export) (string, error) {
	id, err := q.Queue.Enqueue(ctx, e)
	q.took = append(q.took, id)
	if q.fails--; q.fails >= 0 {
		return "", errors.New("redis: the answer was lost (10.1.2.3)")
	}
	return id, err
}

// TestALostAnswerOfTheQueueMakesNoSecondExport: an export is paid for.
func TestALostAnswerOfTheQueueMakesNoSecondExport(t *testing.T) {
	real := enqueuePauses
	enqueuePauses = []time.Duration{time.Millisecond, time.Millisecond}
	t.Cleanup(func() { enqueuePauses = real })
	var queue *brokenQueue
	f := newFixture(t, func(o *Options) {
		queue = &brokenQueue{Queue: o.Queue, fails: 2}
		o.Queue = queue
	})
	id := f.submit(`{"project_id":"p"}`)
	for _, took := range queue.took {
		if took != id {
			t.Errorf("enqueued %v, answered %s", queue.took, id)
		}
	}
	queue.fails = 3
	got := f.call("POST", "/api/v2/clips/export", `{"project_id":"p"}`)
	if got.status != 503 || got.header.Get("Retry-After") == "" || strings.Contains(got.body, "10.1.2.3") {
		t.Errorf("%d %s", got.status, got.body)
	}
	// Who has no key is told how to send it again all the same.
	took := queue.took[len(queue.took)-1]
	if !strings.Contains(got.message(t), "job_id "+took) {
		t.Errorf("%s was taken in, and the answer is %s", took, got.body)
	}
	if again := f.submit(`{"project_id":"p","job_id":"` + took + `"}`); again != took {
		t.Errorf("sent again it is %s, not %s", again, took)
	}
	queue.fails = 3
	got = f.call("POST", "/api/v2/clips/export", `{"project_id":"p"}`, "Idempotency-Key", "k")
	if got.status != 503 || !strings.Contains(got.message(t), "with the same Idempotency-Key") {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestAnUnreachableLedger(t *testing.T) {
	f := newFixture(t)
	_ = f.rdb.Close()
	for _, path := range []string{"/api/v2/clips/export/x", "/api/v2/clips/exports"} {
		got := f.call("GET", path, "")
		if got.status != 503 || got.message(t) != "clipferry cannot answer at the moment; try again" {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

func TestHead(t *testing.T) {
	f := newFixture(t)
	id := f.submit(`{"project_id":"p"}`)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodHead, f.URL+"/api/v2/clips/export/"+id, nil)
	req.Header.Set("Authorization", "Bearer "+webSecret)
	req.Header.Set(versionHeader, "v2")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
}

func TestAWebhookThatLeadsInsideIsWarnedOf(t *testing.T) {
	f := newFixture(t)
	for webhook, warned := range map[string]bool{"http://10.0.0.1/?token=hush": true, "https://hooks.example.com/": false} {
		got := f.call("POST", "/api/v2/clips/export", `{"project_id":"p","notify":{"webhook":"`+webhook+`"}}`)
		if got.status != 200 || strings.Contains(got.body, `"warnings":["notify: the webhook is not called: 10.0.0.1:80 is not`) != warned || strings.Contains(got.body, "hush") {
			t.Errorf("%s: got %d %s", webhook, got.status, got.body)
		}
	}
}

func TestWhatIsOddIsSaidAndTaken(t *testing.T) {
	f := newFixture(t)
	got := f.call("POST", "/api/v2/clips/export", `{"project_id":"p","ratio":"RATIO_1_1"}`)
	if want := `"warnings":["ratio: has no effect without enable_ai_reframe"]`; got.status != 200 || !strings.Contains(got.body, want) {
		t.Errorf("got %d %s", got.status, got.body)
	}
}
